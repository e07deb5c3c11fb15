internal import DequeModule
internal import HeapModule

/// Requests of three classes, in batches of like lengths: a state machine without a clock, a lock or I/O.
///
/// Each method is an event; it takes the time and returns what is to be done. It is work-conserving: a free worker takes a batch as soon as
/// there is a request,
/// so batches fill by themselves under load.
///
/// **Order.** A request of a higher class goes first. Within a class the earliest deadline goes first (EDF: where all deadlines can be met,
/// it meets them; Liu and Layland,
/// "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", 1973), then those without a deadline by arrival.
///
/// **Aging.** Neither rule alone keeps a request from waiting for ever, so a request climbs one level for each ``Limits/agingBound`` A it
/// waits. There are four levels: the
/// three classes and, above them, the overdue, which go in the order in which they got there. A request of class c (0 is the highest) is
/// overdue after (c + 1)A.
/// - *What a request waits at most.* Say at most N requests may wait in all (the sum of ``Limits/Bound/waiting``), T is the longest time of
///   a batch, b the fewest
///   rows that ``Limits/efficiency`` gives a batch, G the number of length buckets, W that of workers. Then a request of class c is in a
///   batch, or refused, within
///   **(c + 1)A + (⌈(N / b + G) / W⌉ + 1)T**, whatever else is admitted. For once it is overdue, only those overdue before it go first,
///   fewer than N of them, and each batch that begins has the first
///   of the overdue at its head. That batch takes first the overdue of its head's bucket, in their order: fewer than b of them only where
///   no more are there. So a bucket with n of them heads at most ⌈n / b⌉ batches, all
///   buckets together at most N / b + G. The first begins within T, when a worker is free; then W begin every T. (Where deadlines of the
///   overdue cut
///   batches short, N takes the place of N / b + G: each batch still takes its head.)
/// - *What that costs the classes above.* What becomes overdue or climbs to a level within a time A was waiting when that time began. So of
///   each A at most the sum of the lower
///   classes' ``Limits/Bound/work`` is spent on climbers: with all defaults 2 s of 5 s in the worst case, and nothing while the lower
///   classes' wait stays below A.
///
/// **Batches.** The first in order is the head of the batch. It is filled from the head's level and then from those below it; of each,
/// first with the head's length bucket, then
/// with the nearest. Rows of several buckets go together while padding stays within ``Limits/paddingShare``: of the batch or, where the
/// measured times say that a row costs no more in it than with its like, of all batches so far. So requests of a high class, of which few
/// wait, go together at any length, and much padding is paid for by batches of little.
/// A lower level fills places that would be free, never makes
/// the batch longer, and, while more of a higher level wait, joins only where it costs little time. A batch has no more rows than
/// ``Limits/efficiency`` asks for, and no more than let every row in it meet its deadline.
///
/// **Admission.** A request is refused on arrival where its class is full, by count or by work, or where its predicted finish is after its
/// deadline (see ``finish(of:now:)``). What has expired, was
/// cancelled, or could not meet its deadline even alone in the next batch is never computed.
///
/// An arrival costs O(log n + buckets), a row of a batch O(log n). Times are distances from any fixed origin that the driver chooses.
public struct BatchQueue: Sendable {
    /// Names a request. Of two that are equal in order, the one with the lesser id goes first.
    public typealias RequestID = UInt64

    /// One piece of work.
    public struct Request: Sendable, Hashable {
        /// That of no other request; later ones have greater ids.
        public var id: RequestID
        /// Its class.
        public var priority: Priority
        /// What it takes of a row: 0 to the last of ``Limits/lengthBuckets``.
        public var length: Int
        /// From when on an answer is of no use; nil: it always is.
        public var deadline: Duration?

        /// A request by its parts.
        public init(id: RequestID, priority: Priority = .interactive, length: Int, deadline: Duration? = nil) {
            self.id = id
            self.priority = priority
            self.length = length
            self.deadline = deadline
        }
    }

