public import RPC
public import RPCServices
public import ServiceLifecycle

/// A gRPC server with health and reflection, as a service of the process: it serves until the process is told to stop, and then drains.
///
/// Draining: health says not serving, clients are told to go elsewhere (GOAWAY), long-lived streams are read no further and end when what was read from
/// them is answered, calls under way finish; what is left after the grace period is cancelled.
public struct StandardServer: ServiceLifecycle.Service {
    /// The health of the server and of each of its services: not serving, until it is set.
    public let health: Health
    private let server: Server
    private let streams: StreamRegistry?
    private let grace: Duration

    /// Binds a server.
    ///
    /// - Parameters:
    ///   - health: Health of the services, where one of them must know it; nil: made here.
    ///   - security: How connections are secured, and who may call what. Health is open to everyone who can connect, so that probes are.
    ///   - streams: The long-lived streams of the services, which end when the server drains; nil: there are none.
    ///   - keepalive: After how long without traffic a client is pinged, and how long it has to answer.
    ///   - connectionAge: After how long (10 % more or less) clients are told to connect anew, so that they find servers that were added;
    ///     calls under way finish on the old connection. Nil: never.
    /// - Throws: `RPCError` where the address cannot be bound or the certificates cannot be used; ``SettingsError`` where callers are allowed services that
    ///   are not there.
    public init(
        listen: String, services: [RPC.Service], health: Health? = nil, security: TransportSecurity = .plaintext,
        streams: StreamRegistry? = nil,
        keepalive: (time: Duration, timeout: Duration) = (.seconds(60), .seconds(20)), queue: CompletionQueue, grace: Duration,
        connectionAge: Duration? = nil
    ) throws {
        let names = services.map(\.name)
        self.health = health ?? Health(services: names)
        let reflection = try Reflection(services: names + [self.health.service.name])
        var guarded = services + reflection.services
        if let callers = security.callers {
            try callers.check(against: guarded.map(\.name))
            guarded = guarded.map { $0.checked { context throws(RPCError) in try Self.check(context, security.callers ?? callers) } }
        }
        var configuration = Server.Configuration(address: listen)
        configuration.security = security.server
        configuration.maximumRequestBytes = 1 << 20
        configuration.maximumConnectionAge = connectionAge
        configuration.keepaliveTime = keepalive.time
        configuration.keepaliveTimeout = keepalive.timeout
        server = try Server(configuration, services: guarded + [self.health.service], queue: queue)
        security.keepUp(server, services: guarded.map(\.name))
        self.streams = streams
        self.grace = grace
    }

    private static func check(_ context: ServerContext, _ callers: AllowedCallers) throws(RPCError) {
        guard !callers.permits(context.peerIdentities, to: context.method) else { return }
        let names = context.peerIdentities.joined(separator: ", ")
        throw RPCError(.permissionDenied, "the client '\(names)' may not call \(context.method)")
    }

    /// The port that was bound; 0 for a unix socket.
    public var port: Int { server.port }

    /// Serves until a graceful shutdown, or cancellation, has ended every call.
    public func run() async {
        await withGracefulShutdownHandler {
            await server.run()
        } onGracefulShutdown: {
            health.drain()
            server.beginShutdown(grace: grace)
            streams?.drain()
        }
        health.drain()
    }
}
