import ArgumentParser
import Conversation
import Dialogue
import DialogueService
import Glibc
import Logging
import RPC
import RPCServices
import Redis
import ServiceKit
import ServiceLifecycle

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serves kefu.dialogue.v1.Dialogue.",
        discussion: """
            Every flag is also an environment variable (--recognition-timeout-ms is KEFU_RECOGNITION_TIMEOUT_MS) and a line of the YAML \
            file that --settings names; a flag stands above a variable, and a variable above the file.
            """)

    @Option(help: "Where to listen: HOST:PORT, port 0 for a free one, or unix:PATH. (default: 127.0.0.1:50052)")
    var listen: String?
    @Option(help: "The intent servers: HOST:PORT, dns:///NAME:PORT or ipv4:A:P,B:P; more than one take turns. (default: 127.0.0.1:50051)")
    var understanding: String?
    @Option(
        help: "The session store: redis://[USER:PASSWORD@]HOST:PORT/DB, unix:///PATH, or memory: (this process only). (default: memory:)")
    var redis: String?
    @Option(help: "The folder of the domain: flows, rules, replies. (default: Deploy/domains/ecommerce)")
    var domain: String?
    @Option(help: "How often the domain's folder is looked at for changes, in milliseconds; 0: on SIGHUP only. (default: 2000)")
    var domainPollMs: String?
    @Option(help: "The most a turn may take, in milliseconds. (default: 10000)")
    var turnTimeoutMs: String?
    @Option(help: "The most a turn waits for the intent server, in milliseconds. (default: 1000)")
    var recognitionTimeoutMs: String?
    @Option(help: "The most a command of Redis may take, in milliseconds. (default: 1000)")
    var redisTimeoutMs: String?
    @Option(help: "How long turns under way may go on after SIGTERM, in milliseconds. (default: 10000)")
    var graceMs: String?
    @Option(help: "trace, debug, info, warning or error. (default: info)")
    var logLevel: String?
    @Option(help: "A YAML file of settings.")
    var settings: String?

    func run() async throws {
        let settings = try await Settings(
            flags: [
                "listen": listen, "understanding": understanding, "redis": redis, "domain": domain, "domain-poll-ms": domainPollMs,
                "turn-timeout-ms": turnTimeoutMs,
                "recognition-timeout-ms": recognitionTimeoutMs, "redis-timeout-ms": redisTimeoutMs, "grace-ms": graceMs,
                "log-level": logLevel,
            ], file: settings, environment: Program.environment)
        let logger = Program.logger("dialogue-orchestrator", level: try settings.logLevel())
        let grace = try settings.milliseconds("grace-ms", default: .seconds(10))
        let listen = settings.string("listen", default: "127.0.0.1:50052")

        let directory = settings.string("domain", default: "Deploy/domains/ecommerce")
        let domains = DomainCatalog(try Domain.load(directory: directory))
        let reloader = await DomainReloader(
            directory: directory, domains: domains, interval: try settings.milliseconds("domain-poll-ms", default: .seconds(2)),
            logger: logger)
        let queue = CompletionQueue(name: "dialogue")
        // Recognition changes nothing, so it may be asked for again: one intent server that goes away is not noticed while another is there.
        var channel = Channel.Configuration()
        channel.serviceConfig = RetryPolicy().serviceConfig
        let understanding = try Channel(
            settings.string("understanding", default: "127.0.0.1:50051"), configuration: channel, queue: queue)

        var environment = TurnEnvironment(now: { Program.now() }, newSessionID: { Program.newID() })
        environment.recognitionBudget = try settings.milliseconds("recognition-timeout-ms", default: .seconds(1))
        let (store, storeService) = try store(settings, now: environment.now)
        let turns = TurnTaker(
            domains: domains, store: store, recognizer: RemoteRecognizer(channel: understanding), environment: environment)
        var configuration = DialogueEndpoint.Configuration()
        configuration.turnTimeout = try settings.milliseconds("turn-timeout-ms", default: .seconds(10))
        let endpoint = DialogueEndpoint(turns: turns, configuration: configuration)

        let server = try StandardServer(listen: listen, services: [endpoint.service], queue: queue, grace: grace)
        Program.announce([("grpc", Program.bound(listen, port: server.port))])
        server.health.set(.serving)
        try await Program.run(storeService.map { [$0, reloader, server] } ?? [reloader, server], grace: grace, logger: logger)
        await understanding.close()
        await queue.shutdown()
    }

    private func store(_ settings: Settings, now: @escaping @Sendable () -> Timestamp) throws -> (
        any SessionStore, (any ServiceLifecycle.Service)?
    ) {
        let url = settings.string("redis", default: "memory:")
        guard url != "memory:" else { return (MemoryStore(now: now), nil) }
        var configuration = try RedisClient.Configuration(url: url)
        configuration.commandTimeout = try settings.milliseconds("redis-timeout-ms", default: .seconds(1))
        configuration.clientName = "kefu-dialogue-orchestrator"
        let client = RedisClient(configuration)
        return (RedisSessionStore(client: client), RedisService(client: client))
    }
}