    /// Requests that are computed together.
    public struct Batch: Sendable, Hashable {
        /// The worker that is to run it, from 0.
        public var worker: Int
        /// Its requests; the head is first.
        public var requests: [RequestID]
        /// The length at which it is computed: one of ``Limits/lengthBuckets``.
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
        /// As many of its class wait as may, by count or by work. After `retryAfter` the work ahead of it should be done; nil: not known.
        case full(retryAfter: Duration?)
        /// Its deadline cannot be met. After `retryAfter` it could have been, if nothing else comes; nil: that would not help.
        case unreachable(retryAfter: Duration?)
        /// Its deadline passed.
        case expired
        /// Its caller left.
        case cancelled
        /// The queue takes nothing new, or was stopped.
        case stopped
    }

    /// What is to be done.
    public enum Action: Sendable, Hashable {
        /// Run this batch, then tell ``BatchQueue/workerFree(_:failed:now:)``.
        case run(Batch)
        /// Answer these requests with a refusal; the queue has forgotten them.
        case refuse([RequestID], Refusal)
    }

    /// A request that waits.
    struct Waiting: Sendable {
        var priority: Priority
        /// 0: overdue; then the classes from the highest.
        var level: Int
        /// Its place in the order of its level.
        var entry: Line.Entry
        var bucket: Int
        var length: Int
        /// ``never`` where there is none.
        var deadline: Duration
    }

    /// What a busy worker does.
    struct Running: Sendable {
        var started: Duration
        var rows: Int
        var bucket: Int
        var expectedEnd: Duration
    }

    /// A point in time at which something happens to a request.
    private struct Moment: Comparable, Sendable {
        var at: Duration
        var id: RequestID

        static func < (a: Moment, b: Moment) -> Bool { a.at == b.at ? a.id < b.id : a.at < b.at }
    }

    static let levels = Priority.allCases.count + 1
    /// Later than every deadline.
    static let never = Duration(secondsComponent: .max, attosecondsComponent: 0)
    /// How often a free worker computes a request that is predicted to be late: where measured times have become too high, nothing else
    /// would ever correct them.
    static let probeInterval = Duration.seconds(1)
    /// Each so many batches, one may have twice the rows that ``Limits/efficiency`` asks for: times of larger batches would grow stale if
    /// none were computed.
    static let trialInterval = 128
    /// Within what time ``shares`` forget.
    static let memory = Duration.seconds(1)

    /// What the queue may hold, and how it batches.
    public let limits: Limits
    /// How long batches take. The queue learns from its own batches.
    public private(set) var times: ServiceTimes

    /// What waits, by level and then by bucket.
    var lines: [Line]
    /// How many wait, by level.
    var levelCounts = Array(repeating: 0, count: Self.levels)
    /// Every request that waits.
    var requests: [RequestID: Waiting] = [:]
    /// How many wait, by class and then by bucket.
    var held: [Int]
    /// The most rows of a batch by bucket, as ``Limits/efficiency`` asks.
    var rowLimits: [Int]
    /// What each worker does; nil: it is free.
    var workers: [Running?]
    var freeWorkers: [Int]
    /// What share of the workers' time each class takes of late: by class, at the time of ``sharesAt``.
    var shares = Array(repeating: 0.0, count: Priority.allCases.count)
    var sharesAt = Duration.zero
    /// How many batches there were.
    var batches = 0
    /// How many tokens of padding may be computed beyond ``Limits/paddingShare`` of the next batch, because batches before it had less: at
    /// most as many as the greatest batch has tokens.
    var paddingCredit = 0.0

    /// When requests climb from a level, by level; in the order of time. Some of them no longer wait.
    private var climbs: [Deque<Moment>]
    /// Deadlines of waiting requests, and of some that no longer wait.
    private var deadlines = Heap<Moment>()
    private var nextProbe: Duration?
    private var takesNew = true

    /// An empty queue for workers 0 to `workers` - 1, all free, which knows nothing of its times yet.
    public init(workers: Int, limits: Limits = Limits()) {
        precondition(workers >= 1, "a queue needs a worker")
        self.limits = limits
        let buckets = limits.lengthBuckets.count
        times = ServiceTimes(batchSize: limits.batchSize, lengths: limits.lengthBuckets)
        lines = Array(repeating: Line(), count: Self.levels * buckets)
        held = Array(repeating: 0, count: Priority.allCases.count * buckets)
        rowLimits = Array(repeating: limits.batchSize, count: buckets)
        self.workers = Array(repeating: nil, count: workers)
        freeWorkers = Array((0..<workers).reversed())
        climbs = Array(repeating: [], count: Self.levels)
    }

