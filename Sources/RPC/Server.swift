import CGRPC
import Synchronization

/// A gRPC server.
///
/// It is bound when it was created, accepts calls in ``run()``, and is gone when that returns.
public final class Server: Sendable {
    /// What a server can be told.
    public struct Configuration: Sendable {
        /// Where to listen: `127.0.0.1:0` (port 0: any free one), `[::]:50051`, `unix:/path`.
        public var address: String
        /// How connections are secured.
        public var security: ServerSecurity = .plaintext
        /// The most bytes a request may have; more ends the call with RESOURCE_EXHAUSTED.
        public var maximumRequestBytes = 4 << 20
        /// The most memory that connections and what is received on them may use, all together. A message counts while it comes in, before its size is
        /// refused. Beyond it calls and connections are ended.
        public var maximumReceiveMemory = 256 << 20
        /// The most bytes a response may have; more ends the call with RESOURCE_EXHAUSTED.
        public var maximumResponseBytes = Int.max
        /// The most bytes a request's metadata may have; more ends the call with RESOURCE_EXHAUSTED.
        public var maximumMetadataBytes = 16 << 10
        /// How many calls one connection may have under way; the client holds further ones back. nil: any number.
        public var maximumCallsPerConnection: Int?
        /// After how long without traffic a client is pinged.
        public var keepaliveTime: Duration = .seconds(60)
        /// How long a ping may stay without answer before its connection is closed.
        public var keepaliveTimeout: Duration = .seconds(20)
        /// The shortest time between two pings of a client without traffic; who pings more often is disconnected.
        public var minimumPingInterval: Duration = .seconds(10)
        /// After how long a connection is to be closed when its calls are done, so that clients spread over servers anew; nil: never.
        public var maximumConnectionAge: Duration?
        /// What is left to such a connection's calls before they are cancelled; nil: all the time they need.
        public var maximumConnectionAgeGrace: Duration?
        /// After how long a connection without calls is closed; nil: never.
        public var maximumConnectionIdle: Duration?
        /// How long calls under way may go on when the task of ``Server/run()`` is cancelled.
        public var shutdownGrace: Duration = .seconds(30)

        /// The defaults, at an address.
        public init(address: String = "127.0.0.1:0") { self.address = address }
    }

    private let core: ServerCore
    private let shutdownGrace: Duration

    /// Binds and listens; clients may connect, but nothing is answered before ``run()``.
    ///
    /// - Throws: ``RPCError``: `.unavailable` where the address cannot be had, `.invalidArgument` where the configuration or the services are at fault.
    public init(_ configuration: Configuration, services: [Service], queue: CompletionQueue) throws(RPCError) {
        core = try ServerCore(configuration, services: services, queue: queue)
        shutdownGrace = configuration.shutdownGrace
    }

    deinit { core.beginShutdown(grace: .zero) }

    /// The port that the server listens on; 0 for a unix socket.
    public var port: Int { core.port }

    /// Accepts calls until the server is shut down; returns when every call has ended. Once per server.
    ///
    /// Cancelling the task is ``beginShutdown(grace:)`` with the configured grace.
    public func run() async {
        await withTaskCancellationHandler {
            await core.run()
        } onCancel: {
            core.beginShutdown(grace: shutdownGrace)
        }
    }

    /// Secures the connections that are made from now on with other certificates; those that are there go on. From any thread, at any time.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where they cannot be used, or where the server has no TLS, or clients would be asked for
    ///   certificates and were not before, or the other way round. What was in use then stays.
    public func update(_ security: ServerSecurity) throws(RPCError) { try prepare(security).apply() }

    /// Does all of ``update(_:)`` that can fail.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where ``update(_:)`` would.
    public func prepare(_ security: ServerSecurity) throws(RPCError) -> SecurityUpdate { try core.prepare(security) }

    /// Tells clients to go elsewhere and takes no new calls. Calls under way may finish; what is left after `grace` is cancelled.
    ///
    /// Called again, the earlier end of grace counts.
    public func beginShutdown(grace: Duration) { core.beginShutdown(grace: grace) }
}

/// The server itself. The core of gRPC keeps it alive until it has stopped.
// Sendable: `state` and `armed` guard themselves.
final class ServerCore: EventOwner, @unchecked Sendable {
    /// Accepts armed per method, so that calls that come in one burst find one.
    static let acceptsPerMethod = 256
    static let acceptsOfUnknownMethods = 16

    /// A method as the core of gRPC knows it; `handle` and `handler` nil: all that have no route of their own.
    // Sendable: `handle` is only handed to the core of gRPC, which has it for as long as the server lives.
    struct Route: @unchecked Sendable {
        let path: String
        let handle: OpaquePointer?
        let handler: Method.Handler?
    }

