import Batching
import Foundation
import Testing

/// The queue with measured times: deadlines, predictions, bounds of work, aging.
@Suite struct BatchQueueWithTimes {
    /// 2 ms a batch and 1 ms a row, whatever the length.
    static func affine(_ rows: Int, _ length: Int) -> Duration { .milliseconds(2 + rows) }

    static func limits(_ batchSize: Int, waiting: Int = 1024, work: Duration = .seconds(1), aging: Duration = .seconds(5)) -> Queue.Limits {
        let bound = Queue.Limits.Bound(waiting: waiting, work: work)
        return .init(
            batchSize: batchSize, interactive: bound, standard: bound, background: bound, agingBound: aging, efficiency: 1,
            lengthBuckets: [8, 16, 32, 64])
    }

    @Test func whatCannotBeInTimeIsRefusedAtOnce() {
        var world = World(workers: 1, limits: Self.limits(2), duration: Self.affine)
        world.send(.interactive, length: 8)
        // The worker is busy until 3 ms; alone a row takes 3 ms.
        world.send(.interactive, length: 8, deadline: .milliseconds(6))
        world.send(.interactive, length: 16, deadline: .milliseconds(9))
        #expect(world.sent[1].refusal == nil)
        // It would begin after 2, at 6 ms, and end at 10: its batch may be full by then.
        #expect(world.sent[2].refusal == .unreachable(retryAfter: .milliseconds(1)))
        world.send(.interactive, length: 16, deadline: .milliseconds(10))
        #expect(world.sent[3].refusal == nil)
        // A tighter deadline goes first, so only the batch that runs is ahead of it.
        world.send(.interactive, length: 32, deadline: .milliseconds(5))
        #expect(world.sent[4].refusal == .unreachable(retryAfter: .milliseconds(1)))
        // It could not be in time on a free worker either.
        world.send(.interactive, length: 32, deadline: .milliseconds(2))
        #expect(world.sent[5].refusal == .unreachable(retryAfter: nil))
        world.finish()
        #expect(world.wasted == 0)
    }

    @Test func lowerClassesAreNotCountedAsAhead() {
        var world = World(workers: 1, limits: Self.limits(4), duration: Self.affine)
        for _ in 0..<100 { world.send(.background, length: 8) }
        world.send(.standard, length: 8, deadline: .milliseconds(6))
        #expect(world.sent[100].refusal == nil)
        world.send(.background, length: 8, deadline: .milliseconds(30))
        #expect(world.sent[101].refusal == nil, "those without a deadline go after it")
        world.finish()
        #expect(world.wasted == 0)
        #expect(world.sent[100].end.map { $0 <= .milliseconds(6) } == true)
    }

    @Test func aBatchIsAsSmallAsTheDeadlinesInItAsk() {
        var world = World(workers: 1, limits: Self.limits(8), duration: Self.affine)
        world.send(.interactive, length: 8)
        world.send(.interactive, length: 8, deadline: .milliseconds(8))
        for _ in 0..<7 { world.send(.standard, length: 8) }
        world.finish()
        // From 3 ms on: 3 rows take 5 ms, and that is 8.
        #expect(world.batches.map(\.requests.count) == [1, 3, 5])
        #expect(world.wasted == 0)
    }

    @Test func aRequestThatWouldBeLateIsDroppedAtDispatch() {
        // The worker is slower than known.
        var world = World(workers: 1, limits: Self.limits(8), warm: false) { _, _ in .milliseconds(10) }
        for rows in [1, 2, 4, 8] { world.queue.record(rows: rows, length: 8, duration: .milliseconds(4)) }
        world.send(.interactive, length: 8)
        world.send(.interactive, length: 8, deadline: .milliseconds(12))
        #expect(world.sent[1].refusal == nil)
        world.finish()
        #expect(world.sent[1].refusal == .unreachable(retryAfter: nil))
        #expect(world.wasted == 0)
    }

