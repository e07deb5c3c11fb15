import Batching
import Testing

typealias Queue = BatchQueue

/// One event of a scripted run.
enum Event: Sendable {
    case arrive(UInt64, Priority = .interactive, length: Int, deadline: Int? = nil)
    case cancel(UInt64)
    case free(Int)
    case tick
    case drain
    case stop
}

/// What a table expects; times are in seconds.
struct Step: Sendable {
    var at: Int
    var event: Event
    var actions: [Queue.Action]
}

func run(_ worker: Int, _ requests: [UInt64], length: Int) -> Queue.Action {
    .run(Queue.Batch(worker: worker, requests: requests, length: length))
}

extension Queue.Limits {
    /// Every length up to 64 is a bucket of its own, and so many of each class may wait.
    static func exact(_ batchSize: Int = 32, waiting: Int = 1024, aging: Int = 100, padding: Double = 0.15) -> Self {
        let bound = Bound(waiting: waiting)
        return .init(
            batchSize: batchSize, interactive: bound, standard: bound, background: bound, agingBound: .seconds(aging),
            paddingShare: padding,
            lengthBuckets: Array(1...64))
    }
}

extension Queue {
    mutating func handle(_ event: Event, at seconds: Int) -> [Action] {
        let now = Duration.seconds(seconds)
        switch event {
        case .arrive(let id, let priority, let length, let deadline):
            return arrive(Request(id: id, priority: priority, length: length, deadline: deadline.map { .seconds($0) }), now: now)
        case .cancel(let id): return cancel(id)
        // As if it had failed: nothing is measured, so nothing is predicted.
        case .free(let worker): return workerFree(worker, failed: true, now: now)
        case .tick: return tick(now: now)
        case .drain:
            drain()
            return []
        case .stop: return stop()
        }
    }
}

