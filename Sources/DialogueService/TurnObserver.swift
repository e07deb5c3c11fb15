import Conversation
public import Dialogue
import RPCServices
public import ServiceKit

/// Watches turns from outside: counts them, times what they ask, and makes the spans of sampled traces. The turn taker knows nothing of it.
public struct TurnObserver: Sendable {
    let metrics: DialogueMetrics
    let tracer: Tracer?

    /// An observer.
    ///
    /// - Parameter tracer: nil: no spans are made; a trace that comes in is handed on all the same.
    public init(metrics: DialogueMetrics, tracer: Tracer? = nil) {
        self.metrics = metrics
        self.tracer = tracer
    }

    /// The recogniser, observed.
    public func observing(_ recognizer: any Recognizer) -> any Recognizer { ObservedRecognizer(base: recognizer, observer: self) }

    /// The session store, observed.
    public func observing(_ store: any SessionStore) -> any SessionStore { ObservedStore(base: store, observer: self) }

    /// The optional parts, observed.
    public func observing(_ parts: OptionalParts) -> OptionalParts {
        var parts = parts
        parts.actions = parts.actions.map { ObservedActions(base: $0, observer: self) }
        parts.chitchat = parts.chitchat.map { ObservedChitchat(base: $0, observer: self) }
        return parts
    }

    func begin(_ step: TurnStep, _ kind: Span.Kind = .client) -> ObservedStep {
        ObservedStep(step: step, span: tracer?.beginWithin(step.rawValue, kind), metrics: metrics)
    }
}

/// A step of a turn that is under way.
struct ObservedStep: Sendable {
    let step: TurnStep
    let span: OpenSpan?
    let metrics: DialogueMetrics
    private let begun = ContinuousClock.now

    init(step: TurnStep, span: OpenSpan?, metrics: DialogueMetrics) {
        self.step = step
        self.span = span
        self.metrics = metrics
    }

    /// Does `body` within the step's span, so that the calls it makes take the span with them.
    func within<R>(_ body: () async -> R) async -> R {
        guard let span else { return await body() }
        return await TraceContext.$current.withValue(span.context) { await body() }
    }

    func end(_ error: ConversationError? = nil, _ attributes: @autoclosure () -> [(name: String, value: Span.Value)] = []) {
        let duration = begun.duration(to: .now)
        metrics.note(step, took: duration)
        span?.end(attributes(), failure: error?.description)
        TurnInspection.current?.note(step, begun: begun, duration: duration, error: error)
    }
}
