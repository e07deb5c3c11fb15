extension BatchQueue {
    /// What the queue may hold, and how it batches.
    public struct Limits: Sendable, Hashable {
        /// What may wait of one class.
        public struct Bound: Sendable, Hashable {
            /// The most requests; at least 0.
            public var waiting: Int
            /// The most estimated compute time of what waits, on one worker and in full batches. Without measured times it bounds nothing.
            public var work: Duration

            /// A bound by count and work.
            public init(waiting: Int = 1024, work: Duration = .seconds(1)) {
                self.waiting = waiting
                self.work = work
            }
        }

        /// The most requests in a batch; at least 1.
        public var batchSize: Int
        /// What may wait of the class ``Priority/interactive``.
        public var interactive: Bound
        /// What may wait of the class ``Priority/standard``.
        public var standard: Bound
        /// What may wait of the class ``Priority/background``.
        public var background: Bound
        /// After each such time of waiting a request is treated as one of the next class up; above 0. See ``BatchQueue``.
        public var agingBound: Duration
        /// The greatest share of what is computed that may be padding, 0 to 1, beyond that of rounding up to a bucket. The share is 1 - (sum
        /// of lengths) / (rows x batch length), over all batches since the queue was made; of any batches in a row, it may be more by the
        /// tokens of one greatest batch.
        public var paddingShare: Double
        /// A batch has no more rows than it needs for this share of the best throughput of its length, 0 to 1. More rows than that make
        /// every answer later
        /// for next to nothing: on a CPU, where time is nearly proportional to rows, by far. 1: always up to ``batchSize``.
        public var efficiency: Double
        /// The lengths at which batches are computed, rising; a row is padded up to one of them. No request may be longer than the last.
        public var lengthBuckets: [Int]

        /// Limits by their values.
        public init(
            batchSize: Int = 32, interactive: Bound = Bound(), standard: Bound = Bound(), background: Bound = Bound(),
            agingBound: Duration = .seconds(5), paddingShare: Double = 0.15, efficiency: Double = 0.8,
            lengthBuckets: [Int] = Limits.lengthBuckets(upTo: 512)
        ) {
            precondition(batchSize >= 1, "a batch has 1 request or more")
            precondition((0...1).contains(paddingShare) && (0...1).contains(efficiency), "padding and efficiency are shares")
            precondition(agingBound > .zero, "a request ages in a time above 0")
            precondition(!lengthBuckets.isEmpty && zip(lengthBuckets, lengthBuckets.dropFirst()).allSatisfy(<), "length buckets rise")
            self.batchSize = batchSize
            self.interactive = interactive
            self.standard = standard
            self.background = background
            self.agingBound = agingBound
            self.paddingShare = paddingShare
            self.efficiency = efficiency
            self.lengthBuckets = lengthBuckets
        }

        /// What may wait of a class.
        public subscript(priority: Priority) -> Bound {
            get {
                switch priority {
                case .interactive: interactive
                case .standard: standard
                case .background: background
                }
            }
            set {
                switch priority {
                case .interactive: interactive = newValue
                case .standard: standard = newValue
                case .background: background = newValue
                }
            }
        }

        /// The shortest list of lengths 1 to `maximum` in which rounding up is padding of at most the share `padding`, 0 to 1: 1, 2, 3, 4,
        /// 5, 7, 9, 11, 14, 17, 21, … for 0.15.
        ///
        /// With `padding` at most ``paddingShare`` no batch of more than its share of padding is ever computed, whatever lengths come.
        public static func lengthBuckets(upTo maximum: Int, padding: Double = 0.15) -> [Int] {
            precondition(maximum >= 1 && (0...1).contains(padding), "lengths are 1 or more, and padding is a share")
            // A bucket serves the lengths from (1 - padding) of itself on.
            var buckets: [Int] = []
            var shortest = 1
            while shortest <= maximum {
                var bucket = shortest
                while bucket < maximum, Double(bucket + 1 - shortest) <= padding * Double(bucket + 1) { bucket += 1 }
                buckets.append(bucket)
                shortest = bucket + 1
            }
            return buckets
        }
    }
}