    private enum Phase {
        case bound, running, stopping, stopped
    }

    // Sendable: it never leaves its lock.
    private struct State: @unchecked Sendable {
        var handle: OpaquePointer?
        var phase = Phase.bound
        /// The core has no call left.
        var hasNoCalls = false
        /// Accepts whose event is to come.
        var armed = 0
        var waiter: UnsafeContinuation<Void, Never>?
        var graceTasks: [Task<Void, Never>] = []
    }

    let queue: CompletionQueue
    let port: Int
    private let isSecured: Bool
    let isAuthenticating: Bool
    let maximumResponseBytes: Int
    private let routes: [Route]
    private let state: Mutex<State>

    init(_ configuration: Server.Configuration, services: [Service], queue: CompletionQueue) throws(RPCError) {
        let pem = try configuration.security.pem()
        isSecured = pem != nil
        isAuthenticating = configuration.security.isAuthenticating ?? false
        // `cgrpc_server_create` never returns NULL.
        let handle = configuration.arguments.withUnsafeArguments { cgrpc_server_create(queue.handle, $0)! }
        do {
            routes = try Self.register(services, on: handle)
            port = try Self.bind(handle, configuration.address, pem)
        } catch {
            cgrpc_server_destroy(handle)
            throw error
        }
        queue.objectCreated()
        self.queue = queue
        maximumResponseBytes = configuration.maximumResponseBytes
        state = Mutex(State(handle: handle))
    }

    private static func register(_ services: [Service], on handle: OpaquePointer) throws(RPCError) -> [Route] {
        var routes = [Route(path: "", handle: nil, handler: nil)]
        var paths: Set<String> = []
        for service in services {
            for method in service.methods {
                let path = "/\(service.name)/\(method.name)"
                var readsRequest = false
                if case .unary = method.handler { readsRequest = true }
                guard paths.insert(path).inserted, let registered = cgrpc_server_register(handle, path, readsRequest) else {
                    throw RPCError(.invalidArgument, "the method \(path) is there twice")
                }
                routes.append(Route(path: path, handle: registered, handler: method.handler))
            }
        }
        return routes
    }

    /// - Returns: The port; 0 for a unix socket.
    private static func bind(_ handle: OpaquePointer, _ address: String, _ pem: PEM?) throws(RPCError) -> Int {
        let path = UnixSocket.path(in: address)
        if path == nil, !hasPort(address) {
            throw RPCError(
                .invalidArgument, "cannot listen on \(address): an address, ':' and a port of 0 to 65535, or unix:/path is expected")
        }
        if let path, cgrpc_unix_socket_is_served(path) {
            throw RPCError(.unavailable, "cannot listen on \(address): another process is listening there")
        }
        var reason = [CChar](repeating: 0, count: 4096)
        let port = reason.withUnsafeMutableBufferPointer { reason in
            if let pem {
                pem.withUnsafeTLS { cgrpc_server_bind(handle, address, $0, reason.baseAddress, reason.count) }
            } else {
                cgrpc_server_bind(handle, address, nil, reason.baseAddress, reason.count)
            }
        }
        if port == 0 {
            let reason = String(decoding: reason.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw RPCError(.unavailable, "cannot listen on \(address): \(BindFailure.summary(of: reason))")
        }
        return path == nil ? Int(port) : 0
    }

    private static func hasPort(_ address: String) -> Bool {
        guard let colon = address.lastIndex(of: ":"), colon > address.startIndex else { return false }
        return UInt16(address[address.index(after: colon)...]) != nil
    }

    func prepare(_ security: ServerSecurity) throws(RPCError) -> SecurityUpdate {
        guard isSecured, let pem = try security.pem(), security.isAuthenticating == isAuthenticating else {
            throw RPCError(.invalidArgument, "whether a server has TLS, and whether it asks clients for certificates, cannot change")
        }
        try pem.check()
        return SecurityUpdate {
            self.state.withLock { state in
                if let handle = state.handle { pem.withUnsafeTLS { cgrpc_server_update_tls(handle, $0) } }
            }
        }
    }

    // MARK: Life

    func run() async {
        state.withLock { state in
            guard state.phase != .running else { preconditionFailure("run() of a server may be called once") }
            guard state.phase == .bound, let handle = state.handle else { return }
            state.phase = .running
            cgrpc_server_start(handle)
            for route in routes {
                let count = route.handle == nil ? Self.acceptsOfUnknownMethods : Self.acceptsPerMethod
                for _ in 0..<count { arm(route, &state) }
            }
        }
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let hasStopped = state.withLock { state in
                if state.phase != .stopped { state.waiter = continuation }
                return state.phase == .stopped
            }
            if hasStopped { continuation.resume() }
        }
    }