    @Test func workIsBoundedByClass() {
        var world = World(workers: 1, limits: Self.limits(1, work: .milliseconds(10)), duration: Self.affine)
        for _ in 0..<5 { world.send(.standard, length: 8) }
        // One runs; three of 3 ms each wait; a fourth would make 12 ms.
        #expect(world.sent.map { $0.refusal == nil } == [true, true, true, true, false])
        #expect(world.sent[4].refusal == .full(retryAfter: .milliseconds(12)))
        #expect(world.queue.work(.standard) == .milliseconds(9))
        world.send(.interactive, length: 8)
        #expect(world.sent[5].refusal == nil)
        world.finish()
    }

    @Test func timesThatHaveBecomeTooHighAreCorrectedByAProbe() {
        var world = World(workers: 1, limits: Self.limits(8), warm: false) { _, _ in .milliseconds(3) }
        for rows in [1, 2, 4, 8] { world.queue.record(rows: rows, length: 8, duration: .milliseconds(50)) }
        var refused = 0
        for second in 0..<60 {
            for part in 0..<4 {
                world.advance(to: .milliseconds(second * 1000 + part * 250))
                world.send(.interactive, length: 8, deadline: .milliseconds(20))
                if world.sent.last?.refusal != nil { refused += 1 }
            }
        }
        world.finish()
        #expect(refused > 0, "without a probe's measurement it is refused")
        #expect(world.sent.suffix(40).allSatisfy { $0.refusal == nil }, "the table has not recovered")
    }

