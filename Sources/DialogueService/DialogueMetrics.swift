import Conversation
import Dialogue
public import ServiceKit

/// What an orchestrator counts.
///
/// Every message is counted once when its turn ends, under one outcome, so the sum of `turns_total` is what came and was decided. Steps are timed where the
/// turn taker asks outside: what stands between them is the orchestrator's own work.
public final class DialogueMetrics: Sendable {
    private static let prefix = "kefu_dialogue_"
    /// Finer than waiting needs, where the goal of 300 ms for the slowest percent lies.
    static let turnBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10]

    /// Turns under way.
    let inFlight: Gauge
    /// Open `Converse` streams.
    let converseStreams: Gauge
    private let outcomes: [TurnOutcome: Counter]
    private let turn: Histogram
    private let steps: [TurnStep: Histogram]
    private let replies: [ReplySource: Counter]
    private let degraded: MetricFamily<Counter>
    private let recognitions: [Route: Counter]
    private let recognitionErrors: MetricFamily<Counter>
    private let storeErrors: [StoreOperation: Counter]
    private let conflicts: Counter
    private let handOffs: MetricFamily<Counter>
    private let registry: MetricsRegistry

    /// Metrics in a registry; at most once in each.
    public init(registry: MetricsRegistry) {
        self.registry = registry
        let prefix = Self.prefix
        func each<Key: Hashable, Series>(_ keys: [Key], _ family: MetricFamily<Series>, _ label: (Key) -> String) -> [Key: Series] {
            Dictionary(uniqueKeysWithValues: keys.map { ($0, family(label($0))) })
        }
        outcomes = each(
            TurnOutcome.allCases, registry.counters(prefix + "turns_total", "Turns that ended, by how they ended.", labels: ["outcome"]),
            \.rawValue)
        turn = registry.histograms(
            prefix + "turn_seconds", "How long turns took, those that failed included, those of messages that are not valid left out.",
            buckets: Self.turnBuckets)()
        inFlight = registry.gauges(prefix + "turns_in_flight", "Turns under way.")()
        converseStreams = registry.gauges(prefix + "converse_streams", "Open Converse streams.")()
        steps = each(
            TurnStep.allCases,
            registry.histograms(
                prefix + "step_seconds",
                "How long each asking of another part took within turns; load and recognition go side by side.", labels: ["step"],
                buckets: .secondsOfWaiting), \.rawValue)
        replies = each(
            ReplySource.everyCase,
            registry.counters(prefix + "replies_total", "New replies, by who wrote them.", labels: ["source"]), \.label)
        degraded = registry.counters(
            prefix + "degraded_turns_total",
            "Turns in which a part was out of reach and had a stand-in; one with two such parts counts twice.",
            labels: ["part"])
        recognitions = each(
            Route.everyCase,
            registry.counters(prefix + "recognitions_total", "Recognitions, by the path that answered.", labels: ["route"]), \.label)
        recognitionErrors = registry.counters(
            prefix + "recognition_errors_total", "Recognitions that failed, by the code.", labels: ["code"])
        storeErrors = each(
            StoreOperation.allCases,
            registry.counters(
                prefix + "session_store_errors_total",
                "Operations of the session store that failed; those whose caller left are not counted.",
                labels: ["operation"]), \.rawValue)
        conflicts = registry.counters(
            prefix + "commit_conflicts_total", "Commits that another writer of the same session was ahead of; the turn was decided again.")()
        handOffs = registry.counters(prefix + "hand_offs_total", "Sessions handed to a person, by the reason.", labels: ["reason"])
        for part in ["understanding", "chitchat", "action"] { _ = degraded(part) }
        for reason in ["rule", "accepted", "action"] { _ = handOffs(reason) }
        for code: ConversationError.Code in [.unavailable, .deadlineExceeded, .resourceExhausted] { _ = recognitionErrors("\(code)") }
    }

    /// Adds the circuit breakers of the parts that have one.
    ///
    /// - Parameter breakers: The name of each part, and how its breaker stands now.
    public func watch(breakers: [(part: String, state: @Sendable () -> CircuitBreaker.State)]) {
        registry.collect(
            Self.prefix + "circuit_breaker_state", "1 for the state that the circuit breaker of a part is in, 0 for the others.", .gauge
        ) {
            breakers.flatMap { part, state in
                let now = state().label
                return ["closed", "open", "half_open"].map { MetricSample(["part", part, "state", $0], value: $0 == now ? 1 : 0) }
            }
        }
    }

    // MARK: What is counted

    func note(_ reply: Reply, after duration: Duration) {
        turn.observe(duration)
        if reply.replayed {
            outcomes[.replayed]?.increment()
            return
        }
        outcomes[.answered]?.increment()
        replies[reply.source]?.increment()
        for part in reply.degradedParts { degraded(part).increment() }
    }

    /// A turn failed.
    ///
    /// - Parameter duration: nil: it never began.
    func note(_ error: ConversationError, after duration: Duration?) {
        if let duration { turn.observe(duration) }
        outcomes[TurnOutcome(error.code)]?.increment()
    }

    func note(_ step: TurnStep, took duration: Duration) { steps[step]?.observe(duration) }

    func note(_ recognition: Recognition) { recognitions[recognition.route]?.increment() }

    func noteRecognitionError(_ error: ConversationError) { recognitionErrors(error.code.description).increment() }

    func note(_ error: ConversationError, of operation: StoreOperation) {
        if error.code != .cancelled { storeErrors[operation]?.increment() }
    }

    func note(_ result: CommitResult, handOff: HandOffReason?) {
        switch (result, handOff) {
        case (.conflict, _): conflicts.increment()
        case (.committed, .rule?): handOffs("rule").increment()
        case (.committed, .accepted?): handOffs("accepted").increment()
        case (.committed, .failedAction?): handOffs("action").increment()
        case (.committed, nil): break
        }
    }
}

