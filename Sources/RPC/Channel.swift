import CGRPC
import Synchronization

/// A client's way to one server or to several of the same kind: connects when needed, reconnects, spreads calls over all addresses.
///
/// Calls go on the thread of the ``CompletionQueue``; they cost least from a task that prefers the queue as its executor.
public final class Channel: Sendable {
    /// How calls are spread over the addresses of a target.
    public enum LoadBalancing: String, Sendable {
        /// Each address in turn.
        case roundRobin = "round_robin"
        /// The first that can be reached has all.
        case pickFirst = "pick_first"
    }

    /// What a channel can be told.
    public struct Configuration: Sendable {
        /// How connections are secured.
        public var security: ChannelSecurity = .plaintext
        /// How calls are spread over the target's addresses.
        public var loadBalancing: LoadBalancing = .roundRobin
        /// gRPC's service config in JSON: retry policy (see ``RetryPolicy``), time-outs per method. It comes from here only, never from DNS.
        public var serviceConfig: String?
        /// Whether calls wait for a connection instead of failing with UNAVAILABLE, where their ``CallOptions`` do not say.
        public var waitForReady = false
        /// The most bytes a request may have; more throws RESOURCE_EXHAUSTED.
        public var maximumRequestBytes = Int.max
        /// The most bytes a response may have; more throws RESOURCE_EXHAUSTED.
        public var maximumResponseBytes = 4 << 20
        /// The most bytes a response's metadata may have.
        public var maximumMetadataBytes = 16 << 10
        /// After how long without traffic a server is pinged while calls are under way. Servers limit how often they may be pinged.
        public var keepaliveTime: Duration = .seconds(30)
        /// How long a ping may stay without answer before the connection is closed and its calls end with UNAVAILABLE.
        public var keepaliveTimeout: Duration = .seconds(10)
        /// Whether servers are pinged without calls under way, too.
        public var keepaliveWithoutCalls = false
        /// The pause after the first failed attempt to connect; it grows with each further one.
        public var initialBackoff: Duration = .milliseconds(100)
        /// The longest pause between attempts to connect.
        public var maximumBackoff: Duration = .seconds(10)
        /// The time an attempt to connect is given at least.
        public var minimumConnectTimeout: Duration = .seconds(5)
        /// The least time between two resolutions of the target's name.
        public var minimumTimeBetweenResolutions: Duration = .seconds(5)
        /// Whether the channel has connections of its own; else channels of the same configuration to the same address share one.
        public var ownsConnections = false
        /// Whether the environment variables `http_proxy` and `no_proxy` count.
        public var usesProxy = false

        /// The defaults.
        public init() {}
    }

    // Sendable: it never leaves its lock.
    private struct State: @unchecked Sendable {
        /// nil: the channel is closed.
        var connections: Connections?
        var isClosing = false
        /// Each with the connections that it goes over.
        var calls: [ObjectIdentifier: (call: ClientCall, connections: Connections)] = [:]
        var closers: [UnsafeContinuation<Void, Never>] = []
    }

    /// A channel of the core. It lives until its last call has ended.
    // Sendable: `handle` is thread-safe.
    private final class Connections: @unchecked Sendable {
        let handle: OpaquePointer
        private let queue: CompletionQueue

        init(_ handle: OpaquePointer, _ queue: CompletionQueue) {
            self.handle = handle
            self.queue = queue
            queue.objectCreated()
        }

        deinit {
            cgrpc_channel_destroy(handle)
            queue.objectDestroyed()
        }
    }

    /// The queue that calls run on.
    public let queue: CompletionQueue
    let configuration: Configuration
    private let target: String
    private let state: Mutex<State>

    /// A channel to a target: `host:port`, `dns:///name:port`, `unix:/path`, `ipv4:127.0.0.1:1,127.0.0.1:2`. Nothing is connected yet.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where the target or the configuration is at fault.
    public init(_ target: String, configuration: Configuration = .init(), queue: CompletionQueue) throws(RPCError) {
        if target.isEmpty || target.utf8.contains(0) { throw RPCError(.invalidArgument, "the target '\(target)' is not an address") }
        self.queue = queue
        self.configuration = configuration
        self.target = target
        state = Mutex(State(connections: try Self.connections(target, configuration, queue)))
    }

    /// Secures the connections that are made from now on with other certificates. Calls under way go on as they are; new ones go over new connections. From any
    /// thread, at any time.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where they cannot be used. What was in use then stays.
    public func update(_ security: ChannelSecurity) throws(RPCError) { try prepare(security).apply() }

    /// Does all of ``update(_:)`` that can fail.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where they cannot be used.
    public func prepare(_ security: ChannelSecurity) throws(RPCError) -> SecurityUpdate {
        try security.pem()?.check()
        var configuration = configuration
        configuration.security = security
        let connections = try Self.connections(target, configuration, queue)
        return SecurityUpdate { self.use(connections) }
    }

    private func use(_ connections: Connections) {
        // What was there is given up outside of the lock.
        let former = state.withLock { state in
            if state.connections == nil || state.isClosing { return connections }
            defer { state.connections = connections }
            return state.connections ?? connections
        }
        withExtendedLifetime(former) {}
    }

    private static func connections(
        _ target: String, _ configuration: Configuration, _ queue: CompletionQueue
    ) throws(RPCError) -> Connections {
        let pem = try configuration.security.pem()
        let handle = configuration.arguments(serverName: configuration.security.serverName).withUnsafeArguments { arguments in
            if let pem {
                pem.withUnsafeTLS { cgrpc_channel_create(target, arguments, $0) }
            } else {
                cgrpc_channel_create(target, arguments, nil)
            }
        }
        guard let handle else {
            throw RPCError(.invalidArgument, "the gRPC core refuses a channel to '\(target)': its form or the service config is at fault")
        }
        return Connections(handle, queue)
    }

