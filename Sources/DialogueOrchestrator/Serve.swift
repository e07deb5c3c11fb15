import ArgumentParser
import Conversation
import Dialogue
import DialogueService
import Glibc
import Logging
import RPC
import RPCServices
import ServiceKit
import ServiceLifecycle

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serves kefu.dialogue.v1.Dialogue and, with Redis, kefu.handoff.v1.HandOff.",
        discussion: """
            Every flag is also an environment variable (--recognition-timeout-ms is KEFU_RECOGNITION_TIMEOUT_MS) and a line of the YAML \
            file that --settings names; a flag stands above a variable, and a variable above the file.
            """)

    @Option(help: "Where to listen: HOST:PORT, port 0 for a free one, or unix:PATH. (default: 127.0.0.1:50052)")
    var listen: String?
    @Option(
        help:
            "Where to serve POST /api/chat, /openapi.yaml, /metrics and /readyz by HTTP: HOST:PORT, port 0 for a free one. (default: nowhere)"
    )
    var http: String?
    @Flag(help: "Serve /inspector, a page that shows developers each turn in full; on a loopback address only.")
    var inspector = false
    @Flag(help: "Let the inspector be served on an address that others can reach.")
    var inspectorAnywhere = false
    @Option(help: "Where the inspector reads the intent server's metrics: a URL such as http://127.0.0.1:9090/metrics. (default: nowhere)")
    var understandingMetrics: String?
    @Option(
        help:
            "The intent servers: HOST:PORT, dns:///NAME:PORT or ipv4:A:P,B:P, by TLS with tls: in front; more than one take turns. (default: 127.0.0.1:50051)"
    )
    var understanding: String?
    @OptionGroup var sessions: RedisOptions
    @Option(help: "The folder of the domain: flows, rules, replies. (default: Deploy/domains/ecommerce)")
    var domain: String?
    @Option(help: "The shop's backend, kefu.actions.v1.Actions: HOST:PORT. (default: none; flows say that the wish is registered)")
    var actions: String?
    @Option(help: "The most an action may take, repeated attempts together, in milliseconds. (default: 3000)")
    var actionsTimeoutMs: String?
    @Option(help: "The most one attempt of an action may take, in milliseconds. (default: 1000)")
    var actionsAttemptMs: String?
    @Option(help: "TensorFlow Serving with a model of small talk: HOST:PORT. (default: none; templates answer)")
    var chitchat: String?
    @Option(help: "The most small talk may take, in milliseconds. (default: 250)")
    var chitchatTimeoutMs: String?
    @Option(help: "The model of small talk. (default: chitchat)")
    var chitchatModel: String?
    @OptionGroup var experiments: ExperimentOptions
    @Option(help: "How often the domain's folder is looked at for changes, in milliseconds; 0: on SIGHUP only. (default: 2000)")
    var domainPollMs: String?
    @Option(help: "The most a turn may take, in milliseconds. (default: 10000)")
    var turnTimeoutMs: String?
    @Option(help: "The most a turn waits for the intent server, in milliseconds. (default: 1000)")
    var recognitionTimeoutMs: String?
    @Option(
        help: "How long the recognition of a message may take before less is let in at once, in milliseconds. (default: 500)")
    var targetLatencyMs: String?
    @Option(help: "The most turns under way at once, whatever is learnt from how long they take. (default: 4096)")
    var turnsInFlight: String?
    @Option(help: "The most turns that wait to be let in; more are refused. (default: 16384)")
    var turnsWaiting: String?
    @Option(help: "The longest that a turn waits to be let in, in milliseconds. (default: 5000)")
    var admissionWaitMs: String?
    @Option(help: "After how long without a message a Converse stream is ended, in milliseconds; 0: never. (default: 3600000)")
    var streamIdleMs: String?
    @Option(help: "After how long without traffic a client is pinged, in milliseconds. (default: 60000)")
    var keepaliveMs: String?
    @Option(help: "How long a client may leave a ping unanswered before its connection is closed, in milliseconds. (default: 20000)")
    var keepaliveTimeoutMs: String?

    @OptionGroup var common: CommonOptions

    func run() async throws {
        let settings = try await Settings(
            flags: [
                "listen": listen, "http": http, "inspector": inspector ? "true" : nil,
                "inspector-anywhere": inspectorAnywhere ? "true" : nil, "understanding-metrics": understandingMetrics,
                "understanding": understanding,
                "domain": domain, "domain-poll-ms": domainPollMs,
                "turn-timeout-ms": turnTimeoutMs,
                "actions": actions, "actions-timeout-ms": actionsTimeoutMs, "actions-attempt-ms": actionsAttemptMs, "chitchat": chitchat,
                "chitchat-timeout-ms": chitchatTimeoutMs, "chitchat-model": chitchatModel, "recognition-timeout-ms": recognitionTimeoutMs,
                "target-latency-ms": targetLatencyMs, "turns-in-flight": turnsInFlight, "turns-waiting": turnsWaiting,
                "admission-wait-ms": admissionWaitMs, "stream-idle-ms": streamIdleMs, "keepalive-ms": keepaliveMs,
                "keepalive-timeout-ms": keepaliveTimeoutMs,
            ].merging(sessions.flags) { $1 }.merging(experiments.flags) { $1 }.merging(common.flags) { $1 }, file: common.settings,
            environment: Program.environment)
        let logger = Program.logger("dialogue-orchestrator", level: try settings.logLevel(), format: try settings.logFormat())
        let grace = try settings.milliseconds("grace-ms", default: .seconds(10))
        let listen = settings.string("listen", default: "127.0.0.1:50052")

        let plan = try ExperimentPlan(settings, directory: settings.string("domain", default: "Deploy/domains/ecommerce"))
        let domains = plan.domains
        let reloader = await DomainReloader(
            plan.folders, interval: try settings.milliseconds("domain-poll-ms", default: .seconds(2)), logger: logger)
        let registry = MetricsRegistry()
        registry.addProcess()
        let metrics = DialogueMetrics(registry: registry)
        let security = try TransportSecurity(settings)
        let traces = try TraceExporter.configured(
            settings, service: "dialogue-orchestrator", security: security, registry: registry, logger: logger)
        let observer = TurnObserver(metrics: metrics, tracer: traces?.tracer)
        let queue = CompletionQueue(name: "dialogue")
        // Recognition changes nothing, so it may be asked for again: one intent server that goes away is not noticed while another is there.
        var channel = Channel.Configuration()
        channel.serviceConfig = RetryPolicy().serviceConfig
        let understanding = try security.channel(
            settings.string("understanding", default: "127.0.0.1:50051"), configuration: channel, queue: queue)

        var environment = TurnEnvironment(now: { Program.now() }, newSessionID: { Program.newID() })
        environment.recognitionBudget = try settings.milliseconds("recognition-timeout-ms", default: .seconds(1))
        let (store, storeService) = try sessions.store(settings, now: environment.now)
        var (parts, partChannels) = try parts(
            settings, security: security, domains: domains, queue: queue, metrics: metrics, logger: logger)
        // Sessions in this process's memory are for one process; a desk needs them where every orchestrator is.
        let desk = (store as? RedisSessionStore).map { store in
            HandOffDesk(store: store, domain: { domains.current }, now: environment.now, newLease: { Program.newID() })
        }
        parts.waiting = desk
        let gate = AdmissionGate(try admission(settings))
        let observedStore = observer.observing(store)
        func taker(_ variant: String, _ domains: DomainCatalog, _ recognizer: any Recognizer, _ parts: OptionalParts) -> TurnTaker {
            TurnTaker(
                domains: domains, store: observedStore, recognizer: observer.observing(SampledRecognizer(recognizer, gate: gate)),
                parts: observer.observing(parts), environment: environment, variant: variant)
        }
        let recorded = try plan.events(
            settings, store: store, channel: understanding, registry: registry, logger: logger, now: environment.now)
        let turns = ObservedTurns(
            taker("", domains, RemoteRecognizer(channel: understanding), parts), gate: gate, observer: observer, domains: domains,
            logger: logger,
            experiment: try plan.running(registry: registry, parts: parts, channel: understanding, logger: logger, taker: taker),
            events: recorded?.events)
        var configuration = DialogueEndpoint.Configuration()
        configuration.turnTimeout = try settings.milliseconds("turn-timeout-ms", default: .seconds(10))
        let idle = try settings.milliseconds("stream-idle-ms", default: .seconds(3600))
        let streams = StreamRegistry(idleTimeout: idle == .zero ? nil : idle)
        let endpoint = DialogueEndpoint(turns: turns, streams: streams, desk: desk, configuration: configuration)

        let server = try StandardServer(
            listen: listen, services: [endpoint.service] + (desk.map { [HandOffEndpoint(desk: $0).service] } ?? []),
            security: security, streams: streams,
            keepalive: (
                try settings.milliseconds("keepalive-ms", default: .seconds(60)),
                try settings.milliseconds("keepalive-timeout-ms", default: .seconds(20))
            ), queue: queue, grace: grace, connectionAge: try settings.connectionAge())
        let http = try HTTPSide(
            settings: settings, turns: turns, health: server.health, registry: registry, turnTimeout: configuration.turnTimeout,
            queue: queue,
            logger: logger
        ).server()
        let announcement = Announcement(grpc: Program.bound(listen, port: server.port), http: http)
        server.health.set(.serving)
        // What stands first is shut down last: the HTTP side shows the drain, and turns under way commit.
        let first: [any ServiceLifecycle.Service] =
            (traces.map { [$0.exporter] } ?? []) + (storeService.map { [$0] } ?? []) + (recorded?.services ?? [])
            + (http.map { [$0.server] } ?? [])
        let certificates = try TransportSecurity.Reloader(security, settings: settings, registry: registry, logger: logger)
        try await Program.run(first + [announcement, reloader, certificates, server], grace: grace, logger: logger)
        for channel in partChannels + [understanding] { await channel.close() }
        await queue.shutdown()
    }

    /// How much is let in.
    private func admission(_ settings: Settings) throws -> AdmissionQueue.Configuration {
        var configuration = AdmissionQueue.Configuration()
        configuration.limit.target = try settings.milliseconds("target-latency-ms", default: configuration.limit.target)
        configuration.limit.maximum = try settings.int("turns-in-flight", default: configuration.limit.maximum, in: 1...1_000_000)
        configuration.waiting = try settings.int("turns-waiting", default: configuration.waiting, in: 0...1_000_000)
        configuration.patience = try settings.milliseconds("admission-wait-ms", default: configuration.patience)
        return configuration
    }

    /// The shop's backend and the model of small talk, as far as they are configured.
    private func parts(
        _ settings: Settings, security: TransportSecurity, domains: DomainCatalog, queue: CompletionQueue, metrics: DialogueMetrics,
        logger: Logger
    ) throws -> (OptionalParts, [Channel]) {
        var parts = OptionalParts()
        var breakers: [(part: String, state: @Sendable () -> CircuitBreaker.State)] = []
        var channels: [Channel] = []
        // Both lanes decide themselves what is sent again, and a connection that is away must be tried often.
        var channel = Channel.Configuration()
        channel.maximumBackoff = .seconds(2)
        func open(_ address: String) throws {
            channels.append(try security.channel(address, configuration: channel, queue: queue))
        }
        if let address = settings.string("actions") {
            var configuration = RemoteActions.Configuration()
            configuration.timeout = try settings.milliseconds("actions-timeout-ms", default: configuration.timeout)
            configuration.attemptTimeout = try settings.milliseconds("actions-attempt-ms", default: configuration.attemptTimeout)
            try open(address)
            let actions = RemoteActions(channel: channels[channels.count - 1], configuration: configuration, logger: logger)
            parts.actions = actions
            breakers.append(("actions", { actions.breakerState }))
        }
        if let address = settings.string("chitchat") {
            var configuration = RemoteChitchat.Configuration()
            configuration.budget = try settings.milliseconds("chitchat-timeout-ms", default: configuration.budget)
            configuration.model = settings.string("chitchat-model", default: configuration.model)
            try open(address)
            let chitchat = RemoteChitchat(
                channel: channels[channels.count - 1], filter: { domains.current.smallTalk }, configuration: configuration, logger: logger)
            parts.chitchat = chitchat
            breakers.append(("chitchat", { chitchat.breakerState }))
            // Nobody waits for it: without the model templates answer.
            Task { await chitchat.logStatus() }
        }
        metrics.watch(breakers: breakers)
        return (parts, channels)
    }
}