/// How a turn ended: the label `outcome`.
enum TurnOutcome: String, CaseIterable {
    case answered
    /// The seq was answered before: the same reply again.
    case replayed
    /// The message is not valid.
    case invalid
    /// The seq is older than the replies kept.
    case stale
    /// There was too much to do.
    case refused
    /// The deadline passed.
    case expired
    /// The session store was out of reach.
    case unavailable
    /// The caller left.
    case cancelled
    case failed

    init(_ code: ConversationError.Code) {
        switch code {
        case .invalidArgument: self = .invalid
        case .aborted: self = .stale
        case .resourceExhausted: self = .refused
        case .deadlineExceeded: self = .expired
        case .unavailable: self = .unavailable
        case .cancelled: self = .cancelled
        default: self = .failed
        }
    }
}

/// Where a turn asks outside: the label `step`, and the name of a span.
enum TurnStep: String, CaseIterable, Sendable {
    case recognition
    case load
    /// The kept reply of a seq that was answered before.
    case replay
    case action
    case chitchat
    case commit
}

/// What can fail in a session store: the label `operation`.
enum StoreOperation: String, CaseIterable, Sendable {
    case load
    case replay
    case commit
    case timeLeft = "time_left"
    case end
}

extension ReplySource {
    static let everyCase: [ReplySource] = [.template, .rule, .chitchat, .fallback, .handoff]

    /// The source in one word of lower case.
    var label: String {
        switch self {
        case .template: "template"
        case .rule: "rule"
        case .chitchat: "chitchat"
        case .fallback: "fallback"
        case .handoff: "handoff"
        }
    }
}

extension Route {
    static let everyCase: [Route] = [.model, .light, .heavy, .cache]

    /// The path in one word of lower case.
    var label: String {
        switch self {
        case .model: "model"
        case .light: "light"
        case .heavy: "heavy"
        case .cache: "cache"
        }
    }
}

extension CircuitBreaker.State {
    fileprivate var label: String {
        switch self {
        case .closed: "closed"
        case .open: "open"
        case .halfOpen: "half_open"
        }
    }
}
