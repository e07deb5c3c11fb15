import Conversation
public import Dialogue
public import ServiceKit

/// An experiment with a turn taker for each variant.
public struct RunningExperiment: Sendable {
    /// What was read from the file.
    public let experiment: Experiment
    let variants: [RunningVariant]

    /// An experiment that runs.
    ///
    /// - Parameters:
    ///   - registry: Where turns are counted by variant.
    ///   - taker: Takes the turns of a variant's users.
    public init(_ experiment: Experiment, registry: MetricsRegistry, taker: (Experiment.Variant) throws -> TurnTaker) rethrows {
        self.experiment = experiment
        let turns = registry.counters(
            "kefu_dialogue_variant_turns_total", "Turns that ended, by the experiment's variant and how they ended.",
            labels: ["experiment", "variant", "outcome"])
        let seconds = registry.histograms(
            "kefu_dialogue_variant_turn_seconds", "How long turns took, by the experiment's variant.", labels: ["experiment", "variant"],
            buckets: DialogueMetrics.turnBuckets)
        variants = try experiment.variants.map { variant in
            RunningVariant(
                definition: variant, taker: try taker(variant),
                outcomes: Dictionary(
                    uniqueKeysWithValues: TurnOutcome.allCases.map { ($0, turns(experiment.name, variant.name, $0.rawValue)) }),
                seconds: seconds(experiment.name, variant.name))
        }
    }

    /// The variant of the user who sent a message; nil where the message is not valid.
    func variant(of message: Result<Message, ConversationError>) -> RunningVariant? {
        guard case .success(let message) = message else { return nil }
        return variants[experiment.variant(ofBucket: experiment.bucket(of: message.uid))]
    }
}

/// One variant at work.
final class RunningVariant: Sendable {
    let definition: Experiment.Variant
    let taker: TurnTaker
    private let outcomes: [TurnOutcome: Counter]
    private let seconds: Histogram

    init(definition: Experiment.Variant, taker: TurnTaker, outcomes: [TurnOutcome: Counter], seconds: Histogram) {
        self.definition = definition
        self.taker = taker
        self.outcomes = outcomes
        self.seconds = seconds
    }

    func note(_ result: Result<TakenTurn, ConversationError>, after duration: Duration) {
        seconds.observe(duration)
        switch result {
        case .success(let turn): outcomes[turn.reply.replayed ? .replayed : .answered]?.increment()
        case .failure(let error): outcomes[TurnOutcome(error.code)]?.increment()
        }
    }
}