    /// Whatever comes, whenever it ends: the checks of `World` hold. Times vary, so some predictions are wrong.
    @Test(arguments: 1...16)
    func randomWorld(seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let cost = (Double.random(in: 0.1...4, using: &random), Double.random(in: 0...1, using: &random))
        let noise = seed.isMultiple(of: 2) ? 0.3 : 0
        var jitter = SeededGenerator(state: seed + 1000)
        let bound = { (random: inout SeededGenerator) in
            Queue.Limits.Bound(
                waiting: Int.random(in: 1...60, using: &random), work: .milliseconds(Int.random(in: 5...1000, using: &random)))
        }
        let limits = Queue.Limits(
            batchSize: Int.random(in: 1...12, using: &random), interactive: bound(&random), standard: bound(&random),
            background: bound(&random), agingBound: .milliseconds(Int.random(in: 20...400, using: &random)),
            paddingShare: [0.05, 0.15, 0.4].randomElement(using: &random)!, efficiency: [0.9, 0.95, 1].randomElement(using: &random)!,
            lengthBuckets: Queue.Limits.lengthBuckets(upTo: 64))
        var world = World(workers: Int.random(in: 1...3, using: &random), limits: limits) { rows, length in
            .milliseconds((cost.0 + cost.1 * Double(rows * length) / 16) * (1 + Double.random(in: -noise...noise, using: &jitter)))
        }
        let load = Double.random(in: 0.3...4, using: &random)
        for _ in 0..<400 {
            world.advance(to: world.now + .milliseconds(Double.random(in: 0...2, using: &random) * (cost.0 / 4 + cost.1) / load))
            let deadline = Bool.random(using: &random) ? Duration.milliseconds(Int.random(in: 1...200, using: &random)) : nil
            world.send(Priority.allCases.randomElement(using: &random)!, length: Int.random(in: 1...64, using: &random), deadline: deadline)
            if Int.random(in: 0..<12, using: &random) == 0 { world.cancel(UInt64.random(in: 1...UInt64(world.sent.count), using: &random)) }
        }
        world.finish()
        for sent in world.sent { #expect((sent.refusal == nil) == (sent.end != nil)) }
        let probes = world.sent.count { sent in sent.end.map { end in end > sent.request.deadline ?? end } ?? false }
        if noise == 0 { #expect(probes <= 1 + Int(world.now / .seconds(1)), "only probes are computed in vain where times are exact") }
    }

    /// INTERACTIVE with deadlines alone would fill two workers thrice, STANDARD as well: nobody waits longer than `BatchQueue` states.
    @Test(arguments: 1...2)
    func nobodyWaitsLongerThanTheBound(seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let workers = seed.isMultiple(of: 2) ? 2 : 1
        let aging = Duration.milliseconds(100)
        var world = World(workers: workers, limits: Self.limits(4, waiting: 40, aging: aging), duration: Self.affine)
        while world.now < .seconds(1) {
            world.advance(to: world.now + .milliseconds(Double.random(in: 0...0.4, using: &random)))
            let dice = Int.random(in: 0..<100, using: &random)
            let priority: Priority = dice < 60 ? .interactive : dice < 98 ? .standard : .background
            world.send(
                priority, length: Int.random(in: 1...64, using: &random), deadline: priority == .background ? nil : .milliseconds(90))
        }
        world.finish()
        // Deadlines cut batches short here: N takes the place of N / b + G.
        let drain = Self.affine(4, 64) * ((3 * 40 + workers - 1) / workers + 1)
        var longest = [Duration](repeating: .zero, count: 3)
        for sent in world.sent {
            guard let start = sent.start else { continue }
            longest[sent.request.priority.rawValue] = max(longest[sent.request.priority.rawValue], start - sent.arrival)
        }
        for priority in Priority.allCases { #expect(longest[priority.rawValue] <= aging * (priority.rawValue + 1) + drain) }
        #expect(world.sent.contains { $0.request.priority == .background && $0.end != nil && $0.level == 0 }, "nothing was overdue")
        #expect(longest[2] > aging * 3, "the test does not press on the bound")
    }

    /// Twice what one worker can do, a fifth of it INTERACTIVE: on a CPU (a row costs its tokens), and where a batch has so great a fixed
    /// cost that more padding pays.
    @Test(arguments: [(200, 25.0, 0.15, 0.85), (1000, 5.0, 0.5, 0.6)])
    func overloadIsForTheLowerClasses(fixed: Int, token: Double, padding: Double, least: Double) throws {
        let duration = { (rows: Int, length: Int) in Duration.microseconds(Double(fixed) + Double(rows * length) * token) }
        let limits = Queue.Limits(batchSize: 32, paddingShare: padding, lengthBuckets: Queue.Limits.lengthBuckets(upTo: 64))
        // Full batches without padding: lengths 4 to 64, 34 on average.
        let capacity = 32 / (duration(32, 34) / .seconds(1))
        func run(_ load: Double, interactive: Double) -> World {
            var random = SeededGenerator(state: 7)
            var world = World(workers: 1, limits: limits, checksOrder: false, duration: duration)
            while world.now < .seconds(1) {
                world.advance(to: world.now + .seconds(-log(Double.random(in: 1e-9..<1, using: &random)) / (capacity * load)))
                let priority: Priority = Double.random(in: 0..<1, using: &random) < interactive ? .interactive : .standard
                world.send(priority, length: Int.random(in: 4...64, using: &random), deadline: .milliseconds(400))
            }
            world.finish()
            return world
        }
        let alone = run(0.4, interactive: 1)
        let mixed = run(2, interactive: 0.2)
        func p99(_ world: World) throws -> Double {
            let all = world.latencies(.interactive)
            return try #require(all.dropFirst(all.count * 99 / 100).first) / .milliseconds(1)
        }
        let goodput = Double(mixed.sent.count { $0.end != nil }) / (mixed.now / .seconds(1)) / capacity
        #expect(mixed.wasted == 0)
        #expect(mixed.sent.allSatisfy { $0.request.priority != .interactive || $0.refusal == nil }, "INTERACTIVE was refused")
        let (under, by) = (try p99(mixed), try p99(alone))
        #expect(under <= 2 * by, "\(under) and \(by) ms")
        #expect(goodput >= least, "\(goodput)")
    }
}