    /// How many requests wait for a worker.
    public var waiting: Int { requests.count }

    /// How many requests of a class wait for a worker.
    public func waiting(_ priority: Priority) -> Int {
        let buckets = limits.lengthBuckets.count
        return held[priority.rawValue * buckets..<(priority.rawValue + 1) * buckets].reduce(0, +)
    }

    /// The estimated compute time of what waits of a class, on one worker and in full batches; zero while nothing was measured.
    public func work(_ priority: Priority) -> Duration {
        var work = Duration.zero
        for bucket in limits.lengthBuckets.indices {
            let count = held[priority.rawValue * limits.lengthBuckets.count + bucket]
            if count > 0 { work += rowTime(bucket) * count }
        }
        return work
    }

    /// How many workers run a batch.
    public var busyWorkers: Int { workers.count - freeWorkers.count }

    /// Whether the queue takes nothing new, nothing waits and no worker is busy.
    public var isDrained: Bool { !takesNew && waiting == 0 && freeWorkers.count == workers.count }

    /// When to call ``tick(now:)`` at the latest; nil: nothing that waits has a deadline. May be earlier than need be.
    public var nextDeadline: Duration? { deadlines.min?.at }

    /// Learns how long a batch took that the queue did not form, such as one of a warm-up.
    public mutating func record(rows: Int, length: Int, duration: Duration) {
        times.record(rows: rows, length: length, duration: duration)
        for bucket in rowLimits.indices { rowLimits[bucket] = times.economicalRows(bucket: bucket, efficiency: limits.efficiency) }
    }

    /// A request has come.
    public mutating func arrive(_ request: Request, now: Duration) -> [Action] {
        guard takesNew else { return [.refuse([request.id], .stopped)] }
        if let deadline = request.deadline, deadline <= now { return [.refuse([request.id], .expired)] }
        var actions: [Action] = []
        catchUp(now, &actions)
        let probes = mayProbe(request, now: now)
        if !probes, let refusal = refusal(of: request, now: now) {
            actions.append(.refuse([request.id], refusal))
            return actions
        }
        if probes { nextProbe = now + Self.probeInterval }
        insert(request, now: now)
        dispatch(now, evenLate: probes ? request.id : nil, &actions)
        return actions
    }

    /// A caller has left. Nothing is done where its request is being computed, or was answered.
    public mutating func cancel(_ id: RequestID) -> [Action] { remove(id) == nil ? [] : [.refuse([id], .cancelled)] }

    /// A worker has done its batch, or `failed` to: then its time teaches nothing.
    public mutating func workerFree(_ worker: Int, failed: Bool = false, now: Duration) -> [Action] {
        guard let running = workers[worker] else { preconditionFailure("worker \(worker) had no batch") }
        workers[worker] = nil
        freeWorkers.append(worker)
        if !failed {
            times.record(rows: running.rows, length: limits.lengthBuckets[running.bucket], duration: now - running.started)
            rowLimits[running.bucket] = times.economicalRows(bucket: running.bucket, efficiency: limits.efficiency)
        }
        var actions: [Action] = []
        catchUp(now, &actions)
        dispatch(now, evenLate: nil, &actions)
        return actions
    }

    /// Time has passed.
    public mutating func tick(now: Duration) -> [Action] {
        var actions: [Action] = []
        catchUp(now, &actions)
        return actions
    }

    /// Nothing new is taken from now on; what waits is still computed.
    public mutating func drain() { takesNew = false }

    /// Nothing new is taken from now on, and what waits is refused.
    public mutating func stop() -> [Action] {
        takesNew = false
        let ids = requests.keys.sorted()
        for id in ids { remove(id) }
        return ids.isEmpty ? [] : [.refuse(ids, .stopped)]
    }

    /// The compute time of one row in a full batch; zero while nothing was measured.
    func rowTime(_ bucket: Int) -> Duration {
        (times.estimate(rows: rowLimits[bucket], bucket: bucket) ?? .zero) / rowLimits[bucket]
    }

