public import Conversation
public import ServiceKit
import Synchronization

/// What an intent server counts, by model and class.
///
/// Every utterance that names a model which is there is counted once when it comes and once when it ends, however it ends, so
/// `requests` = `answered` + `refused` + `expired` + `cancelled` + `failed` + those under way. What never gets so far is `rejected`.
public final class UnderstandingMetrics: Sendable {
    /// How an utterance ended.
    private struct Outcomes: Sendable {
        var requests: Counter
        var answered: Counter
        var expired: Counter
        var cancelled: Counter
        var failed: Counter
        var queue: Histogram
    }

    private static let model = ["model", "priority"]
    private let requests, answered, expired, cancelled, failed: MetricFamily<Counter>
    private let refused: MetricFamily<Counter>
    private let rejected: MetricFamily<Counter>
    private let queue: MetricFamily<Histogram>
    private let outcomes = Mutex<[String: [Outcomes]]>([:])

    /// Metrics in a registry; at most once in each.
    public init(registry: MetricsRegistry) {
        let prefix = "kefu_understanding_"
        requests = registry.counters(prefix + "requests_total", "Utterances for a model that is there.", labels: Self.model)
        answered = registry.counters(prefix + "answered_total", "Utterances that were recognised.", labels: Self.model)
        refused = registry.counters(
            prefix + "refused_total", "Utterances that were refused at once.", labels: Self.model + ["reason"])
        expired = registry.counters(
            prefix + "expired_total", "Utterances whose deadline passed before they were computed.", labels: Self.model)
        cancelled = registry.counters(prefix + "cancelled_total", "Utterances whose caller left.", labels: Self.model)
        failed = registry.counters(prefix + "failed_total", "Utterances that the model could not compute.", labels: Self.model)
        rejected = registry.counters(
            prefix + "rejected_total", "Requests that are not valid, or whose model is not there or not ready.", labels: ["code"])
        queue = registry.histograms(
            prefix + "queue_seconds", "From the arrival of an utterance that was recognised to the start of its batch.",
            labels: Self.model, buckets: .secondsOfWaiting)
        for code in ["INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"] { _ = rejected(code) }
    }

    /// Adds what is read from the models when the metrics are asked for.
    public func watch(_ host: ModelHost, in registry: MetricsRegistry) {
        registry.collect("kefu_understanding_model_state", "1 for the state that a model is in, 0 for the others.", .gauge) {
            host.descriptions.flatMap { model in
                let states: [(String, ModelDescription.State)] = [
                    ("loading", .loading), ("warming", .warming), ("ready", .ready), ("draining", .draining), ("failed", .failed),
                ]
                return states.map { name, state in
                    MetricSample(
                        ["model", model.name, "version", model.version, "state", name], value: model.state == state ? 1 : 0)
                }
            }
        }
        registry.collect("kefu_understanding_model_memory_bytes", "Memory of a model's parameters, all instances together.", .gauge) {
            host.descriptions.map { MetricSample(["model", $0.name, "version", $0.version], value: Double($0.memoryBytes)) }
        }
    }

    /// Counts what `body` throws as rejected.
    public func counting<T>(_ body: () throws(ConversationError) -> T) throws(ConversationError) -> T {
        do { return try body() } catch {
            rejected(error.code.description).increment()
            throw error
        }
    }

    /// Counts an utterance for a model, and how it ended.
    public func counting(
        _ model: String, _ priority: Priority, _ recognize: () async throws(ConversationError) -> Recognition
    ) async throws(ConversationError) -> Recognition {
        let own = outcomes(model, priority)
        own.requests.increment()
        do {
            let recognition = try await recognize()
            own.answered.increment()
            own.queue.observe(recognition.timing.queue)
            return recognition
        } catch {
            switch error.code {
            case .resourceExhausted: refused(model, priority.label, "overload").increment()
            case .unavailable: refused(model, priority.label, "draining").increment()
            case .deadlineExceeded: own.expired.increment()
            case .cancelled: own.cancelled.increment()
            default: own.failed.increment()
            }
            throw error
        }
    }

    /// The series of a model and a class. All of a model's classes are made at once, so that each is there from 0 on.
    private func outcomes(_ model: String, _ priority: Priority) -> Outcomes {
        outcomes.withLock { outcomes in
            if let known = outcomes[model] { return known[priority.rawValue] }
            let made = Priority.allCases.map { priority in
                for reason in ["overload", "draining"] { _ = refused(model, priority.label, reason) }
                return Outcomes(
                    requests: requests(model, priority.label), answered: answered(model, priority.label),
                    expired: expired(model, priority.label), cancelled: cancelled(model, priority.label),
                    failed: failed(model, priority.label), queue: queue(model, priority.label))
            }
            outcomes[model] = made
            return made[priority.rawValue]
        }
    }
}

extension Priority {
    /// The value of the label `priority`.
    var label: String {
        switch self {
        case .interactive: "interactive"
        case .standard: "standard"
        case .background: "background"
        }
    }
}