@Suite struct BatchQueueTable {
    static let scripts: [(String, Queue.Limits, workers: Int, [Step])] = [
        (
            "a free worker takes a request at once; what comes meanwhile is the next batch", .exact(3), 1,
            [
                Step(at: 0, event: .arrive(1, length: 5), actions: [run(0, [1], length: 5)]),
                Step(at: 0, event: .arrive(2, length: 5), actions: []),
                Step(at: 0, event: .arrive(3, length: 5), actions: []),
                Step(at: 1, event: .free(0), actions: [run(0, [2, 3], length: 5)]),
                Step(at: 2, event: .free(0), actions: []),
                Step(at: 2, event: .arrive(4, length: 5), actions: [run(0, [4], length: 5)]),
            ]
        ),
        (
            "workers in turn, and no more rows than the batch size", .exact(2), 2,
            [
                Step(at: 0, event: .arrive(1, length: 5), actions: [run(0, [1], length: 5)]),
                Step(at: 0, event: .arrive(2, length: 5), actions: [run(1, [2], length: 5)]),
                Step(at: 0, event: .arrive(3, length: 5), actions: []),
                Step(at: 0, event: .arrive(4, length: 5), actions: []),
                Step(at: 0, event: .arrive(5, length: 5), actions: []),
                Step(at: 1, event: .free(1), actions: [run(1, [3, 4], length: 5)]),
                Step(at: 1, event: .free(0), actions: [run(0, [5], length: 5)]),
            ]
        ),
        (
            "the longest waiting and the lengths nearest to its own; padding is bounded", .exact(8), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 20), actions: []),
                Step(at: 0, event: .arrive(3, length: 60), actions: []),
                Step(at: 0, event: .arrive(4, length: 18), actions: []),
                Step(at: 0, event: .arrive(5, length: 22), actions: []),
                Step(at: 0, event: .arrive(6, length: 20), actions: []),
                Step(at: 0, event: .arrive(7, length: 4), actions: []),
                // 20, 20, 18, 22: 8 of 88 are padding; 4 or 60 would be far too much.
                Step(at: 1, event: .free(0), actions: [run(0, [2, 6, 4, 5], length: 22)]),
                Step(at: 2, event: .free(0), actions: [run(0, [3], length: 60)]),
                Step(at: 3, event: .free(0), actions: [run(0, [7], length: 4)]),
            ]
        ),
        (
            "without padding only equal lengths go together", .exact(8, padding: 0), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 3), actions: []),
                Step(at: 0, event: .arrive(3, length: 4), actions: []),
                Step(at: 0, event: .arrive(4, length: 3), actions: []),
                Step(at: 1, event: .free(0), actions: [run(0, [2, 4], length: 3)]),
                Step(at: 1, event: .free(0), actions: [run(0, [3], length: 4)]),
            ]
        ),
        (
            "a full queue refuses at once; what waits is not touched", .exact(1, waiting: 1), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 1), actions: []),
                Step(at: 0, event: .arrive(3, length: 1), actions: [.refuse([3], .full(retryAfter: nil))]),
                Step(at: 0, event: .free(0), actions: [run(0, [2], length: 1)]),
                Step(at: 0, event: .arrive(4, length: 1), actions: []),
            ]
        ),
        (
            "with no place to wait a free worker still takes work", .exact(waiting: 0), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 1), actions: [.refuse([2], .full(retryAfter: nil))]),
            ]
        ),
        (
            "what expires is refused before compute, and makes room", .exact(waiting: 2), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1, deadline: 5), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 1, deadline: 3), actions: []),
                Step(at: 0, event: .arrive(3, length: 1, deadline: 2), actions: []),
                Step(at: 1, event: .tick, actions: []),
                Step(at: 2, event: .tick, actions: [.refuse([3], .expired)]),
                Step(at: 2, event: .arrive(4, length: 1), actions: []),
                Step(at: 3, event: .arrive(5, length: 1), actions: [.refuse([2], .expired)]),
                Step(at: 9, event: .free(0), actions: [run(0, [4, 5], length: 1)]),
                Step(at: 9, event: .arrive(6, length: 1, deadline: 9), actions: [.refuse([6], .expired)]),
            ]
        ),
        (
            "a worker that becomes free gets nothing that has expired", .exact(), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 1, deadline: 3), actions: []),
                Step(at: 3, event: .free(0), actions: [.refuse([2], .expired)]),
            ]
        ),
        (
            "what is cancelled is never computed; computing goes on", .exact(), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 1), actions: []),
                Step(at: 0, event: .arrive(3, length: 1), actions: []),
                Step(at: 0, event: .cancel(2), actions: [.refuse([2], .cancelled)]),
                Step(at: 0, event: .cancel(2), actions: []),
                Step(at: 0, event: .cancel(1), actions: []),
                Step(at: 0, event: .cancel(99), actions: []),
                Step(at: 1, event: .free(0), actions: [run(0, [3], length: 1)]),
            ]
        ),
        (
            "draining computes what waits and takes nothing new", .exact(), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 1), actions: []),
                Step(at: 0, event: .drain, actions: []),
                Step(at: 0, event: .arrive(3, length: 1), actions: [.refuse([3], .stopped)]),
                Step(at: 1, event: .free(0), actions: [run(0, [2], length: 1)]),
                Step(at: 1, event: .free(0), actions: []),
            ]
        ),
        (
            "a higher class first, within a class the earliest deadline, then by arrival", .exact(1), 1,
            [
                Step(at: 0, event: .arrive(1, .background, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, .background, length: 1, deadline: 20), actions: []),
                Step(at: 0, event: .arrive(3, .standard, length: 1), actions: []),
                Step(at: 0, event: .arrive(4, .interactive, length: 1), actions: []),
                Step(at: 0, event: .arrive(5, .interactive, length: 1), actions: []),
                Step(at: 0, event: .arrive(6, .interactive, length: 1, deadline: 30), actions: []),
                Step(at: 0, event: .arrive(7, .interactive, length: 1, deadline: 20), actions: []),
                Step(at: 1, event: .free(0), actions: [run(0, [7], length: 1)]),
                Step(at: 2, event: .free(0), actions: [run(0, [6], length: 1)]),
                Step(at: 3, event: .free(0), actions: [run(0, [4], length: 1)]),
                Step(at: 4, event: .free(0), actions: [run(0, [5], length: 1)]),
                Step(at: 5, event: .free(0), actions: [run(0, [3], length: 1)]),
                Step(at: 6, event: .free(0), actions: [run(0, [2], length: 1)]),
            ]
        ),
        (
            "lower classes fill free places of a batch, and never make it longer", .exact(4, padding: 0.5), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, .background, length: 10), actions: []),
                Step(at: 0, event: .arrive(3, .standard, length: 12), actions: []),
                Step(at: 0, event: .arrive(4, .standard, length: 9), actions: []),
                Step(at: 0, event: .arrive(5, .interactive, length: 8), actions: []),
                Step(at: 0, event: .arrive(6, .interactive, length: 10), actions: []),
                // 12 would lengthen the batch of 5 and 6; 9 and 10 are free riders, and the higher class is preferred.
                Step(at: 1, event: .free(0), actions: [run(0, [5, 6, 4, 2], length: 10)]),
                Step(at: 2, event: .free(0), actions: [run(0, [3], length: 12)]),
            ]
        ),
        (
            "who has waited for the aging bound is treated as one of the next class up, in the end before all", .exact(1, aging: 10), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, .background, length: 1), actions: []),
                Step(at: 9, event: .arrive(3, .standard, length: 1), actions: []),
                Step(at: 9, event: .arrive(4, .standard, length: 1), actions: []),
                Step(at: 9, event: .free(0), actions: [run(0, [3], length: 1)]),
                // From 10 on 2 is treated as of STANDARD, where it is older than 4; INTERACTIVE goes first.
                Step(at: 10, event: .arrive(5, length: 1), actions: []),
                Step(at: 10, event: .free(0), actions: [run(0, [5], length: 1)]),
                Step(at: 10, event: .free(0), actions: [run(0, [2], length: 1)]),
                Step(at: 11, event: .arrive(6, .interactive, length: 1), actions: []),
                Step(at: 28, event: .arrive(7, .interactive, length: 1, deadline: 99), actions: []),
                // 4 has been overdue since 29, 6 since 21; 7 has the earliest deadline of its class.
                Step(at: 29, event: .free(0), actions: [run(0, [6], length: 1)]),
                Step(at: 29, event: .free(0), actions: [run(0, [4], length: 1)]),
                Step(at: 29, event: .free(0), actions: [run(0, [7], length: 1)]),
            ]
        ),
        (
            "each class is bounded by itself", .exact(1, waiting: 1), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, .background, length: 1), actions: []),
                Step(at: 0, event: .arrive(3, .background, length: 1), actions: [.refuse([3], .full(retryAfter: nil))]),
                Step(at: 0, event: .arrive(4, .standard, length: 1), actions: []),
                Step(at: 0, event: .arrive(5, .interactive, length: 1), actions: []),
                Step(at: 0, event: .free(0), actions: [run(0, [5], length: 1)]),
                Step(at: 0, event: .arrive(6, .interactive, length: 1), actions: []),
            ]
        ),
        (
            "lengths are rounded up to their bucket", .init(batchSize: 4, paddingShare: 0.15, lengthBuckets: [8, 16, 32]), 1,
            [
                Step(at: 0, event: .arrive(1, length: 3), actions: [run(0, [1], length: 8)]),
                Step(at: 0, event: .arrive(2, length: 17), actions: []),
                Step(at: 0, event: .arrive(3, length: 31), actions: []),
                Step(at: 0, event: .arrive(4, length: 15), actions: []),
                // Their own rounding keeps 2 and 3 not apart; 4 would be computed at 32.
                Step(at: 1, event: .free(0), actions: [run(0, [2, 3], length: 32)]),
                Step(at: 2, event: .free(0), actions: [run(0, [4], length: 16)]),
            ]
        ),
        (
            "stopping refuses what waits", .exact(), 1,
            [
                Step(at: 0, event: .arrive(1, length: 1), actions: [run(0, [1], length: 1)]),
                Step(at: 0, event: .arrive(2, length: 7, deadline: 4), actions: []),
                Step(at: 0, event: .arrive(3, length: 1), actions: []),
                Step(at: 0, event: .stop, actions: [.refuse([2, 3], .stopped)]),
                Step(at: 0, event: .stop, actions: []),
                Step(at: 9, event: .free(0), actions: []),
            ]
        ),
    ]

    @Test(arguments: scripts.indices)
    func script(_ index: Int) {
        let (name, limits, workers, steps) = Self.scripts[index]
        var queue = Queue(workers: workers, limits: limits)
        for (number, step) in steps.enumerated() {
            let actions = queue.handle(step.event, at: step.at)
            #expect(actions == step.actions, "\(name), step \(number + 1)")
        }
    }

    @Test func drainedWhenNothingWaitsAndNoWorkerIsBusy() {
        var queue = Queue(workers: 1)
        #expect(!queue.isDrained)
        _ = queue.handle(.arrive(1, length: 1), at: 0)
        _ = queue.handle(.arrive(2, length: 1), at: 0)
        _ = queue.handle(.drain, at: 0)
        #expect(!queue.isDrained)
        _ = queue.handle(.free(0), at: 0)
        #expect(queue.waiting == 0)
        #expect(!queue.isDrained)
        _ = queue.handle(.free(0), at: 0)
        #expect(queue.isDrained)
    }

    @Test func tellsTheNextDeadline() {
        var queue = Queue(workers: 1)
        _ = queue.handle(.arrive(1, length: 1, deadline: 1), at: 0)
        _ = queue.handle(.arrive(2, length: 1), at: 0)
        _ = queue.handle(.tick, at: 0)
        #expect(queue.nextDeadline == nil)
        _ = queue.handle(.arrive(3, length: 1, deadline: 8), at: 0)
        _ = queue.handle(.arrive(4, length: 1, deadline: 7), at: 0)
        #expect(queue.nextDeadline == Duration.seconds(7))
        _ = queue.handle(.tick, at: 7)
        #expect(queue.nextDeadline == Duration.seconds(8))
    }
}