    /// Whether a request is let through although it will be late, because the times may be wrong. Never where others wait.
    private func mayProbe(_ request: Request, now: Duration) -> Bool {
        guard !freeWorkers.isEmpty, let deadline = request.deadline, finish(of: request, now: now) > deadline else { return false }
        return nextProbe.map { now >= $0 } ?? true
    }

    private mutating func insert(_ request: Request, now: Duration) {
        let level = request.priority.rawValue + 1
        let bucket = times.bucket(request.length)
        let deadline = request.deadline ?? Self.never
        let entry = Line.Entry(key: deadline, id: request.id)
        requests[request.id] = Waiting(
            priority: request.priority, level: level, entry: entry, bucket: bucket, length: request.length, deadline: deadline)
        held[request.priority.rawValue * limits.lengthBuckets.count + bucket] += 1
        lines[level * limits.lengthBuckets.count + bucket].insert(entry)
        levelCounts[level] += 1
        climbs[level].append(Moment(at: now + limits.agingBound, id: request.id))
        if request.deadline != nil { deadlines.insert(Moment(at: deadline, id: request.id)) }
    }

    /// Takes a request out of the queue; nil where it does not wait.
    @discardableResult
    mutating func remove(_ id: RequestID) -> Waiting? {
        guard let request = requests.removeValue(forKey: id) else { return nil }
        let buckets = limits.lengthBuckets.count
        lines[request.level * buckets + request.bucket].remove(request.entry)
        levelCounts[request.level] -= 1
        held[request.priority.rawValue * buckets + request.bucket] -= 1
        return request
    }

    /// Lets requests climb whose time has come, and refuses those whose deadline has passed.
    private mutating func catchUp(_ now: Duration, _ actions: inout [Action]) {
        // From the lowest level on, so that one that has waited long climbs several. What is appended is later than what is there: each is
        // the time of its climb plus the
        // same bound, and what climbed or came at an earlier event did so earlier.
        for level in (1..<Self.levels).reversed() {
            while let next = climbs[level].first {
                guard var request = requests[next.id] else {
                    climbs[level].removeFirst()
                    continue
                }
                guard next.at <= now else { break }
                climbs[level].removeFirst()
                lines[level * limits.lengthBuckets.count + request.bucket].remove(request.entry)
                request.level = level - 1
                request.entry.key = request.level == 0 ? next.at : request.deadline
                lines[request.level * limits.lengthBuckets.count + request.bucket].insert(request.entry)
                levelCounts[level] -= 1
                levelCounts[request.level] += 1
                requests[next.id] = request
                if request.level > 0 { climbs[request.level].append(Moment(at: next.at + limits.agingBound, id: next.id)) }
            }
        }

        // Deadlines of those that no longer wait are swept out when they are the greater part.
        if deadlines.count > 2 * waiting + 64 { deadlines = Heap(deadlines.unordered.filter { requests[$0.id] != nil }) }
        var expired: [RequestID] = []
        while let next = deadlines.min, next.at <= now || requests[next.id] == nil {
            deadlines.removeMin()
            if remove(next.id) != nil { expired.append(next.id) }
        }
        if !expired.isEmpty { actions.append(.refuse(expired, .expired)) }
    }

    /// Requests of one level and one bucket, in their order.
    struct Line: Sendable {
        /// The deadline (``BatchQueue/never`` where there is none), or when it became overdue; then arrival.
        struct Entry: Comparable, Sendable {
            var key: Duration
            var id: RequestID

            static func < (a: Entry, b: Entry) -> Bool { a.key == b.key ? a.id < b.id : a.key < b.key }
        }

        private(set) var entries: Deque<Entry> = []

        /// How many come before `entry`.
        func count(before entry: Entry) -> Int {
            var low = 0
            var high = entries.count
            while low < high {
                let middle = (low + high) / 2
                if entries[middle] < entry { low = middle + 1 } else { high = middle }
            }
            return low
        }

        mutating func insert(_ entry: Entry) { entries.insert(entry, at: count(before: entry)) }

        mutating func remove(_ entry: Entry) { entries.remove(at: count(before: entry)) }
    }
}
