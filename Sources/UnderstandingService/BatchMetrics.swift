import Batching
import Conversation
import ServiceKit
import Synchronization
import Understanding

/// What is counted of the queue and the batches of each model.
final class BatchMetrics: Sendable {
    /// The series of one model; what has a class is in the order of the classes.
    private struct Model: Sendable {
        var arrivals: [Counter]
        var queue: [Histogram]
        var rows: Histogram
        var padding: Histogram
        var compute: Histogram
        var failed: Counter
    }

    private let arrivals: MetricFamily<Counter>
    private let dropped: MetricFamily<Counter>
    private let queue: MetricFamily<Histogram>
    private let rows: MetricFamily<Histogram>
    private let padding: MetricFamily<Histogram>
    private let compute: MetricFamily<Histogram>
    private let failed: MetricFamily<Counter>

    init(registry: MetricsRegistry, prefix: String, labels: [String]) {
        arrivals = registry.counters(prefix + "queue_arrivals_total", "Utterances that came to a model's queue.", labels: labels)
        dropped = registry.counters(
            prefix + "queue_dropped_total", "Utterances that left a model's queue without being computed, or before they were.",
            labels: labels + ["reason"])
        queue = registry.histograms(
            prefix + "queue_seconds", "From the arrival of an utterance to the start of its batch.", labels: labels,
            buckets: .secondsOfWaiting)
        rows = registry.histograms(
            prefix + "batch_rows", "Utterances in a batch.", labels: ["model"], buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256])
        padding = registry.histograms(
            prefix + "batch_padding_ratio", "Share of the tokens of a batch that is padding.", labels: ["model"],
            buckets: [0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
        compute = registry.histograms(
            prefix + "compute_seconds", "How long a batch was computed.", labels: ["model"], buckets: .secondsOfWaiting)
        failed = registry.counters(prefix + "batch_failed_rows_total", "Utterances whose batch could not be computed.", labels: ["model"])
    }

    /// Counts the batches of the model of that name; all its versions count together.
    func observer(of name: String) -> @Sendable (BatchEvent) -> Void {
        let classes = Conversation.Priority.allCases.map(\.label)
        let codes: [BatchingError.Code] = [.full, .unreachable, .expired, .cancelled, .stopped]
        let dropped = self.dropped
        let reasons = classes.map { label in
            Dictionary(uniqueKeysWithValues: codes.map { ($0, dropped(name, label, $0.description)) })
        }
        let model = Model(
            arrivals: classes.map { arrivals(name, $0) }, queue: classes.map { queue(name, $0) }, rows: rows(name), padding: padding(name),
            compute: compute(name), failed: failed(name))
        return { event in
            switch event {
            case .arrived(let priority): model.arrivals[priority.rawValue].increment()
            case .refused(let priority, let code):
                (reasons[priority.rawValue][code] ?? dropped(name, classes[priority.rawValue], code.description)).increment()
            case .started(let batch):
                model.rows.observe(Double(batch.rows.count))
                model.padding.observe(batch.padding)
                for row in batch.rows { model.queue[row.priority.rawValue].observe(row.queue) }
            case .finished(let batch):
                model.compute.observe(batch.compute)
                if batch.failed > 0 { model.failed.increment(by: batch.failed) }
            }
        }
    }
}

extension Conversation.Priority {
    /// The value of the label `priority`.
    var label: String {
        switch self {
        case .interactive: "interactive"
        case .standard: "standard"
        case .background: "background"
        }
    }
}
