import Batching

/// How many replicas of the intent server so many users need: the fewest that hold a goal.
///
/// Clients take replicas in turn, so each has its share of the users, and one replica is simulated. What the users wait for beside queue and compute is a constant.
struct Plan {
    /// The mean seconds between an answer and a user's next message.
    var think: Double
    /// Seconds outside queue and compute: network, orchestrator, session store.
    var base: Double
    /// The goal for the slowest percent, in seconds.
    var target: Double
    /// The tokens of an utterance, each length the same likely.
    var lengths: ClosedRange<Int>
    /// Seconds of virtual time.
    var seconds: Double
    var seed: UInt64
    /// The goal for what is refused, dropped or late.
    var errors = 0.001

    /// What a number of replicas comes to.
    struct Answer {
        var replicas: Int
        var run: Run
        var outcome: Outcome { run.classes[Priority.interactive.rawValue] }
    }

    /// The fewest replicas that hold the goal; nil where 1,000 do not.
    ///
    /// - Parameter queue: A replica's queue, warmed up.
    func answer(users: Int, queue: BatchQueue, cost: CostModel) -> Answer? {
        // Fewer than full batches would need cannot do.
        let rows = queue.limits.batchSize
        let fewest = Double(users) / (think + base) * cost.seconds(rows, lengths.lowerBound) / Double(rows)
        return (max(1, Int(fewest))...1000).lazy.map { answer(users: users, replicas: $0, queue: queue, cost: cost) }
            .first { $0.outcome.percentile(0.99) <= target && $0.outcome.errors <= errors }
    }

    private func answer(users: Int, replicas: Int, queue: BatchQueue, cost: CostModel) -> Answer {
        let share = (users + replicas - 1) / replicas
        let scenario = Scenario(
            callers: .users(share, think: think), deadline: max(1, target), lengths: lengths, seconds: seconds, base: base, seed: seed)
        return Answer(replicas: replicas, run: simulate(scenario, queue, cost))
    }
}