    /// One request, one response. Cancelling the task cancels the call.
    ///
    /// - Parameter method: `/package.Service/Method`.
    /// - Throws: The call's status where it is not OK.
    public func unary(_ method: String, _ request: [UInt8], options: CallOptions = .init()) async throws(RPCError) -> UnaryResponse {
        try checkSize(of: request)
        let call = try open(method, options)
        return try await call.unary(request, waitForReady: options.waitForReady ?? configuration.waitForReady).get()
    }

    /// Ends all calls under way with CANCELLED and closes the connections. Returns when every call has ended. New calls are refused.
    public func close() async {
        let calls = state.withLock { state in
            state.isClosing = true
            return state.calls.values.map(\.call)
        }
        for call in calls { call.cancel() }
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let isClosed = state.withLock { state in
                destroyIfDone(&state)
                if state.connections != nil { state.closers.append(continuation) }
                return state.connections == nil
            }
            if isClosed { continuation.resume() }
        }
    }

    func checkSize(of request: [UInt8]) throws(RPCError) {
        if request.count > configuration.maximumRequestBytes {
            throw RPCError(
                .resourceExhausted,
                "the request has \(request.count) bytes; this channel sends at most \(configuration.maximumRequestBytes)")
        }
    }

    func open(_ method: String, _ options: CallOptions) throws(RPCError) -> ClientCall {
        try options.metadata.validate()
        // The core would start the call all the same, and a quick answer could overtake its timer.
        if let timeLeft = options.timeLeft, timeLeft <= .zero {
            throw RPCError(.deadlineExceeded, "the deadline had passed before the call was made")
        }
        let call = ClientCall(channel: self)
        let (isClosing, isOpen) = state.withLock { state in
            guard !state.isClosing, let connections = state.connections else { return (true, false) }
            guard call.open(connections.handle, method, options) else { return (false, false) }
            state.calls[ObjectIdentifier(call)] = (call, connections)
            return (false, true)
        }
        if isClosing { throw RPCError(.cancelled, "the channel is closed") }
        if !isOpen { throw RPCError(.internalError, "the gRPC core refused to create the call") }
        return call
    }

    /// A call is over.
    func ended(_ call: ClientCall) {
        let closers = state.withLock { state in
            state.calls[ObjectIdentifier(call)] = nil
            if state.isClosing { destroyIfDone(&state) }
            defer { if state.connections == nil { state.closers = [] } }
            return state.connections == nil ? state.closers : []
        }
        for closer in closers { closer.resume() }
    }

    private func destroyIfDone(_ state: inout State) {
        if state.calls.isEmpty { state.connections = nil }
    }
}

/// How one call is made.
public struct CallOptions: Sendable {
    /// The call ends with DEADLINE_EXCEEDED after this time.
    public var timeout: Duration?
    /// The call ends with DEADLINE_EXCEEDED at this time. Where there is a time-out too, the earlier counts.
    public var deadline: ContinuousClock.Instant?
    /// What is sent beside the messages.
    public var metadata: Metadata
    /// Whether the call waits for a connection; nil: as the channel's configuration says.
    public var waitForReady: Bool?

    /// The options of one call.
    public init(
        timeout: Duration? = nil, deadline: ContinuousClock.Instant? = nil, metadata: Metadata = Metadata(), waitForReady: Bool? = nil
    ) {
        self.timeout = timeout
        self.deadline = deadline
        self.metadata = metadata
        self.waitForReady = waitForReady
    }

    /// From now to the earlier of time-out and deadline; nil: without end.
    var timeLeft: Duration? {
        guard let deadline else { return timeout }
        let left = ContinuousClock.now.duration(to: deadline)
        return timeout.map { min($0, left) } ?? left
    }
}

/// What a unary call brought.
public struct UnaryResponse: Sendable {
    /// The response.
    public let message: [UInt8]
    /// What the server sent before it.
    public let initialMetadata: Metadata
    /// What the server sent with the status.
    public let trailingMetadata: Metadata
}

extension Channel.Configuration {
    /// The configuration as the core takes it.
    func arguments(serverName: String?) -> CoreArguments {
        var arguments = CoreArguments()
        arguments.set("grpc.enable_channelz", false)
        arguments.set("grpc.lb_policy_name", loadBalancing.rawValue)
        arguments.set("grpc.service_config_disable_resolution", true)
        if let serviceConfig { arguments.set("grpc.service_config", serviceConfig) }
        arguments.set("grpc.max_receive_message_length", maximumResponseBytes)
        arguments.set("grpc.max_metadata_size", maximumMetadataBytes)
        arguments.set("grpc.keepalive_time_ms", keepaliveTime)
        arguments.set("grpc.keepalive_timeout_ms", keepaliveTimeout)
        arguments.set("grpc.keepalive_permit_without_calls", keepaliveWithoutCalls)
        // Otherwise the third ping of a call without messages is the last.
        arguments.set("grpc.http2.max_pings_without_data", 0)
        arguments.set("grpc.initial_reconnect_backoff_ms", initialBackoff)
        arguments.set("grpc.max_reconnect_backoff_ms", maximumBackoff)
        arguments.set("grpc.min_reconnect_backoff_ms", minimumConnectTimeout)
        arguments.set("grpc.dns_min_time_between_resolutions_ms", minimumTimeBetweenResolutions)
        arguments.set("grpc.use_local_subchannel_pool", ownsConnections)
        arguments.set("grpc.enable_http_proxy", usesProxy)
        if let serverName { arguments.set("grpc.ssl_target_name_override", serverName) }
        return arguments
    }
}
