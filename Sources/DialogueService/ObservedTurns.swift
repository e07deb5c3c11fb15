public import Conversation
public import Dialogue
public import Logging
public import RPCServices
public import ServiceKit

/// A turn taker that is watched: the way into the orchestrator for every transport.
public struct ObservedTurns: Sendable {
    private let taker: TurnTaker
    private let gate: AdmissionGate
    private let observer: TurnObserver
    private let log: TurnLog
    private let experiment: RunningExperiment?
    private let events: TurnEvents?

    var metrics: DialogueMetrics { observer.metrics }

    /// A turn taker whose turns are watched. Its parts are observed by themselves, by the same observer.
    ///
    /// - Parameters:
    ///   - gate: What lets turns in.
    ///   - domains: Which slots must not stand in logs in full.
    ///   - logger: At the level `debug` each turn is a line, without what the customer wrote.
    ///   - experiment: Its variants take the turns in place of the turn taker; nil: none runs.
    ///   - events: Where turns that were answered are noted; nil: nowhere.
    public init(
        _ taker: TurnTaker, gate: AdmissionGate = AdmissionGate(), observer: TurnObserver, domains: DomainCatalog, logger: Logger,
        experiment: RunningExperiment? = nil, events: TurnEvents? = nil
    ) {
        self.taker = taker
        self.gate = gate
        self.observer = observer
        log = TurnLog(domains: domains, logger: logger)
        self.experiment = experiment
        self.events = events
    }

    /// Answers one message, or says what is wrong with it.
    ///
    /// - Parameter parent: The trace that the message belongs to; nil: none, or a new one.
    /// - Throws: ``ConversationError``: what `message` fails with, or what the turn taker throws.
    public func reply(
        to message: Result<Message, ConversationError>, deadline: ContinuousClock.Instant?, parent: TraceContext? = nil
    ) async throws(ConversationError) -> Reply {
        let begun = ContinuousClock.now
        metrics.inFlight.add(1)
        defer { metrics.inFlight.add(-1) }
        let span = observer.tracer?.begin("turn", parent: parent)
        let variant = experiment?.variant(of: message)
        guard let context = span?.context ?? parent else {
            let result = await answer(to: message, variant, deadline)
            note(result, of: message, variant, after: begun.duration(to: .now))
            return try result.get().reply
        }
        let result = await TraceContext.$current.withValue(context) {
            let result = await answer(to: message, variant, deadline)
            note(result, of: message, variant, after: begun.duration(to: .now))
            return result
        }
        switch result {
        case .success(let turn): span?.end(turn.reply.attributes)
        case .failure(let error): span?.end([("kefu.code", .text(error.code.description))], failure: error.code.description)
        }
        return try result.get().reply
    }

    /// Takes a turn when the gate lets it in. A message with a seq above 1 belongs to a conversation under way.
    private func answer(
        to message: Result<Message, ConversationError>, _ variant: RunningVariant?, _ deadline: ContinuousClock.Instant?
    ) async -> Result<TakenTurn, ConversationError> {
        let taker = variant?.taker ?? taker
        do throws(ConversationError) {
            let message = try message.get()
            let standing: AdmissionQueue.Standing = (message.seq ?? 0) > 1 ? .underWay : .new
            return .success(
                try await gate.pass(standing, until: deadline ?? .now + .seconds(3600)) { () async throws(ConversationError) in
                    try await taker.take(message, deadline: deadline)
                })
        } catch {
            return .failure(error)
        }
    }

    private func note(
        _ result: Result<TakenTurn, ConversationError>, of message: Result<Message, ConversationError>, _ variant: RunningVariant?,
        after duration: Duration
    ) {
        variant?.note(result, after: duration)
        switch result {
        case .success(let turn):
            metrics.note(turn.reply, after: duration)
            log.note(turn, after: duration)
            if let events, case .success(let message) = message { events.note(turn, of: message, by: variant?.definition, after: duration) }
        case .failure(let error):
            let message = try? message.get()
            metrics.note(error, after: message == nil ? nil : duration)
            log.note(error, of: message, after: duration)
        }
    }

    /// What is known of a user's session.
    ///
    /// - Throws: What the turn taker throws.
    public func session(of uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> SessionSnapshot {
        try await taker.session(of: uid, deadline: deadline)
    }

    /// Drops a user's session.
    ///
    /// - Returns: Whether there was one.
    public func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await taker.end(uid, deadline: deadline)
    }
}

extension Reply {
    /// What a span tells of it: neither who the customer is nor what was said.
    fileprivate var attributes: [(name: String, value: Span.Value)] {
        [
            ("kefu.seq", .integer(Int64(clamping: seq))), ("kefu.intent", .text(recognition?.intent.name ?? "")),
            ("kefu.flow", .text(session.flow ?? "")), ("kefu.source", .text(source.label)), ("kefu.replayed", .flag(replayed)),
            ("kefu.degraded_parts", .text(degradedParts.joined(separator: ","))), ("kefu.handed_off", .flag(session.handedOff)),
        ]
    }
}
