/// What happens in a batcher, for metrics. Each request that ``arrived(_:)`` is either ``refused(_:_:)`` or a row of one batch that
/// ``started(_:)``; where its caller
/// leaves while it is computed, it is both.
public enum BatchEvent: Sendable {
    /// A batch as it begins.
    public struct Start: Sendable, Hashable {
        /// One row.
        public struct Row: Sendable, Hashable {
            /// Its class.
            public var priority: Priority
            /// How long it waited.
            public var queue: Duration
        }

        /// Who computes it, from 0.
        public var worker: Int
        /// Its rows.
        public var rows: [Row]
        /// The sum of the rows' own lengths.
        public var tokens: Int
        /// The length at which each of them is computed.
        public var length: Int

        /// The share of what is computed that is padding, 0 to 1.
        public var padding: Double { length == 0 ? 0 : 1 - Double(tokens) / Double(rows.count * length) }
    }

    /// A batch at its end.
    public struct Finish: Sendable, Hashable {
        /// Who computed it, from 0.
        public var worker: Int
        /// How many rows it had.
        public var rows: Int
        /// How many of them got an error for an output.
        public var failed: Int
        /// The length at which each was computed.
        public var length: Int
        /// How long it took.
        public var compute: Duration
    }

    /// A request was submitted.
    case arrived(Priority)
    /// A request was answered without an output.
    case refused(Priority, BatchingError.Code)
    /// A worker begins a batch.
    case started(Start)
    /// A worker has done a batch.
    case finished(Finish)
}

/// What a batcher holds at one moment.
public struct BatchStatistics: Sendable, Hashable {
    /// How many wait for a worker, by class.
    public var waiting: [Priority: Int]
    /// The estimated compute time of what waits, by class; zero while nothing was measured.
    public var work: [Priority: Duration]
    /// How many workers compute a batch.
    public var busyWorkers: Int
}
