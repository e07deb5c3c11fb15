public import Logging
public import RPC
import RPCServices
public import ServiceLifecycle

/// Sends the spans of a tracer to a collector, as a service of the process with a thread of its own: no request waits for it.
///
/// Spans go in batches, after a pause in which more may come. A batch that the collector does not take is sent again a few times, while new spans wait or
/// are dropped; what is lost is counted. At the shutdown what waits is sent once more.
public struct TraceExporter: ServiceLifecycle.Service {
    private static let batch = 512
    private static let attempts = 4

    private let tracer: Tracer
    private let queue: CompletionQueue
    private let channel: Channel
    private let collector: TraceCollector
    private let pause: Duration
    private let logger: Logger
    private let exported: Counter
    private let failed: Counter
    private let rejected: Counter

    /// The tracer and the exporter that the settings ask for, by `otlp` and `trace-ratio`.
    ///
    /// - Parameter service: The name of the program.
    /// - Returns: nil where no collector is named.
    /// - Throws: ``SettingsError`` or `RPCError` where a setting is at fault.
    public static func configured(
        _ settings: Settings, service: String, security: TransportSecurity, registry: MetricsRegistry, logger: Logger
    ) throws -> (tracer: Tracer, exporter: TraceExporter)? {
        guard let address = settings.string("otlp") else { return nil }
        let ratio = try settings.number("trace-ratio", in: 0...1) ?? 0.01
        let tracer = Tracer(ratio: ratio)
        let exporter = try TraceExporter(
            tracer, address: address, security: security, pause: try settings.milliseconds("trace-pause-ms", default: .seconds(1)),
            service: service, registry: registry, logger: logger)
        return (tracer, exporter)
    }

    /// An exporter to a collector's address.
    ///
    /// - Parameters:
    ///   - security: How a collector at a `tls:` address is spoken to.
    ///   - pause: How long a batch waits for more spans.
    /// - Throws: `RPCError` where the address is none, or the certificates cannot be used.
    public init(
        _ tracer: Tracer, address: String, security: TransportSecurity = .plaintext, pause: Duration, service: String,
        registry: MetricsRegistry, logger: Logger
    ) throws(RPCError) {
        self.tracer = tracer
        self.pause = pause
        self.logger = logger
        queue = CompletionQueue(name: "traces")
        channel = try security.channel(address, queue: queue)
        collector = TraceCollector(
            channel: channel,
            resource: [
                ("service.name", .text(service)), ("service.version", .text(Program.version)),
                ("service.instance.id", .text(Program.newID())),
            ], scope: (name: "kefu", version: Program.version))
        exported = registry.counters("kefu_trace_spans_exported_total", "Spans that the collector took.")()
        let lost = registry.counters(
            "kefu_trace_spans_lost_total", "Spans that no collector took, by the reason.", labels: ["reason"])
        failed = lost("export_failed")
        rejected = lost("rejected")
        let spans = tracer.spans
        registry.collect(
            "kefu_trace_spans_dropped_total", "Spans that were dropped because too many waited for the exporter.", .counter
        ) {
            [MetricSample(value: Double(spans.dropped))]
        }
    }

    /// Exports until a graceful shutdown, and then what is left.
    public func run() async {
        await cancelWhenGracefulShutdown {
            for await _ in tracer.spans.signals {
                try? await Task.sleep(for: pause)
                if Task.isCancelled { break }
                await drain(attempts: Self.attempts)
            }
        }
        await drain(attempts: 1)
        await channel.close()
        await queue.shutdown()
    }

    /// Sends all that waits.
    private func drain(attempts: Int) async {
        while true {
            let spans = tracer.spans.take(Self.batch)
            if spans.isEmpty { return }
            await send(spans, attempts: attempts)
        }
    }

    private func send(_ spans: [Span], attempts: Int) async {
        var wait: Duration = .milliseconds(500)
        for attempt in 1...attempts {
            do throws(RPCError) {
                let refused = try await collector.export(spans, timeout: .seconds(5))
                exported.increment(by: max(0, spans.count - refused))
                rejected.increment(by: min(spans.count, max(0, refused)))
                return
            } catch {
                guard attempt < attempts, Self.repeatable.contains(error.code), !Task.isCancelled else {
                    failed.increment(by: spans.count)
                    logger.warning("\(spans.count) spans are lost: the collector answered \(error)")
                    return
                }
            }
            try? await Task.sleep(for: wait)
            wait *= 2
        }
    }

    private static let repeatable: Set<RPCError.Code> = [.unavailable, .deadlineExceeded, .resourceExhausted, .aborted, .cancelled]
}
