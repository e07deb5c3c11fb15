/// How much may be under way at once, learnt from how long it takes: additive increase, multiplicative decrease.
///
/// The rule is that of D.-M. Chiu and R. Jain ("Analysis of the increase and decrease algorithms for congestion avoidance in computer networks", 1989), as `AIMDLimit`
/// of Netflix' concurrency-limits has it: a sample within the target raises the limit, one beyond it (or one that was dropped) lowers it by a factor. As in TCP, a
/// round of samples raises it by one, and what began before the last decrease does not decrease it again: one congestion is one decrease.
///
/// Vegas of the same library compares with the latency without load. A server that batches is slower and carries more under load, so Vegas takes its batching for
/// a queue. Gradient2 compares with a long average, which follows a lasting overload.
public struct ConcurrencyLimit: Sendable, Hashable {
    /// What a limit can be told.
    public struct Configuration: Sendable, Hashable {
        /// Where it starts.
        public var initial = 64
        /// It is never lower.
        public var minimum = 16
        /// It is never higher.
        public var maximum = 4096
        /// What takes longer is a sign of too much under way.
        public var target: Duration = .milliseconds(500)
        /// By how much such a sign lowers the limit: what is left of it, 0 to 1.
        public var backoff = 0.8

        /// The defaults.
        public init() {}
    }

    /// What became of a piece of work.
    public enum Outcome: Sendable, Hashable {
        /// It was done.
        case done
        /// It was refused or ran out of time because there was too much.
        case dropped
    }

    private let configuration: Configuration
    private var value: Double
    private var lastDecrease: ContinuousClock.Instant?

    /// A limit at its start.
    public init(_ configuration: Configuration = Configuration()) {
        var configuration = configuration
        configuration.minimum = min(configuration.minimum, configuration.maximum)
        self.configuration = configuration
        value = Double(min(max(configuration.initial, configuration.minimum), configuration.maximum))
    }

    /// How much may be under way at once; at least 1.
    public var current: Int { max(1, Int(value)) }

    /// Learns from one piece of work.
    ///
    /// - Parameter inFlight: How much was under way when it ended, itself included. A limit that is not half used is not raised: it was not tried.
    public mutating func sample(_ outcome: Outcome, began: ContinuousClock.Instant, ended: ContinuousClock.Instant, inFlight: Int) {
        guard outcome == .dropped || began.duration(to: ended) > configuration.target else {
            // One more for each full round of the limit.
            if inFlight * 2 >= current { value = min(value + 1 / value, Double(configuration.maximum)) }
            return
        }
        if let lastDecrease, began <= lastDecrease { return }
        lastDecrease = ended
        value = max(value * configuration.backoff, Double(configuration.minimum))
    }
}
