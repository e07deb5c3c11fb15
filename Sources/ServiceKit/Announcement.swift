public import ServiceLifecycle

/// Says where a program listens as soon as its HTTP side is bound, and lives until the shutdown.
public struct Announcement: ServiceLifecycle.Service {
    private let grpc: String
    private let http: (listen: String, server: StandardHTTPServer)?

    /// - Parameters:
    ///   - grpc: Where gRPC listens.
    ///   - http: The HTTP side and where it was told to listen; nil: there is none.
    public init(grpc: String, http: (listen: String, server: StandardHTTPServer)?) {
        self.grpc = grpc
        self.http = http
    }

    /// Prints the line, once.
    public func run() async throws {
        var addresses = [(name: "grpc", address: grpc)]
        if let (listen, server) = http {
            // Where it cannot be bound, the HTTP side itself says why.
            guard let port = try? await server.boundPort else { return }
            addresses.append(("http", Program.bound(listen, port: port)))
        }
        Program.announce(addresses)
        try? await gracefulShutdown()
    }
}
