import Batching

/// What decides who is computed when.
protocol Policy {
    mutating func arrive(_ request: BatchQueue.Request, now: Duration) -> [BatchQueue.Action]
    mutating func workerFree(_ worker: Int, now: Duration) -> [BatchQueue.Action]
    mutating func tick(now: Duration) -> [BatchQueue.Action]
    var nextDeadline: Duration? { get }
}

/// Kefu's own.
extension BatchQueue: Policy {
    mutating func workerFree(_ worker: Int, now: Duration) -> [Action] { workerFree(worker, failed: false, now: now) }
}

/// What the reported load test is taken to have had: first come, first served, at most so many rows a batch whatever their lengths, one
/// worker; it knows neither classes nor
/// deadlines, and refuses when so many wait.
struct FixedBatches: Policy {
    let batchSize: Int
    let waitingLimit: Int
    private var waiting: [BatchQueue.Request] = []
    private var first = 0
    private var isBusy = false

    init(batchSize: Int, waitingLimit: Int) {
        self.batchSize = batchSize
        self.waitingLimit = waitingLimit
    }

    var nextDeadline: Duration? { nil }

    mutating func tick(now: Duration) -> [BatchQueue.Action] { [] }

    mutating func arrive(_ request: BatchQueue.Request, now: Duration) -> [BatchQueue.Action] {
        guard waiting.count - first < waitingLimit else { return [.refuse([request.id], .full(retryAfter: nil))] }
        waiting.append(request)
        return isBusy ? [] : next()
    }

    mutating func workerFree(_ worker: Int, now: Duration) -> [BatchQueue.Action] {
        isBusy = false
        return next()
    }

    private mutating func next() -> [BatchQueue.Action] {
        let batch = waiting[first...].prefix(batchSize)
        guard let length = batch.map(\.length).max() else { return [] }
        first += batch.count
        let ids = batch.map(\.id)
        if first > 4096 {
            waiting.removeFirst(first)
            first = 0
        }
        isBusy = true
        return [.run(.init(worker: 0, requests: ids, length: length))]
    }
}
