import Conversation
import Logging
public import ServiceKit
public import ServiceLifecycle
import Synchronization

/// Where events of turns go, as a service of the process. They wait in a bounded queue; what finds it full is dropped and counted.
public final class TurnEventSink: ServiceLifecycle.Service {
    private static let batch = 256
    /// How long the first event of a batch waits for more.
    private static let pause: Duration = .milliseconds(50)

    private let name: String
    private let queue: DroppingQueue<TurnRecord>
    private let write: @Sendable ([TurnRecord]) async -> TurnEventWriting
    private let logger: Logger
    private let written: Counter
    private let failed: Counter
    private let dropped: Counter
    /// Whether the last batch could not be written: it is told of in the log when that changes.
    private let isFailing = Mutex(false)

    /// A sink.
    ///
    /// - Parameters:
    ///   - counters: Counts events by sink and outcome.
    ///   - capacity: How many events may wait.
    ///   - write: Writes a batch.
    init(
        _ name: String, counters: MetricFamily<Counter>, logger: Logger, capacity: Int = 4096,
        write: @escaping @Sendable ([TurnRecord]) async -> TurnEventWriting
    ) {
        self.name = name
        self.write = write
        self.logger = logger
        queue = DroppingQueue(capacity: capacity)
        written = counters(name, "written")
        failed = counters(name, "failed")
        dropped = counters(name, "dropped")
    }

    /// The counters of all sinks of a process.
    public static func counters(_ registry: MetricsRegistry) -> MetricFamily<Counter> {
        registry.counters(
            "kefu_dialogue_events_total",
            "Events of turns, by where they go and what became of them; dropped: too many waited, failed: they could not be written.",
            labels: ["sink", "outcome"])
    }

    func add(_ record: TurnRecord) {
        if !queue.add(record) { dropped.increment() }
    }

    /// Writes until a graceful shutdown, and then what is left.
    public func run() async {
        await cancelWhenGracefulShutdown {
            for await _ in self.queue.signals {
                try? await Task.sleep(for: Self.pause)
                if Task.isCancelled { break }
                await self.drain()
            }
        }
        await drain()
    }

    /// Writes all that waits.
    private func drain() async {
        while true {
            let records = queue.take(Self.batch)
            if records.isEmpty { return }
            let result = await write(records)
            written.increment(by: result.written)
            failed.increment(by: records.count - result.written)
            let wasFailing = isFailing.withLock { isFailing in
                defer { isFailing = result.failure != nil }
                return isFailing
            }
            if let failure = result.failure, !wasFailing {
                logger.error("events of turns are lost", metadata: ["sink": "\(name)", "reason": "\(failure)"])
            }
        }
    }
}

/// What became of a batch of events.
struct TurnEventWriting: Sendable {
    /// How many were written.
    var written: Int
    /// Why the others were not; nil: all were.
    var failure: String?
}
