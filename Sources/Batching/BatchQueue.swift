internal import DequeModule
internal import HeapModule

/// First come, first served, in batches of like lengths: a state machine without a clock, a lock or I/O.
///
/// Each method is an event; it takes the time and returns what is to be done. A free worker takes a batch as soon as there is a request, so batches fill by
/// themselves under load. A batch holds the request that waits longest, and then those whose lengths are nearest to its length, as long as padding stays
/// within ``Limits/paddingShare``. What expired or was cancelled never gets into a batch.
public struct BatchQueue<Instant: InstantProtocol>: Sendable where Instant: Sendable {
    /// Names a request. Later requests have greater ids.
    public typealias RequestID = UInt64

    /// What the queue may hold.
    public struct Limits: Sendable, Hashable {
        /// The most requests in a batch; at least 1.
        public var batchSize: Int
        /// The most requests that wait for a worker; at least 0.
        public var waiting: Int
        /// The greatest share of a batch that may be padding, 0 to 1. The share is 1 - (sum of lengths) / (rows x greatest length).
        public var paddingShare: Double

        /// Limits by their values.
        public init(batchSize: Int = 32, waiting: Int = 1024, paddingShare: Double = 0.15) {
            precondition(
                batchSize >= 1 && waiting >= 0 && (0...1).contains(paddingShare), "a batch has 1 request or more, and padding is a share")
            self.batchSize = batchSize
            self.waiting = waiting
            self.paddingShare = paddingShare
        }
    }

    /// One piece of work.
    public struct Request: Sendable, Hashable {
        /// Greater than that of every request before.
        public var id: RequestID
        /// What it takes of a row; at least 0.
        public var length: Int
        /// From when on an answer is of no use; nil: it always is.
        public var deadline: Instant?

        /// A request by its parts.
        public init(id: RequestID, length: Int, deadline: Instant? = nil) {
            self.id = id
            self.length = length
            self.deadline = deadline
        }
    }

    /// Requests that are computed together.
    public struct Batch: Sendable, Hashable {
        /// The worker that is to run it, from 0.
        public var worker: Int
        /// Its requests; the one that waited longest is first.
        public var requests: [RequestID]
        /// The greatest length of them.
        public var length: Int

        /// A batch by its parts.
        public init(worker: Int, requests: [RequestID], length: Int) {
            self.worker = worker
            self.requests = requests
            self.length = length
        }
    }

    /// Why a request was not computed.
    public enum Refusal: Sendable, Hashable {
        /// ``Limits/waiting`` requests wait already.
        case full
        /// Its deadline passed.
        case expired
        /// Its caller left.
        case cancelled
        /// The queue takes nothing new, or was stopped.
        case stopped
    }

    /// What is to be done.
    public enum Action: Sendable, Hashable {
        /// Run this batch, then tell ``BatchQueue/workerFree(_:now:)``.
        case run(Batch)
        /// Answer these requests with a refusal; the queue has forgotten them.
        case refuse([RequestID], Refusal)
    }

    /// What the queue may hold.
    public let limits: Limits

    /// Waiting requests by length; each line is in the order of arrival.
    private var lines: [Deque<RequestID>] = []
    /// The length of every waiting request.
    private var lengths: [RequestID: Int] = [:]
    /// Deadlines of waiting requests, and of some that no longer wait.
    private var deadlines = Heap<Deadline>()
    private var freeWorkers: [Int]
    private let workers: Int
    private var takesNew = true

    /// An empty queue for workers 0 to `workers` - 1, all free.
    public init(workers: Int, limits: Limits = Limits()) {
        precondition(workers >= 1, "a queue needs a worker")
        self.workers = workers
        self.limits = limits
        freeWorkers = Array((0..<workers).reversed())
    }

    /// How many requests wait for a worker.
    public var waiting: Int { lengths.count }

    /// Whether the queue takes nothing new, nothing waits and no worker is busy.
    public var isDrained: Bool { !takesNew && waiting == 0 && freeWorkers.count == workers }

    /// When to call ``tick(now:)`` at the latest; nil: nothing that waits has a deadline. May be earlier than need be.
    public var nextDeadline: Instant? { deadlines.min?.instant }

