import Batching
import TestSupport
import Testing

/// SplitMix64: the same run for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// What ``BatchQueue`` promises, in plain arrays and without regard to speed.
struct ReferenceQueue {
    var limits: Queue.Limits
    var free: Set<Int>
    var waiting: [(id: UInt64, length: Int, deadline: Int?)] = []
    var takesNew = true

    /// The requests that are to be refused because their time is over.
    mutating func expire(_ now: Int) -> [UInt64] {
        func isOver(_ deadline: Int?) -> Bool { deadline.map { $0 <= now } ?? false }
        let over = waiting.filter { isOver($0.deadline) }.sorted { ($0.deadline!, $0.id) < ($1.deadline!, $1.id) }
        waiting.removeAll { isOver($0.deadline) }
        return over.map(\.id)
    }

    /// The next batch by the rule as it is written.
    mutating func nextBatch() -> [UInt64] {
        let oldest = waiting.removeFirst()
        var lengths = [oldest.length]
        var ids = [oldest.id]
        var sides: Set<Bool> = [true, false]
        while ids.count < limits.batchSize {
            let candidates = waiting.filter { sides.contains($0.length <= oldest.length) }
            let nearest = candidates.min { a, b in
                (abs(a.length - oldest.length), a.length, a.id) < (abs(b.length - oldest.length), b.length, b.id)
            }
            guard let nearest else { break }
            let rows = lengths + [nearest.length]
            let padded = rows.count * rows.max()!
            if Double(padded - rows.reduce(0, +)) <= limits.paddingShare * Double(padded) {
                lengths = rows
                ids.append(nearest.id)
                waiting.removeAll { $0.id == nearest.id }
            } else {
                sides.remove(nearest.length <= oldest.length)
            }
        }
        return ids
    }
}

@Suite struct BatchQueueAgainstReference {
    /// Every action is the one that the reference expects, every request is answered or computed exactly once, and no worker is idle while something waits.
    @Test(arguments: 1...60)
    func randomRun(seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let workers = Int.random(in: 1...3, using: &random)
        let limits = Queue.Limits(
            batchSize: Int.random(in: 1...6, using: &random), waiting: Int.random(in: 0...30, using: &random),
            paddingShare: [0, 0.1, 0.15, 0.5, 1].randomElement(using: &random)!)
        var queue = Queue(workers: workers, limits: limits)
        var reference = ReferenceQueue(limits: limits, free: Set(0..<workers))
        var now = 0
        var lastID: UInt64 = 0
        var outcomes: [UInt64: Int] = [:]

        for step in 0..<1200 {
            if Int.random(in: 0..<3, using: &random) == 0 { now += Int.random(in: 0...2, using: &random) }
            var refusals: [Queue.Action] = []
            var mayDispatch = false
            let event: Event
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<50:
                lastID += 1
                let deadline = Bool.random(using: &random) ? now + Int.random(in: -1...12, using: &random) : nil
                event = .arrive(lastID, length: Int.random(in: 0...40, using: &random), deadline: deadline)
            case 50..<80:
                guard let busy = Set(0..<workers).subtracting(reference.free).sorted().randomElement(using: &random) else { continue }
                event = .free(busy)
            case 80..<90: event = .cancel(UInt64.random(in: 0...(lastID + 1), using: &random))
            case 90..<99: event = .tick
            default: event = step < 1000 ? .tick : [.drain, .stop].randomElement(using: &random)!
            }

            func expect(_ ids: [UInt64], _ refusal: Queue.Refusal) { if !ids.isEmpty { refusals.append(.refuse(ids, refusal)) } }
            switch event {
            case .arrive(let id, let length, let deadline):
                if !reference.takesNew {
                    expect([id], .stopped)
                } else if let deadline, deadline <= now {
                    expect([id], .expired)
                } else {
                    expect(reference.expire(now), .expired)
                    if reference.waiting.count >= limits.waiting && reference.free.isEmpty {
                        expect([id], .full)
                    } else {
                        reference.waiting.append((id, length, deadline))
                        mayDispatch = true
                    }
                }
            case .free(let worker):
                reference.free.insert(worker)
                expect(reference.expire(now), .expired)
                mayDispatch = true
            case .cancel(let id):
                if reference.waiting.contains(where: { $0.id == id }) { expect([id], .cancelled) }
                reference.waiting.removeAll { $0.id == id }
            case .tick: expect(reference.expire(now), .expired)
            case .drain: reference.takesNew = false
            case .stop:
                expect(reference.waiting.map(\.id), .stopped)
                reference.waiting = []
                reference.takesNew = false
            }

            let actions = queue.handle(event, at: now)
            #expect(Array(actions.prefix(refusals.count)) == refusals)
            var batches = actions.dropFirst(refusals.count)
            while mayDispatch, !reference.free.isEmpty, !reference.waiting.isEmpty {
                let ids = reference.nextBatch()
                guard case .run(let batch)? = batches.popFirst() else {
                    Issue.record("no batch where \(ids) wait and a worker is free")
                    return
                }
                #expect(batch.requests == ids)
                #expect(reference.free.remove(batch.worker) != nil, "worker \(batch.worker) is busy")
            }
            #expect(batches.isEmpty)
            #expect(queue.waiting == reference.waiting.count)
            #expect(queue.isDrained == (!reference.takesNew && reference.waiting.isEmpty && reference.free.count == workers))
            if let next = reference.waiting.compactMap(\.deadline).min() {
                #expect(queue.nextDeadline.map { $0 <= ManualClock.Instant(.seconds(next)) } == true)
            }
            for action in actions {
                switch action {
                case .run(let batch): for id in batch.requests { outcomes[id, default: 0] += 1 }
                case .refuse(let ids, _): for id in ids { outcomes[id, default: 0] += 1 }
                }
            }
        }

        for action in queue.stop() {
            if case .refuse(let ids, .stopped) = action { for id in ids { outcomes[id, default: 0] += 1 } }
        }
        #expect(outcomes.count == Int(lastID), "a request was lost")
        #expect(outcomes.values.allSatisfy { $0 == 1 }, "a request was answered twice")
    }
}
