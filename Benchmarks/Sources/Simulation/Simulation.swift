import ArgumentParser
import Batching
import Glibc

/// The reported load test: one A10, batch 8.
struct Reported {
    let users: Int
    let p99: Double
    let errors: Double

    static let rows = [
        Reported(users: 1000, p99: 0.180, errors: 0), Reported(users: 3000, p99: 0.290, errors: 0),
        Reported(users: 5000, p99: 0.310, errors: 0), Reported(users: 8000, p99: 0.520, errors: 0.012),
    ]
}

/// What the reported test does not say, as fitted to it (see `--fit` and README.md).
struct Fit {
    /// Seconds that a batch of 8 of mean length takes.
    var batch: Double
    /// Seconds between an answer and a user's next message.
    var think: Double
    /// Seconds outside queue and compute.
    var base: Double
    /// How many may wait.
    var waiting: Int

    static let a10 = Fit(batch: 0.1, think: 142.9, base: 0.05, waiting: 27)

    /// A half of a batch of 8 is taken to be fixed (launches, the recurrence over time), the other in proportion to its tokens: an
    /// assumption. It has no part in the fit, and decides what larger
    /// batches are worth.
    var cost: CostModel { .affine(fixed: batch / 2, token: batch / 2 / (8 * 34)) }

    func scenario(_ users: Int, seconds: Double, seed: UInt64) -> Scenario {
        Scenario(callers: .users(users, think: think), seconds: seconds, base: base, seed: seed)
    }

    func run(_ users: Int, seconds: Double, seed: UInt64) -> Run {
        simulate(scenario(users, seconds: seconds, seed: seed), FixedBatches(batchSize: 8, waitingLimit: waiting), cost)
    }
}

