public import Batching
public import Conversation
public import ServiceKit
import Synchronization
import Understanding

/// What an intent server counts, by model and class.
///
/// Every utterance that names a model or a cascade which is there is counted under that name once when it comes and once when it ends, so
/// `requests` = `answered` + `refused` + `expired` + `cancelled` + `failed` + those under way. A request that never gets so far is `rejected`.
/// Batches and queues are those of each model itself: a cascade may ask two models for an utterance, and an answer that was kept asks none.
public final class UnderstandingMetrics: Sendable {
    /// The series of a name and a class: how utterances ended.
    private struct Outcomes: Sendable {
        var requests: Counter
        var answered: Counter
        var expired: Counter
        var cancelled: Counter
        var failed: Counter
        var overload: Counter
        var unavailable: Counter
    }

    private static let prefix = "kefu_understanding_"
    private static let labels = ["model", "priority"]

    private let requests: MetricFamily<Counter>
    private let answered: MetricFamily<Counter>
    private let refused: MetricFamily<Counter>
    private let expired: MetricFamily<Counter>
    private let cancelled: MetricFamily<Counter>
    private let failed: MetricFamily<Counter>
    private let rejected: MetricFamily<Counter>
    private let batches: BatchMetrics
    private let outcomes = Mutex<[String: [Outcomes]]>([:])

    /// Metrics in a registry; at most once in each.
    public init(registry: MetricsRegistry) {
        func counters(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Counter> {
            registry.counters(Self.prefix + name, help, labels: Self.labels + labels)
        }
        requests = counters("requests_total", "Utterances for a model or a cascade that is there.")
        answered = counters("answered_total", "Utterances that were recognised.")
        refused = counters(
            "refused_total", "Utterances that were refused: the model has too much to do, or cannot be asked.", labels: ["reason"])
        expired = counters("expired_total", "Utterances whose deadline passed before they were computed.")
        cancelled = counters("cancelled_total", "Utterances whose caller left.")
        failed = counters("failed_total", "Utterances that the model could not compute.")
        rejected = registry.counters(
            Self.prefix + "rejected_total", "Requests that are not valid, or whose model is not there.", labels: ["code"])
        batches = BatchMetrics(registry: registry, prefix: Self.prefix, labels: Self.labels)
        for code in ["INVALID_ARGUMENT", "NOT_FOUND"] { _ = rejected(code) }
    }

    /// Counts the batches of the model of that name.
    public var observer: @Sendable (_ model: String) -> @Sendable (BatchEvent) -> Void { { [batches] in batches.observer(of: $0) } }

    /// Adds what is read from the models when the metrics are asked for.
    public func watch(_ host: ModelHost, in registry: MetricsRegistry) {
        registry.collect(Self.prefix + "model_state", "1 for the state that a model is in, 0 for the others.", .gauge) {
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
        registry.collect(Self.prefix + "model_info", "1 for each version, with where it runs and what it computes in.", .gauge) {
            host.descriptions.map { model in
                MetricSample(
                    ["model", model.name, "version", model.version, "device", model.device, "precision", model.precision], value: 1)
            }
        }
        registry.collect(Self.prefix + "model_memory_bytes", "Memory of a model's parameters, all instances together.", .gauge) {
            host.descriptions.map { MetricSample(["model", $0.name, "version", $0.version], value: Double($0.memoryBytes)) }
        }
        registry.collect(Self.prefix + "queue_depth", "Utterances that wait for a worker.", .gauge) {
            host.statistics.flatMap { name, statistics in
                Conversation.Priority.allCases.map { priority in
                    let waiting = statistics.reduce(0) { $0 + ($1.waiting[Batching.Priority(priority)] ?? 0) }
                    return MetricSample(["model", name, "priority", priority.label], value: Double(waiting))
                }
            }
        }
        registry.collect(Self.prefix + "busy_workers", "Workers that compute a batch.", .gauge) {
            host.statistics.map { name, statistics in
                MetricSample(["model", name], value: Double(statistics.reduce(0) { $0 + $1.busyWorkers }))
            }
        }
    }

    /// Counts what `body` throws as rejected.
    public func counting<T>(_ body: () throws(ConversationError) -> T) throws(ConversationError) -> T {
        do { return try body() } catch {
            rejected(error.code.description).increment()
            throw error
        }
    }

    /// Recognises an utterance with a host, and counts it and how it ended.
    ///
    /// - Throws: What the host throws.
    public func recognize(
        _ request: RecognitionRequest, with host: ModelHost, deadline: ContinuousClock.Instant?
    ) async throws(ConversationError) -> Recognition {
        guard let name = host.knownName(of: request.model) else {
            rejected(ConversationError.Code.notFound.description).increment()
            return try await host.recognize(request, deadline: deadline)
        }
        let own = outcomes(name, request.priority)
        own.requests.increment()
        do {
            let recognition = try await host.recognize(request, deadline: deadline)
            own.answered.increment()
            return recognition
        } catch {
            switch error.code {
            case .resourceExhausted: own.overload.increment()
            case .unavailable, .notFound: own.unavailable.increment()
            case .deadlineExceeded: own.expired.increment()
            case .cancelled: own.cancelled.increment()
            default: own.failed.increment()
            }
            throw error
        }
    }

    /// The series of a name and a class. All of a name's classes are made at once, so that each is there from 0 on.
    private func outcomes(_ model: String, _ priority: Conversation.Priority) -> Outcomes {
        outcomes.withLock { outcomes in
            if let known = outcomes[model] { return known[priority.rawValue] }
            let made = Conversation.Priority.allCases.map { priority in
                let label = priority.label
                return Outcomes(
                    requests: requests(model, label), answered: answered(model, label), expired: expired(model, label),
                    cancelled: cancelled(model, label), failed: failed(model, label), overload: refused(model, label, "overload"),
                    unavailable: refused(model, label, "unavailable"))
            }
            outcomes[model] = made
            return made[priority.rawValue]
        }
    }
}

extension ModelHost {
    /// The name of the model or the cascade that a selector means, nil for the default; nil where there is none of the name and version.
    func knownName(of selector: ModelSelector?) -> String? {
        let selector = selector ?? defaultModel
        if selector.version == nil, configuration.cascades.contains(where: { $0.name == selector.name }) { return selector.name }
        return models.withLock { models in
            models.entries.keys.contains { $0.name == selector.name && (selector.version ?? "\($0.number)") == "\($0.number)" }
        } ? selector.name : nil
    }

    /// What waits and runs now in the versions of each model that are in memory.
    var statistics: [(name: String, versions: [BatchStatistics])] {
        let engines = models.withLock { models in
            models.entries.compactMap { entry in entry.value.model.map { (entry.key.name, $0.engine) } }
        }
        return Dictionary(grouping: engines, by: \.0).sorted { $0.key < $1.key }.map { ($0.key, $0.value.map(\.1.statistics)) }
    }
}
