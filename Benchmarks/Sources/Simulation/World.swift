import Batching
import Glibc
import HeapModule

/// Who sends requests.
enum Callers: Sendable {
    /// So many people; each thinks for an exponentially distributed time (mean in seconds) after each answer.
    case users(Int, think: Double)
    /// Requests a second that know nothing of each other.
    case poisson(Double)
    /// A Poisson process whose rate changes: `factor` times the mean for a fifth of the time, less in between; each phase lasts 1 s on
    /// average (a Markov-modulated Poisson process).
    case bursts(Double, factor: Double)
}

/// What is sent, and for how long.
struct Scenario: Sendable {
    var callers: Callers
    /// The share of each class; they sum to 1.
    var shares: [(priority: Priority, share: Double)] = [(.interactive, 1)]
    /// From sending on.
    var deadline = 1.0
    var lengths = 4...64
    /// Seconds of virtual time; the first fifth is not counted.
    var seconds = 60.0
    /// Seconds that an answer takes besides queue and compute: network, tokens.
    var base = 0.0
    /// The standard deviation of the logarithm of the factor by which a batch's time differs from the table's; its mean is 1.
    var jitter = 0.0
    var seed: UInt64 = 1
}

/// What became of the requests of one class.
struct Outcome {
    var latencies: [Double] = []
    var refused = 0
    var late = 0
    /// Of those that were answered in time.
    var tokens = 0

    var sent: Int { latencies.count + refused }
    /// Refused, dropped or answered after the deadline, as a share of what was sent.
    var errors: Double { sent == 0 ? 0 : Double(refused + late) / Double(sent) }

    /// Seconds; 0 where nothing was answered.
    func percentile(_ share: Double) -> Double {
        guard !latencies.isEmpty else { return 0 }
        return latencies.sorted()[min(latencies.count - 1, Int(Double(latencies.count) * share))]
    }
}

/// What was measured in a run.
struct Run {
    var classes = Array(repeating: Outcome(), count: Priority.allCases.count)
    var rows = 0
    var batches = 0
    var tokens = 0
    var computedTokens = 0
    /// Rows that were computed although their deadline had passed before they were done.
    var wasted = 0
    var seconds = 0.0
    var padding: Double { computedTokens == 0 ? 0 : 1 - Double(tokens) / Double(computedTokens) }
    var meanBatch: Double { batches == 0 ? 0 : Double(rows) / Double(batches) }
    /// Tokens answered in time a second. Long requests are refused before short ones, so that requests of two mixes do not compare.
    var tokenGoodput: Double { Double(classes.reduce(0) { $0 + $1.tokens }) / seconds }
    /// Answers in time a second.
    var goodput: Double { Double(classes.reduce(0) { $0 + $1.latencies.count - $1.late }) / seconds }
}

/// What happens.
private enum Kind {
    case send
    case done(BatchQueue.Batch)
    case phase
}

/// What happens at a time; of two at the same time, the earlier made goes first.
private struct Event: Comparable {
    var at: Double
    var number: Int
    var kind: Kind

    static func == (a: Event, b: Event) -> Bool { a.at == b.at && a.number == b.number }
    static func < (a: Event, b: Event) -> Bool { (a.at, a.number) < (b.at, b.number) }
}

/// A request without an answer.
private struct Open {
    var priority: Priority
    var length: Int
    var sent: Double
}

/// Runs a scenario against a policy in virtual time: the same for the same seed.
func simulate<P: Policy>(_ scenario: Scenario, _ policy: P, _ cost: CostModel) -> Run {
    var policy = policy
    var random = SeededGenerator(state: scenario.seed)
    var events = Heap<Event>()
    var number = 0
    var open: [UInt64: Open] = [:]
    var run = Run()
    let begin = scenario.seconds / 5
    run.seconds = scenario.seconds - begin
    var isBurst = false

    func add(_ at: Double, _ kind: Kind) {
        number += 1
        events.insert(Event(at: at, number: number, kind: kind))
    }

    /// When the next request comes that depends on no answer.
    func gap() -> Double? {
        switch scenario.callers {
        case .users: nil
        case .poisson(let rate): random.exponential(1 / rate)
        case .bursts(let rate, let factor): random.exponential(1 / (rate * (isBurst ? factor : (5 - factor) / 4)))
        }
    }

    /// A request has its answer; its user, if it has one, thinks.
    func answered(_ now: Double) {
        if case .users(_, let think) = scenario.callers { add(now + random.exponential(think), .send) }
    }

    func apply(_ actions: [BatchQueue.Action], _ now: Double) {
        for action in actions {
            switch action {
            case .run(let batch):
                let factor = scenario.jitter == 0 ? 1 : exp(random.normal() * scenario.jitter - scenario.jitter * scenario.jitter / 2)
                add(now + factor * cost.seconds(batch.requests.count, batch.length), .done(batch))
            case .refuse(let ids, _):
                for id in ids {
                    guard let request = open.removeValue(forKey: id) else { continue }
                    if request.sent >= begin { run.classes[request.priority.rawValue].refused += 1 }
                    answered(now)
                }
            }
        }
    }

    if case .users(let count, let think) = scenario.callers {
        for _ in 0..<count { add(random.exponential(think), .send) }
    } else if let first = gap() {
        add(first, .send)
    }
    if case .bursts = scenario.callers { add(random.exponential(4), .phase) }

    var lastID: UInt64 = 0
    while let event = events.popMin(), event.at < scenario.seconds {
        while let next = policy.nextDeadline, next <= .seconds(event.at) { apply(policy.tick(now: next), next / .seconds(1)) }
        let now = Duration.seconds(event.at)
        switch event.kind {
        case .phase:
            isBurst.toggle()
            add(event.at + random.exponential(isBurst ? 1 : 4), .phase)
        case .send:
            lastID += 1
            var dice = Double.random(in: 0..<1, using: &random)
            var priority = Priority.interactive
            for (candidate, share) in scenario.shares {
                priority = candidate
                if dice < share { break }
                dice -= share
            }
            let length = Int.random(in: scenario.lengths, using: &random)
            open[lastID] = Open(priority: priority, length: length, sent: event.at)
            apply(
                policy.arrive(
                    .init(id: lastID, priority: priority, length: length, deadline: .seconds(event.at + scenario.deadline - scenario.base)),
                    now: now),
                event.at)
            if let gap = gap() { add(event.at + gap, .send) }
        case .done(let batch):
            if event.at >= begin {
                run.batches += 1
                run.rows += batch.requests.count
                run.computedTokens += batch.requests.count * batch.length
            }
            for id in batch.requests {
                guard let request = open.removeValue(forKey: id) else { continue }
                let latency = event.at - request.sent + scenario.base
                if event.at >= begin {
                    run.tokens += request.length
                    if latency > scenario.deadline + 1e-9 { run.wasted += 1 }
                }
                if request.sent >= begin {
                    run.classes[request.priority.rawValue].latencies.append(latency)
                    if latency > scenario.deadline + 1e-9 {
                        run.classes[request.priority.rawValue].late += 1
                    } else {
                        run.classes[request.priority.rawValue].tokens += request.length
                    }
                }
                answered(event.at + scenario.base)
            }
            apply(policy.workerFree(batch.worker, now: now), event.at)
        }
    }
    return run
}