@main
struct Simulation: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the batching queue in virtual time, beside a reported load test and a plain queue.")

    @Option(help: "Measured times, a file of lines rows,length,milliseconds; without it, the A10 fitted to the reported test.")
    var times: String?
    @Option(help: "Seconds of virtual time a row.")
    var seconds = 600.0
    @Option(help: "The same seed gives the same figures.")
    var seed: UInt64 = 1
    @Option(help: "Seconds until an answer is of no use.")
    var deadline = 1.0
    @Option(help: "Times vary by a factor whose logarithm has this standard deviation.")
    var jitter = 0.0
    @Option(help: "The share of the best throughput that a batch must reach before it takes no more rows.")
    var efficiency = BatchQueue.Limits().efficiency
    @Option(help: "In the last table: the greatest share of padding.")
    var paddingShare = BatchQueue.Limits().paddingShare
    @Flag(help: "Search for the parameters that come nearest to the reported test, and print the best.")
    var fit = false
    @Option(help: "Print how many replicas so many users need, such as 1000,3000,5000,8000; needs --times of one replica.")
    var plan: String?
    @Option(help: "With --plan: the mean seconds between an answer and a user's next message.")
    var think = 1.25
    @Option(help: "With --plan: the goal for the slowest percent of turns, in milliseconds.")
    var targetMs = 300.0
    @Option(help: "With --plan: the milliseconds of a turn outside queue and compute.")
    var baseMs = 20.0
    @Option(help: "With --plan: the most tokens of an utterance, its two special ones included; each length from 4 on is the same likely.")
    var longest = 32

    func run() throws {
        if fit { return search() }
        if plan != nil { return try printPlan() }
        let clock = ContinuousClock()
        let start = clock.now
        var virtual = 0.0
        let cost = try times.map(CostModel.init(file:)) ?? Fit.a10.cost
        @discardableResult
        func row<P: Policy>(_ name: String, _ scenario: Scenario, _ policy: P) -> Run {
            var scenario = scenario
            scenario.jitter = jitter
            let run = simulate(scenario, policy, cost)
            report(name, scenario, run)
            virtual += scenario.seconds
            return run
        }

        // Think times by which the largest group of users asks for as much as it does of the fitted A10.
        let think = Fit.a10.think * cost.seconds(8, 34) / Fit.a10.cost.seconds(8, 34)
        print(
            "Closed users, all INTERACTIVE; reported: one A10, batch 8. Times in ms, base \(ms(Fit.a10.base)), think time \(round(think, 1)) s\n"
        )
        print(Self.head)
        for reported in Reported.rows {
            print("| \(reported.users) users, reported | | | \(ms(reported.p99)) | \(percent(reported.errors)) | | | | |")
            var scenario = Fit.a10.scenario(reported.users, seconds: seconds, seed: seed)
            scenario.callers = .users(reported.users, think: think)
            scenario.deadline = deadline
            row("FIFO, 8 rows", scenario, FixedBatches(batchSize: 8, waitingLimit: Fit.a10.waiting))
            row("Kefu, 8 rows", scenario, queue(8, cost))
            row("Kefu, 32 rows", scenario, queue(32, cost))
            row("Kefu, 32 rows, padding 50 %", scenario, queue(32, cost, padding: 0.5))
        }

        let capacity = 8 / cost.seconds(8, 34)
        print(
            "\nOpen arrivals, 20 % INTERACTIVE, 50 % STANDARD, 30 % BACKGROUND; 1.0 is \(round(capacity, 1)) requests/s, 8 rows without padding\n"
        )
        print(Self.head)
        let mix: [(priority: Priority, share: Double)] = [(.interactive, 0.2), (.standard, 0.5), (.background, 0.3)]
        for (name, callers) in [
            ("Poisson 0.7", Callers.poisson(0.7 * capacity)), ("bursts 0.7", .bursts(0.7 * capacity, factor: 3)),
            ("Poisson 2.0", .poisson(2 * capacity)), ("bursts 2.0", .bursts(2 * capacity, factor: 3)),
        ] {
            let scenario = Scenario(callers: callers, shares: mix, deadline: deadline, seconds: seconds, base: Fit.a10.base, seed: seed)
            row("\(name): FIFO, 8 rows", scenario, FixedBatches(batchSize: 8, waitingLimit: Fit.a10.waiting))
            row("\(name): Kefu, 8 rows", scenario, queue(8, cost))
            row("\(name): Kefu, 32 rows", scenario, queue(32, cost))
            row("\(name): Kefu, 32 rows, padding 50 %", scenario, queue(32, cost, padding: 0.5))
        }
        print("\nWhat an overload does to INTERACTIVE: alone at two fifths of the capacity, and as a fifth of twice the capacity\n")
        print(Self.head)
        for (name, size, padding) in [("8 rows", 8, paddingShare), ("32 rows", 32, paddingShare), ("32 rows, padding 50 %", 32, 0.5)] {
            func open(_ rate: Double, _ shares: [(priority: Priority, share: Double)]) -> Scenario {
                Scenario(callers: .poisson(rate), shares: shares, deadline: deadline, seconds: seconds, seed: seed)
            }
            let full = row("\(name): saturated", open(1.5 * capacity, [(.standard, 1)]), queue(size, cost, padding: padding))
            let alone = row("\(name): 0.4", open(0.4 * full.goodput, [(.interactive, 1)]), queue(size, cost, padding: padding))
            let mixed = row(
                "\(name): 2.0", open(2 * full.goodput, [(.interactive, 0.2), (.standard, 0.8)]), queue(size, cost, padding: padding))
            let tails = [mixed, alone].map { $0.classes[Priority.interactive.rawValue].percentile(0.99) }
            let ratios = (round(tails[0] / tails[1], 2), round(mixed.tokenGoodput / full.tokenGoodput, 2))
            print("\(name): TP99 \(ratios.0) of that alone; goodput \(ratios.1) of the capacity, in tokens\n")
        }

        let took = (clock.now - start) / .seconds(1)
        print("\n\(Int(virtual)) s of virtual time in \(round(took, 2)) s: \(Int(virtual / took)) times faster than real time")
    }

    private func printPlan() throws {
        guard let times else { throw ValidationError("--plan needs --times: the measured times of one replica (Benchmarks/times.py)") }
        let users = plan?.split(separator: ",").map { Int($0) } ?? []
        guard !users.isEmpty, !users.contains(where: { ($0 ?? 0) < 1 }), longest >= 4, think > 0 else {
            throw ValidationError("--plan takes numbers of users, such as 1000,5000; --longest at least 4; --think more than 0")
        }
        let cost = try CostModel(file: times)
        let goal = Plan(
            think: think, base: baseMs / 1000, target: targetMs / 1000, lengths: 4...longest, seconds: seconds, seed: seed)
        print("Goal: TP99 at most \(Int(targetMs)) ms, errors at most \(percent(goal.errors)). Users think for \(think) s.\n")
        print(
            "| users | turns/s | replicas | turns/s a replica | TP50 | TP99 | errors | mean batch |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
        )
        for case let users? in users {
            guard let answer = goal.answer(users: users, queue: queue(32, cost), cost: cost) else {
                print("| \(users) | | more than 1000, or none can: one batch alone takes too long | | | | | |")
                continue
            }
            let own = answer.run.goodput
            print(
                "| \(users) | \(Int((own * Double(answer.replicas)).rounded())) | \(answer.replicas) | \(Int(own.rounded())) | \(ms(answer.outcome.percentile(0.5))) | \(ms(answer.outcome.percentile(0.99))) | \(percent(answer.outcome.errors)) | \(round(answer.run.meanBatch, 1)) |"
            )
        }
    }

    static let head = """
        | | class | TP50 | TP99 | errors | goodput/s | wasted rows | mean batch | padding |
        |---|---|---:|---:|---:|---:|---:|---:|---:|
        """

    /// Kefu's queue, warmed up.
    private func queue(_ batchSize: Int, _ cost: CostModel, padding: Double = 0.15) -> BatchQueue {
        let buckets = BatchQueue.Limits.lengthBuckets(upTo: 64)
        var queue = BatchQueue(
            workers: 1, limits: .init(batchSize: batchSize, paddingShare: padding, efficiency: efficiency, lengthBuckets: buckets))
        for rows in queue.times.rows {
            for length in queue.times.lengths { queue.record(rows: rows, length: length, duration: cost.duration(rows, length)) }
        }
        return queue
    }

    private func report(_ name: String, _ scenario: Scenario, _ run: Run) {
        for (index, (priority, _)) in scenario.shares.enumerated() {
            let outcome = run.classes[priority.rawValue]
            let all = "\(round(run.goodput, 1)) | \(run.wasted) | \(round(run.meanBatch, 1)) | \(percent(run.padding))"
            print(
                "| \(index == 0 ? name : "") | \(priority) | \(ms(outcome.percentile(0.5))) | \(ms(outcome.percentile(0.99))) | \(percent(outcome.errors)) | \(index == 0 ? all : "| | |") |"
            )
        }
    }

    /// Tries a grid of parameters, in two steps, and prints the one of the least error: the sum over the reported rows of |ln(TP99 /
    /// reported)|, and 10 for each unit of errors.
    private func search() {
        func error(_ fit: Fit) -> Double {
            Reported.rows.reduce(0) { sum, reported in
                let outcome = fit.run(reported.users, seconds: 300, seed: seed).classes[Priority.interactive.rawValue]
                return sum + abs(log(outcome.percentile(0.99) / reported.p99)) + 10 * abs(outcome.errors - reported.errors)
            }
        }
        var best = (error: Double.infinity, fit: Fit.a10)
        for batch in [0.04, 0.07, 0.1] {
            for base in [0, 0.05, 0.1] {
                for load in [0.7, 0.8, 0.9, 1] {
                    for wait in [0.35, 0.45] {
                        // Users ask for `load` of the capacity of full batches, and the longest wait is `wait`.
                        let fit = Fit(batch: batch, think: 8000 * batch / 8 / load, base: base, waiting: Int(wait / batch * 8))
                        let error = error(fit)
                        if error < best.error { best = (error, fit) }
                    }
                }
            }
        }
        print("error \(round(best.error, 3)): \(best.fit)")
        for reported in Reported.rows {
            let outcome = best.fit.run(reported.users, seconds: seconds, seed: seed).classes[Priority.interactive.rawValue]
            print(
                "\(reported.users) users: TP99 \(ms(outcome.percentile(0.99))), reported \(ms(reported.p99)); errors \(percent(outcome.errors)), reported \(percent(reported.errors))"
            )
        }
    }
}

/// Milliseconds, of seconds.
func ms(_ seconds: Double) -> String { "\(Int((seconds * 1000).rounded()))" }

func percent(_ share: Double) -> String { "\(round(share * 100, 1)) %" }

func round(_ value: Double, _ digits: Int) -> Double {
    let factor = pow(10.0, Double(digits))
    return (value * factor).rounded() / factor
}
