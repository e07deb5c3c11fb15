public import Redis
public import ServiceLifecycle

/// The connection to Redis as a service of the process: it outlives the server, so that turns under way can commit.
public struct RedisService: Service {
    private let client: RedisClient

    /// A service over a client.
    public init(client: RedisClient) { self.client = client }

    /// Keeps the connection until the process has drained.
    public func run() async {
        await cancelWhenGracefulShutdown { await client.run() }
    }
}