    /// A request has come.
    public mutating func arrive(_ request: Request, now: Instant) -> [Action] {
        guard takesNew else { return [.refuse([request.id], .stopped)] }
        if let deadline = request.deadline, deadline <= now { return [.refuse([request.id], .expired)] }
        var actions = expire(now)
        guard waiting < limits.waiting || !freeWorkers.isEmpty else { return actions + [.refuse([request.id], .full)] }
        while lines.count <= request.length { lines.append([]) }
        lines[request.length].append(request.id)
        lengths[request.id] = request.length
        if let deadline = request.deadline { deadlines.insert(Deadline(instant: deadline, id: request.id)) }
        actions += dispatch()
        return actions
    }

    /// A caller has left. Nothing is done where its request is being computed, or was answered.
    public mutating func cancel(_ id: RequestID) -> [Action] {
        guard remove(id) else { return [] }
        return [.refuse([id], .cancelled)]
    }

    /// A worker has done its batch.
    public mutating func workerFree(_ worker: Int, now: Instant) -> [Action] {
        precondition((0..<workers).contains(worker) && !freeWorkers.contains(worker), "worker \(worker) had no batch")
        freeWorkers.append(worker)
        return expire(now) + dispatch()
    }

    /// Time has passed.
    public mutating func tick(now: Instant) -> [Action] { expire(now) }

    /// Nothing new is taken from now on; what waits is still computed.
    public mutating func drain() { takesNew = false }

    /// Nothing new is taken from now on, and what waits is refused.
    public mutating func stop() -> [Action] {
        takesNew = false
        let ids = lengths.keys.sorted()
        lines = []
        lengths = [:]
        deadlines = Heap()
        return ids.isEmpty ? [] : [.refuse(ids, .stopped)]
    }

    /// Refuses what has expired.
    private mutating func expire(_ now: Instant) -> [Action] {
        // Those that no longer wait are swept out when they are the greater part.
        if deadlines.count > 2 * waiting + 64 { deadlines = Heap(deadlines.unordered.filter { lengths[$0.id] != nil }) }
        var expired: [RequestID] = []
        while let next = deadlines.min, next.instant <= now || lengths[next.id] == nil {
            deadlines.removeMin()
            if remove(next.id) { expired.append(next.id) }
        }
        return expired.isEmpty ? [] : [.refuse(expired, .expired)]
    }

    /// Takes a request out of its line.
    private mutating func remove(_ id: RequestID) -> Bool {
        guard let length = lengths.removeValue(forKey: id) else { return false }
        var low = 0
        var high = lines[length].count
        while low < high {
            let middle = (low + high) / 2
            if lines[length][middle] < id { low = middle + 1 } else { high = middle }
        }
        lines[length].remove(at: low)
        return true
    }

    /// Gives free workers what waits.
    private mutating func dispatch() -> [Action] {
        var actions: [Action] = []
        while !freeWorkers.isEmpty, waiting > 0 {
            let worker = freeWorkers.removeLast()
            actions.append(.run(nextBatch(for: worker)))
        }
        return actions
    }

    /// The request that waits longest, and then, while there is room, the nearest length: the shorter of two equally near, the older of two of one length.
    /// Where a request would push padding over its limit, so would those beyond it: that side is done.
    private mutating func nextBatch(for worker: Int) -> Batch {
        var origin = 0
        for (length, line) in lines.enumerated() {
            guard let first = line.first else { continue }
            if let oldest = lines[origin].first, oldest <= first { continue }
            origin = length
        }
        var batch = Batch(worker: worker, requests: [], length: origin)
        var total = 0
        var shorter = origin
        var longer = origin + 1
        while batch.requests.count < limits.batchSize {
            while shorter >= 0, lines[shorter].isEmpty { shorter -= 1 }
            while longer < lines.count, lines[longer].isEmpty { longer += 1 }
            let takesShorter: Bool
            switch (shorter >= 0, longer < lines.count) {
            case (false, false): return batch
            case (true, false): takesShorter = true
            case (false, true): takesShorter = false
            case (true, true): takesShorter = origin - shorter <= longer - origin
            }
            let length = takesShorter ? shorter : longer
            let rows = batch.requests.count + 1
            let padded = rows * max(batch.length, length)
            guard Double(padded - total - length) <= limits.paddingShare * Double(padded) else {
                if takesShorter { shorter = -1 } else { longer = lines.count }
                continue
            }
            let id = lines[length].removeFirst()
            lengths[id] = nil
            batch.requests.append(id)
            batch.length = max(batch.length, length)
            total += length
        }
        return batch
    }

    private struct Deadline: Comparable, Sendable {
        var instant: Instant
        var id: RequestID

        static func < (a: Deadline, b: Deadline) -> Bool { a.instant == b.instant ? a.id < b.id : a.instant < b.instant }
    }
}
