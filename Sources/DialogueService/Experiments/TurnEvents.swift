public import Conversation
public import Dialogue
import ServiceKit

/// Notes the turns that were answered, for those who compare variants afterwards. A turn waits for nothing of it.
public struct TurnEvents: Sendable {
    private let experiment: Experiment?
    private let sinks: [TurnEventSink]
    private let shadows: ShadowLane?
    private let now: @Sendable () -> Timestamp

    /// Events of turns.
    ///
    /// - Parameters:
    ///   - sinks: Where they go.
    ///   - shadows: Where the shadows of an experiment's variants recognise; nil: there are none.
    public init(
        experiment: Experiment?, sinks: [TurnEventSink], shadows: ShadowLane?, now: @escaping @Sendable () -> Timestamp
    ) {
        self.experiment = experiment
        self.sinks = sinks
        self.shadows = shadows
        self.now = now
    }

    func note(_ turn: TakenTurn, of message: Message, by variant: Experiment.Variant?, after duration: Duration) {
        var record = TurnRecord(turn: turn, query: message.query.text, variant: variant, at: now(), duration: duration)
        guard let shadows, let experiment, let shadow = variant?.shadow, turn.recognition != nil,
            experiment.bucket(of: message.uid, seq: turn.reply.seq) < shadow.share
        else { return add(record) }
        let isTaken = shadows.submit(message.query, shadow.model) { [record] outcome in
            var record = record
            record.shadow = outcome
            add(record)
        }
        if isTaken { return }
        record.shadow = TurnEvent.Shadow(model: shadow.model.description, error: "DROPPED")
        add(record)
    }

    private func add(_ record: TurnRecord) {
        for sink in sinks { sink.add(record) }
    }
}
