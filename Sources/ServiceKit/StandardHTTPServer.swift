import Glibc
import HTTPTypes
public import Hummingbird
public import Logging
import NIOCore
import NIOPosix
public import RPCServices
public import ServiceLifecycle
import Synchronization

/// The HTTP side of a program, as a service of the process: `/metrics` for Prometheus, `/healthz` (the process answers), `/readyz` (what gRPC health says of the
/// server as a whole), `/version`, and the routes that a service adds. With a token, what is not for probes asks for it. It has one thread of its own, so that it never waits for gRPC, nor gRPC for it.
public struct StandardHTTPServer: ServiceLifecycle.Service {
    private let host: String
    private let port: Int
    private let responder: RouterResponder<BasicRequestContext>
    private let logger: Logger
    private let bound = BoundPort()

    /// A server that is not bound yet; ``run()`` binds it.
    ///
    /// - Parameters:
    ///   - listen: HOST:PORT; port 0 for a free one.
    ///   - token: What callers must name, those of `/healthz`, `/readyz`, `/version` and `publicRoutes` excepted; nil: nothing.
    ///   - publicRoutes: Adds routes that are open to all.
    ///   - routes: Adds routes.
    /// - Throws: ``SettingsError`` where `listen` is not HOST:PORT.
    public init(
        listen: String, health: Health, metrics: MetricsRegistry, logger: Logger, token: HTTPToken? = nil,
        publicRoutes: (Router<BasicRequestContext>) -> Void = { _ in }, routes: (Router<BasicRequestContext>) -> Void = { _ in }
    ) throws(SettingsError) {
        let parts = listen.lastIndex(of: ":").map { (listen[..<$0], listen[listen.index(after: $0)...]) }
        guard let (host, digits) = parts, !host.isEmpty, let port = UInt16(digits) else {
            throw SettingsError("--http is '\(listen)'; HOST:PORT is expected, such as 127.0.0.1:9090, with port 0 for a free one")
        }
        self.host = String(host.first == "[" && host.last == "]" ? host.dropFirst().dropLast() : host)
        self.port = Int(port)
        // Of Hummingbird's own lines, only what goes wrong is worth a reader's time.
        var logger = logger
        if logger.logLevel == .info { logger.logLevel = .notice }
        self.logger = logger

        let router = Router(options: .autoGenerateHeadEndpoints)
        router.get("healthz") { _, _ in Response("ok\n") }
        router.get("readyz") { _, _ in
            health.status() == .serving ? Response("ok\n") : Response("not serving\n", status: .serviceUnavailable)
        }
        router.get("version") { _, _ in Response(Program.version + "\n") }
        publicRoutes(router)
        // Only what is added from here on is behind it.
        if let token { router.add(middleware: HTTPTokenGuard(token: token)) }
        router.get("metrics") { _, _ in Response(metrics.text(), type: "text/plain; version=0.0.4; charset=utf-8") }
        routes(router)
        responder = router.buildResponder()
    }

    /// Whether only this machine reaches the server.
    public var isLoopback: Bool { Self.isLoopback(host) }

    /// Whether a host is this machine, whatever the network: `localhost`, `::1`, or 127.0.0.0/8.
    public static func isLoopback(_ host: String) -> Bool {
        if host.lowercased() == "localhost" || host == "::1" { return true }
        var address = in_addr()
        return inet_pton(AF_INET, host, &address) == 1 && UInt32(bigEndian: address.s_addr) >> 24 == 127
    }

    /// The port that was bound; waits until it is.
    ///
    /// - Throws: What ``run()`` throws where it cannot be bound.
    public var boundPort: Int { get async throws { try await bound.value } }

    /// Binds the address and serves until a graceful shutdown, or cancellation.
    ///
    /// - Throws: ``SettingsError`` where the address cannot be bound.
    public func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let application = Application(
            responder: responder, server: .http1(configuration: .init(idleTimeout: .seconds(75))),
            configuration: ApplicationConfiguration(address: .hostname(host, port: port)),
            onServerRunning: { [bound] in bound.resolve(.success($0.localAddress?.port ?? 0)) },
            eventLoopGroupProvider: .shared(group), logger: logger)
        let result: Result<Void, any Error>
        do {
            try await application.run()
            result = .success(())
        } catch let error as IOError {
            result = .failure(SettingsError("--http \(host):\(port) cannot be bound: \(error)"))
        } catch {
            result = .failure(error)
        }
        bound.resolve(result.flatMap { .failure(CancellationError()) })
        try? await group.shutdownGracefully()
        try result.get()
    }
}

extension Response {
    /// A text.
    init(_ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8") {
        self.init(status: status, headers: [.contentType: type], body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}

/// A port that is told once and may be waited for.
private final class BoundPort: Sendable {
    private enum State {
        case open([CheckedContinuation<Int, any Error>])
        case told(Result<Int, any Error>)
    }

    private let state = Mutex(State.open([]))

    var value: Int {
        get async throws {
            try await withCheckedThrowingContinuation { continuation in
                let told: Result<Int, any Error>? = state.withLock { state in
                    switch state {
                    case .open(let waiting):
                        state = .open(waiting + [continuation])
                        return nil
                    case .told(let result): return result
                    }
                }
                if let told { continuation.resume(with: told) }
            }
        }
    }

    /// Only the first result counts.
    func resolve(_ result: Result<Int, any Error>) {
        let waiting: [CheckedContinuation<Int, any Error>] = state.withLock { state in
            guard case .open(let waiting) = state else { return [] }
            state = .told(result)
            return waiting
        }
        for continuation in waiting { continuation.resume(with: result) }
    }
}