    /// Waits for one more call of a route, unless the server is shutting down.
    func arm(_ route: Route) {
        state.withLock { state in
            if state.phase == .running { arm(route, &state) }
        }
    }

    private func arm(_ route: Route, _ state: inout State) {
        guard let handle = state.handle else { return }
        if ServerCall(server: self, route: route).arm(handle) { state.armed += 1 }
    }

    /// An armed accept had its event.
    func acceptEnded() {
        let waiter = state.withLock { state in
            state.armed -= 1
            return stopIfDone(&state)
        }
        waiter?.resume()
    }

    func beginShutdown(grace: Duration) {
        state.withLock { state in
            guard let handle = state.handle else { return }
            if state.phase == .bound || state.phase == .running {
                state.phase = .stopping
                _ = expect {
                    cgrpc_server_begin_shutdown(handle, opaque)
                    return true
                }
            }
            if grace <= .zero {
                cgrpc_server_cancel_calls(handle)
            } else {
                state.graceTasks.append(
                    Task {
                        do { try await Task.sleep(for: grace) } catch { return }
                        self.cancelCalls()
                    })
            }
        }
    }

    private func cancelCalls() {
        state.withLock { state in
            if let handle = state.handle { cgrpc_server_cancel_calls(handle) }
        }
    }

    override func handle(_ kind: cgrpc_kind, success: Bool) {
        let waiter = state.withLock { state in
            state.hasNoCalls = true
            return stopIfDone(&state)
        }
        waiter?.resume()
    }

    private func stopIfDone(_ state: inout State) -> UnsafeContinuation<Void, Never>? {
        guard state.hasNoCalls, state.armed == 0, let handle = state.handle else { return nil }
        state.handle = nil
        state.phase = .stopped
        cgrpc_server_destroy(handle)
        queue.objectDestroyed()
        for task in state.graceTasks { task.cancel() }
        state.graceTasks = []
        defer { state.waiter = nil }
        return state.waiter
    }
}

extension Server.Configuration {
    /// The configuration as the core takes it.
    var arguments: CoreArguments {
        var arguments = CoreArguments()
        arguments.set("grpc.enable_channelz", false)
        // Two servers on one port would share its connections without either knowing.
        arguments.set("grpc.so_reuseport", false)
        arguments.set("grpc.max_receive_message_length", maximumRequestBytes)
        arguments.set("grpc.max_metadata_size", maximumMetadataBytes)
        arguments.setMemoryBound(maximumReceiveMemory)
        if let maximumCallsPerConnection { arguments.set("grpc.max_concurrent_streams", maximumCallsPerConnection) }
        arguments.set("grpc.keepalive_time_ms", keepaliveTime)
        arguments.set("grpc.keepalive_timeout_ms", keepaliveTimeout)
        arguments.set("grpc.keepalive_permit_without_calls", true)
        arguments.set("grpc.http2.min_ping_interval_without_data_ms", minimumPingInterval)
        arguments.set("grpc.max_connection_age_ms", maximumConnectionAge)
        arguments.set("grpc.max_connection_age_grace_ms", maximumConnectionAgeGrace)
        arguments.set("grpc.max_connection_idle_ms", maximumConnectionIdle)
        return arguments
    }
}

/// Addresses of the form `unix:path` and `unix:///path`.
enum UnixSocket {
    /// The path in such an address; nil: it is another kind of address.
    static func path(in address: String) -> String? {
        guard address.hasPrefix("unix:") else { return nil }
        let rest = address.dropFirst("unix:".count)
        return String(rest.hasPrefix("//") ? rest.dropFirst(2) : rest)
    }
}

/// What the core logs when it cannot listen.
enum BindFailure {
    /// The operating system's error in it, such as `Address already in use`; or else all of it.
    static func summary(of log: String) -> String {
        if let cause = text(after: "os_error:\"", in: log) { return cause }
        // "UNKNOWN:Name or service not known {grpc_status:2, …"
        let cause = log.prefix { $0 != "{" }.split(separator: ":", maxSplits: 1).last.map(String.init) ?? ""
        return cause.isEmpty ? "the address or the certificates were refused" : cause
    }

    private static func text(after marker: String, in log: String) -> String? {
        guard let range = log.firstRange(of: marker) else { return nil }
        let text = log[range.upperBound...].prefix { $0 != "\"" }
        return text.isEmpty ? nil : String(text)
    }
}
