public import ServiceLifecycle

/// The models as a service of the process: loads and warms them, then keeps them until the servers above have drained.
public struct ModelService: Service {
    private let host: ModelHost
    private let ready: @Sendable () async throws -> Void

    /// A service over a host.
    ///
    /// - Parameter ready: Called once, when every model is warm.
    public init(host: ModelHost, ready: @escaping @Sendable () async throws -> Void) {
        self.host = host
        self.ready = ready
    }

    /// Loads the models, and waits for the shutdown.
    public func run() async throws {
        try await host.load()
        try await ready()
        try await gracefulShutdown()
        await host.drain()
    }
}
