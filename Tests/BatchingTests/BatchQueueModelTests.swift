import Batching
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

/// What ``BatchQueue`` promises while nothing is measured, in plain arrays and without regard to speed.
struct ReferenceQueue {
    struct Waiting {
        var id: UInt64
        var priority: Priority
        var length: Int
        var deadline: Int?
        var arrival: Int
    }

    var limits: Queue.Limits
    var aging: Int
    var free: Set<Int>
    var waiting: [Waiting] = []
    var takesNew = true

    /// 0: overdue; then the classes.
    func level(_ request: Waiting, _ now: Int) -> Int { max(0, request.priority.rawValue + 1 - (now - request.arrival) / aging) }

    /// Whether `a` goes before `b`.
    func precedes(_ a: Waiting, _ b: Waiting, _ now: Int) -> Bool {
        let levels = (level(a, now), level(b, now))
        guard levels.0 == levels.1 else { return levels.0 < levels.1 }
        func overdue(_ request: Waiting) -> Int { request.arrival + (request.priority.rawValue + 1) * aging }
        return levels.0 == 0
            ? (overdue(a), a.id) < (overdue(b), b.id) : (a.deadline ?? .max, a.id) < (b.deadline ?? .max, b.id)
    }

    /// The requests that are to be refused because their time is over.
    mutating func expire(_ now: Int) -> [UInt64] {
        func isOver(_ deadline: Int?) -> Bool { deadline.map { $0 <= now } ?? false }
        let over = waiting.filter { isOver($0.deadline) }.sorted { ($0.deadline!, $0.id) < ($1.deadline!, $1.id) }
        waiting.removeAll { isOver($0.deadline) }
        return over.map(\.id)
    }

    func bucket(_ length: Int) -> Int { limits.lengthBuckets.first { $0 >= length }! }

    /// The next batch by the rule as it is written.
    mutating func nextBatch(_ now: Int) -> (ids: [UInt64], length: Int) {
        let head = waiting.min { precedes($0, $1, now) }!
        let origin = bucket(head.length)
        var rows: [Waiting] = []
        func take(_ request: Waiting) {
            rows.append(request)
            waiting.removeAll { $0.id == request.id }
        }
        take(head)
        for level in level(head, now)..<4 {
            let longest = level == self.level(head, now) ? Int.max : rows.map { bucket($0.length) }.max()!
            var sides: Set<Bool> = [true, false]
            while rows.count < limits.batchSize {
                let candidates = waiting.filter { request in
                    let length = bucket(request.length)
                    return self.level(request, now) == level && length <= longest && sides.contains(length <= origin)
                }
                let nearest = candidates.min { a, b in
                    let lengths = (bucket(a.length), bucket(b.length))
                    let distances = (abs(lengths.0 - origin), abs(lengths.1 - origin))
                    return lengths.0 == lengths.1 ? precedes(a, b, now) : (distances.0, lengths.0) < (distances.1, lengths.1)
                }
                guard let nearest else { break }
                let all = rows + [nearest]
                let buckets = Set(all.map { bucket($0.length) })
                let padded = all.count * buckets.max()!
                if buckets.count == 1 || Double(padded - all.map(\.length).reduce(0, +)) <= limits.paddingShare * Double(padded) {
                    take(nearest)
                } else {
                    sides.remove(bucket(nearest.length) <= origin)
                }
            }
        }
        return (rows.map(\.id), rows.map { bucket($0.length) }.max()!)
    }
}

@Suite struct BatchQueueAgainstReference {
    /// Every action is the one that the reference expects, every request is answered or computed exactly once, and no worker is idle while
    /// something waits.
    @Test(arguments: 1...16)
    func randomRun(seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let workers = Int.random(in: 1...3, using: &random)
        let aging = Int.random(in: 2...40, using: &random)
        let limits = Queue.Limits(
            batchSize: Int.random(in: 1...6, using: &random), interactive: .init(waiting: Int.random(in: 0...30, using: &random)),
            standard: .init(waiting: Int.random(in: 0...30, using: &random)),
            background: .init(waiting: Int.random(in: 0...30, using: &random)), agingBound: .seconds(aging),
            paddingShare: [0, 0.1, 0.15, 0.5, 1].randomElement(using: &random)!,
            lengthBuckets: [Array(1...40), Queue.Limits.lengthBuckets(upTo: 40), [8, 16, 40]].randomElement(using: &random)!)
        var queue = Queue(workers: workers, limits: limits)
        var reference = ReferenceQueue(limits: limits, aging: aging, free: Set(0..<workers))
        var now = 0
        var lastID: UInt64 = 0
        var outcomes: [UInt64: Int] = [:]

        for step in 0..<1000 {
            if Int.random(in: 0..<3, using: &random) == 0 { now += Int.random(in: 0...2, using: &random) }
            if Int.random(in: 0..<100, using: &random) == 0 { now += Int.random(in: 0...100, using: &random) }
            var refusals: [Queue.Action] = []
            var mayDispatch = false
            let event: Event
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<55:
                lastID += 1
                let deadline = Int.random(in: 0..<3, using: &random) == 0 ? now + Int.random(in: -1...60, using: &random) : nil
                event = .arrive(
                    lastID, Priority.allCases.randomElement(using: &random)!, length: Int.random(in: 0...40, using: &random),
                    deadline: deadline)
            case 55..<80:
                guard let busy = Set(0..<workers).subtracting(reference.free).sorted().randomElement(using: &random) else { continue }
                event = .free(busy)
            case 80..<90: event = .cancel(UInt64.random(in: 0...(lastID + 1), using: &random))
            case 90..<99: event = .tick
            default: event = step < 850 ? .tick : [.drain, .stop].randomElement(using: &random)!
            }

            func expect(_ ids: [UInt64], _ refusal: Queue.Refusal) { if !ids.isEmpty { refusals.append(.refuse(ids, refusal)) } }
            switch event {
            case .arrive(let id, let priority, let length, let deadline):
                if !reference.takesNew {
                    expect([id], .stopped)
                } else if let deadline, deadline <= now {
                    expect([id], .expired)
                } else {
                    expect(reference.expire(now), .expired)
                    let ofItsClass = reference.waiting.count { $0.priority == priority }
                    if ofItsClass >= limits[priority].waiting && reference.free.isEmpty {
                        expect([id], .full(retryAfter: nil))
                    } else {
                        reference.waiting.append(.init(id: id, priority: priority, length: length, deadline: deadline, arrival: now))
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
                let expected = reference.nextBatch(now)
                guard case .run(let batch)? = batches.popFirst() else {
                    Issue.record("no batch where \(expected.ids) wait and a worker is free")
                    return
                }
                #expect(batch.requests == expected.ids)
                #expect(batch.length == expected.length)
                #expect(reference.free.remove(batch.worker) != nil, "worker \(batch.worker) is busy")
            }
            #expect(batches.isEmpty)
            for priority in Priority.allCases {
                #expect(queue.waiting(priority) == reference.waiting.count { $0.priority == priority })
            }
            #expect(queue.waiting == reference.waiting.count)
            #expect(queue.isDrained == (!reference.takesNew && reference.waiting.isEmpty && reference.free.count == workers))
            if let next = reference.waiting.compactMap(\.deadline).min() {
                #expect(queue.nextDeadline.map { $0 <= .seconds(next) } == true)
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
