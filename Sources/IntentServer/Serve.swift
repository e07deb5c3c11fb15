import ArgumentParser
import Conversation
import Foundation
import RPC
import RPCServices
import ServiceKit
import Understanding
import UnderstandingService

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serves kefu.understanding.v1.Understanding.",
        discussion: """
            Listens at once and says NOT_SERVING (grpc.health.v1) while models load and warm up; prints the line 'listening grpc=ADDRESS' \
            when it serves. --http adds /metrics (Prometheus), /healthz, /readyz and /version, and http=ADDRESS to that line. Every flag is also an environment variable (--batch-size is KEFU_BATCH_SIZE) and a line of the YAML file that \
            --settings names; a flag stands above a variable, and a variable above the file.
            """)

    @Option(help: "Where to listen: HOST:PORT, port 0 for a free one, or unix:PATH. (default: 127.0.0.1:50051)")
    var listen: String?
    @Option(help: "Where to serve /metrics and /readyz by HTTP: HOST:PORT, port 0 for a free one. (default: nowhere)")
    var http: String?
    @Option(help: "The folder of the model bundles, NAME/VERSION. (default: Deploy/models)")
    var models: String?
    @Option(help: "Which versions of each model are served: latest, latest:N or all. (default: latest)")
    var versions: String?
    @Option(help: "How often the folder is looked at for changes, in milliseconds; 0: only at SIGHUP. (default: 5000)")
    var pollIntervalMs: String?
    @Option(help: "What answers where a request names no model: NAME, NAME@VERSION, or a cascade. (default: the first model by name)")
    var defaultModel: String?
    @Option(
        help: """
            A light model that answers where it is confident, before a heavy one, under a name of their own: \
            name=NAME,light=MODEL,heavy=MODEL,threshold=0.9. Where the heavy one cannot answer the request fails; with ,fallback=light the light answer \
            is given. More than one: separated by semicolons.
            """)
    var cascade: String?
    @Option(help: "The bytes of answers that each model version keeps for texts of the same tokens; 0: none. (default: 0)")
    var cacheBytes: String?
    @Option(help: "Where models run: cpu, or cuda:N. (default: cpu)")
    var device: String?
    @Option(
        help:
            """
            What models compute in: auto, float32, bfloat16 (GPUs, and CPUs with AMX-BF16 or AVX512-BF16) or float16 (GPUs). auto: bfloat16 on a cpu with \
            AMX-BF16, float32 on others, float16 on cuda. (default: auto)
            """
    )
    var precision: String?
    @Option(help: "What this process may allocate of each GPU's memory, above 0 and at most 1. (default: all)")
    var gpuMemoryShare: String?
    @Option(help: "Instances of a model, each on a thread of its own, and on a stream of its own on a GPU. (default: 1)")
    var workers: String?
    @Option(
        help: "Threads of one forward pass; with the workers at most the cores. (default: the cores, divided by the workers; on cuda 1)")
    var threads: String?
    @Option(help: "The most utterances of one forward pass. (default: 32)")
    var batchSize: String?
    @Option(help: "The greatest share of what is computed that may be padding, 0 to 1. (default: 0.15 on cpu, 0.5 on cuda)")
    var paddingShare: String?
    @Option(
        help:
            """
            The share of a length's best throughput from which on a batch takes no more utterances, 0 to 1: less makes answers earlier, 1 always fills \
            batches. (default: 0.7 on cpu, 0.8 on cuda)
            """
    )
    var batchEfficiency: String?
    @Option(help: "The most utterances that may wait; more are refused. (default: 1024)")
    var queue: String?
    @Option(help: "The most an utterance may take, in milliseconds. (default: 10000)")
    var timeoutMs: String?

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try ModelLoader.prepareProcess()
        let settings = try await Settings(
            flags: [
                "listen": listen, "http": http, "models": models, "versions": versions,
                "poll-interval-ms": pollIntervalMs,
                "default-model": defaultModel,
                "cascade": cascade, "cache-bytes": cacheBytes, "device": device, "precision": precision, "gpu-memory-share": gpuMemoryShare,
                "workers": workers, "threads": threads,
                "batch-size": batchSize, "padding-share": paddingShare, "batch-efficiency": batchEfficiency, "queue": queue,
                "timeout-ms": timeoutMs,
            ].merging(common.flags) { $1 }, file: common.settings, environment: Program.environment)
        let logger = Program.logger("intent-server", level: try settings.logLevel(), format: try settings.logFormat())
        let grace = try settings.milliseconds("grace-ms", default: .seconds(10))
        let listen = settings.string("listen", default: "127.0.0.1:50051")

        let device = settings.string("device", default: "cpu")
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let workers = try settings.int("workers", default: 1, in: 1...64)
        let isGPU = TorchOptions.isGPU(device)
        let threads = try settings.int("threads", default: isGPU ? 1 : max(1, cores / workers), in: 1...256)
        let options = TorchOptions(
            device: device,
            precision: try settings.choice(
                "precision", default: nil, [("auto", nil)] + TorchOptions.Precision.allCases.map { ($0.rawValue, $0) }),
            workers: workers, threads: threads, gpuMemoryShare: try settings.number("gpu-memory-share", in: 0...1))
        if !isGPU { try ModelLoader.checkThreads(workers: workers, threads: threads, cores: cores) }
        let timeout = try settings.milliseconds("timeout-ms", default: .seconds(10))
        // What waits longer than any request may take is of no use.
        let engine = RecognitionEngine.Configuration(
            batchSize: try settings.int("batch-size", default: 32, in: 1...1024),
            waiting: try settings.int("queue", default: 1024, in: 1...1_000_000), work: timeout,
            paddingShare: try settings.number("padding-share", in: 0...1) ?? TorchOptions.defaultPaddingShare(on: device),
            efficiency: try settings.number("batch-efficiency", in: 0...1) ?? TorchOptions.defaultBatchEfficiency(on: device),
            cacheBytes: try settings.int("cache-bytes", default: 0, in: 0...1 << 40))

        let registry = MetricsRegistry()
        registry.addProcess()
        let metrics = UnderstandingMetrics(registry: registry)
        let security = try TransportSecurity(settings)
        let traces = try TraceExporter.configured(
            settings, service: "intent-server", security: security, registry: registry, logger: logger)
        var configuration = ModelHost.Configuration()
        configuration.versions = try VersionPolicy(settings.string("versions", default: "latest"))
        configuration.defaultModel = try settings.string("default-model").map { try ModelSelector($0) }
        configuration.cascades = try settings.string("cascade")?.split(separator: ";").map { try Cascade(String($0)) } ?? []
        let host = try ModelHost(
            directory: settings.string("models", default: "Deploy/models"), configuration: configuration,
            loader: .torch(options, engine: engine, observe: metrics.observer),
            logger: logger)

        metrics.watch(host, in: registry)

        let health = Health(services: [UnderstandingEndpoint.name, InferenceEndpoint.name])
        let understanding = UnderstandingEndpoint(host: host, metrics: metrics, tracer: traces?.tracer, timeout: timeout)
        let inference = InferenceEndpoint(
            host: host, health: health, metrics: metrics, tracer: traces?.tracer, rowLimit: engine.batchSize, timeout: timeout)

        let completions = CompletionQueue(name: "understanding")
        let server = try StandardServer(
            listen: listen, services: [understanding.service, inference.service], health: health,
            security: security, queue: completions, grace: grace, connectionAge: try settings.connectionAge())
        let http = try settings.string("http").map { listen in
            (
                listen,
                try StandardHTTPServer(
                    listen: listen, health: health, metrics: registry, logger: logger, token: try HTTPToken(settings))
            )
        }
        let models = ModelService(host: host, pollInterval: try settings.milliseconds("poll-interval-ms", default: .seconds(5))) {
            var addresses = [(name: "grpc", address: Program.bound(listen, port: server.port))]
            if let (listen, http) = http { addresses.append(("http", Program.bound(listen, port: try await http.boundPort))) }
            health.set(.serving)
            Program.announce(addresses)
        }
        let certificates = try TransportSecurity.Reloader(security, settings: settings, registry: registry, logger: logger)
        // The HTTP side goes last, so that the drain can be watched.
        try await Program.run(
            (traces.map { [$0.exporter] } ?? []) + (http.map { [$0.1] } ?? [])
                + [models, certificates, server], grace: grace, logger: logger)
        await completions.shutdown()
    }
}
