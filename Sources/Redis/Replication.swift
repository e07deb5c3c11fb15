extension RedisClient {
    /// How many replicas must have a write before its caller is answered, and how long they have.
    ///
    /// The server's `WAIT` is sent on the connection of the write, once for all writes of a burst. It holds up the commands behind it.
    public struct Replication: Sendable, Hashable {
        /// How many replicas must confirm; at least 1.
        public var replicas: Int
        /// How long they have, in whole milliseconds; at least 1.
        public var timeout: Duration

        /// What is asked of the replicas.
        public init(replicas: Int, timeout: Duration) {
            self.replicas = max(1, replicas)
            self.timeout = max(.milliseconds(1), timeout)
        }
    }
}

extension RedisClient.Replication {
    /// What satisfies both.
    func joined(_ other: Self?) -> Self {
        guard let other else { return self }
        return Self(replicas: max(replicas, other.replicas), timeout: max(timeout, other.timeout))
    }

    /// The server's command.
    var command: [RedisBytes] {
        let (seconds, attoseconds) = timeout.components
        return ["WAIT", RedisBytes(replicas), RedisBytes(seconds * 1000 + attoseconds / 1_000_000_000_000_000)]
    }

    /// What a caller is told whose write was answered with `value`, and the `WAIT` behind it with `answer`.
    func judge(_ value: RedisValue, _ answer: Request.Answer) -> Request.Answer {
        switch answer {
        case .success(.integer(let confirmed)) where confirmed >= replicas: .success(value)
        case .success(let said):
            .failure(
                RedisError(
                    .notReplicated, "\(said.integer ?? 0) of \(replicas) replicas had confirmed the write after \(timeout)",
                    mayHaveRun: true))
        case .failure(let error):
            .failure(RedisError(.notReplicated, "the replicas could not be waited for", mayHaveRun: true, cause: error))
        }
    }
}
