import Batching
import Testing

/// A queue, its workers and its callers in virtual time. It checks each action of the queue by what it knows of the past, without asking
/// the queue.
struct World {
    /// A request and what became of it.
    struct Sent {
        var request: Queue.Request
        var arrival: Duration
        var answers = 0
        var start: Duration?
        var end: Duration?
        var refusal: Queue.Refusal?
        var level = 0
    }

    var queue: Queue
    var now = Duration.zero
    /// By id, from 1.
    var sent: [Sent] = []
    /// What each worker computes, and until when.
    var running: [(batch: Queue.Batch, end: Duration)?]
    /// Those that wait.
    var waiting: Set<UInt64> = []
    var batches: [Queue.Batch] = []
    /// What was computed, and how much of it was padding.
    private var computedTokens = 0
    private var paddingTokens = 0
    /// How long a batch takes.
    let duration: (_ rows: Int, _ length: Int) -> Duration
    /// Whether each batch is checked against all that waits.
    private let checksOrder: Bool

    init(
        workers: Int, limits: Queue.Limits, warm: Bool = true, checksOrder: Bool = true,
        duration: @escaping (_ rows: Int, _ length: Int) -> Duration
    ) {
        queue = Queue(workers: workers, limits: limits)
        running = Array(repeating: nil, count: workers)
        self.checksOrder = checksOrder
        self.duration = duration
        guard warm else { return }
        let times = queue.times
        for rows in times.rows {
            for length in times.lengths { queue.record(rows: rows, length: length, duration: duration(rows, length)) }
        }
    }

    /// 0: overdue; then the classes.
    func level(_ sent: Sent) -> Int { max(0, sent.request.priority.rawValue + 1 - Int((now - sent.arrival) / queue.limits.agingBound)) }

    /// Sends a request; `deadline` is its time from now.
    mutating func send(_ priority: Priority, length: Int, deadline: Duration? = nil) {
        let id = UInt64(sent.count + 1)
        let request = Queue.Request(id: id, priority: priority, length: length, deadline: deadline.map { now + $0 })
        let ofItsClass = queue.waiting(priority)
        sent.append(Sent(request: request, arrival: now))
        waiting.insert(id)
        let isBusy = running.allSatisfy { $0 != nil }
        apply(queue.arrive(request, now: now))
        switch sent[Int(id) - 1].refusal {
        case .full:
            #expect(isBusy, "full, and a worker is free")
            #expect(ofItsClass >= queue.limits[priority].waiting || queue.work(priority) > queue.limits[priority].work - .seconds(1))
        case .unreachable: #expect(deadline != nil)
        default: break
        }
    }

    mutating func cancel(_ id: UInt64) { apply(queue.cancel(id)) }

    /// Lets time pass, and batches end when they end.
    mutating func advance(to time: Duration) {
        while let worker = running.indices.filter({ running[$0].map { $0.end <= time } ?? false }).min(by: {
            running[$0]!.end < running[$1]!.end
        }) {
            guard let done = running[worker] else { return }
            tick(until: done.end)
            now = done.end
            for id in done.batch.requests { sent[Int(id) - 1].end = now }
            running[worker] = nil
            apply(queue.workerFree(worker, now: now))
        }
        tick(until: time)
        now = time
    }

    /// Lets everything end.
    mutating func finish() {
        while let end = running.compactMap({ $0?.end }).min() { advance(to: end) }
        #expect(waiting.isEmpty, "requests wait, and no worker runs")
        #expect(sent.allSatisfy { $0.answers == 1 }, "a request was lost or answered twice")
    }

    private mutating func tick(until time: Duration) {
        while let next = queue.nextDeadline, next <= time {
            now = max(now, next)
            apply(queue.tick(now: now))
        }
    }

    private mutating func apply(_ actions: [Queue.Action]) {
        for action in actions {
            switch action {
            case .refuse(let ids, let refusal):
                for id in ids {
                    #expect(waiting.remove(id) != nil, "\(id) does not wait")
                    sent[Int(id) - 1].answers += 1
                    sent[Int(id) - 1].refusal = refusal
                    if refusal == .expired { #expect(sent[Int(id) - 1].request.deadline.map { $0 <= now } == true) }
                }
            case .run(let batch): run(batch)
            }
        }
        #expect(waiting.isEmpty || running.allSatisfy { $0 != nil }, "a worker is free, and something waits")
        #expect(queue.waiting == waiting.count)
    }

    private mutating func run(_ batch: Queue.Batch) {
        #expect(running[batch.worker] == nil)
        #expect((1...queue.limits.batchSize).contains(batch.requests.count))
        let rows = batch.requests.map { sent[Int($0) - 1] }
        for id in batch.requests {
            #expect(waiting.remove(id) != nil, "\(id) does not wait")
            sent[Int(id) - 1].answers += 1
            sent[Int(id) - 1].start = now
            sent[Int(id) - 1].level = level(sent[Int(id) - 1])
        }
        // Padding is within the share, of the batch or of all so far, unless all rows are of the same bucket.
        let buckets = Set(rows.map { row in queue.limits.lengthBuckets.first { $0 >= row.request.length } ?? 0 })
        let padded = rows.count * batch.length
        let padding = padded - rows.map(\.request.length).reduce(0, +)
        computedTokens += padded
        paddingTokens += padding
        let share = min(Double(padding) / Double(padded), Double(paddingTokens) / Double(computedTokens))
        #expect(buckets.max() == batch.length)
        #expect(buckets.count == 1 || share <= queue.limits.paddingShare + 1e-9)
        // Every row should meet its deadline, by what was known.
        if let likely = queue.times.ceiling(rows: rows.count, length: batch.length), !isProbe(rows) {
            for row in rows { #expect(row.request.deadline.map { now + likely <= $0 } ?? true, "\(row.request.id) cannot be in time") }
        }
        // None that waits goes before the head.
        let head = rows[0]
        for id in checksOrder ? waiting : [] {
            let other = sent[Int(id) - 1]
            let levels = (level(other), level(head))
            #expect(levels.0 >= levels.1, "\(id) is overtaken by a lower class")
            if levels.0 == levels.1, levels.0 > 0 {
                #expect(
                    (other.request.deadline ?? .seconds(1 << 40), id) > (head.request.deadline ?? .seconds(1 << 40), head.request.id),
                    "\(id) has an earlier deadline")
            }
        }
        batches.append(batch)
        running[batch.worker] = (batch, now + duration(rows.count, batch.length))
    }

    /// A single row that is known to be late: tried so that times can be corrected.
    private func isProbe(_ rows: [Sent]) -> Bool { rows.count == 1 && rows[0].arrival == now }
}

extension World {
    /// From arrival to answer of those of a class that were computed, in order.
    func latencies(_ priority: Priority) -> [Duration] {
        sent.filter { $0.request.priority == priority }.compactMap { sent in sent.end.map { $0 - sent.arrival } }.sorted()
    }

    /// How many were computed and too late.
    var wasted: Int { sent.count { sent in sent.end.map { end in sent.request.deadline.map { $0 < end } ?? false } ?? false } }
}
