internal import Synchronization

/// Runs what callers submit in batches: ``BatchQueue`` with a clock, a lock and waiting callers around it.
public final class Batcher<C: Clock, Input: Sendable, Output: Sendable>: Sendable where C.Duration == Duration, C.Instant: Sendable {
    /// Computes one batch: the worker, from 0; the inputs; the length at which they are computed. Gives one output an input, in the same
    /// order.
    /// Throws ``BatchTooLarge`` where memory does not suffice.
    public typealias Work = @Sendable (_ worker: Int, _ inputs: [Input], _ length: Int) async throws -> [Output]

    private typealias Answer = Result<Batched<Output>, BatchingError>

    private struct Caller {
        var input: Input
        var priority: Priority
        var length: Int
        var deadline: Duration?
        var arrival: Duration
        var continuation: CheckedContinuation<Answer, Never>
    }

    /// A row of a batch that runs.
    private struct Row {
        var id: BatchQueue.RequestID
        var input: Input
    }

    private struct State {
        var queue: BatchQueue
        var lastID: BatchQueue.RequestID = 0
        /// Those who wait for an answer, whether their request waits or is computed.
        var callers: [BatchQueue.RequestID: Caller] = [:]
        /// When the timer will fire, and what ends it sooner.
        var timer: (at: Duration, task: Task<Void, Never>)?
        var drainers: [CheckedContinuation<Void, Never>] = []
    }

    /// What is done after the lock is released.
    private enum Effect {
        case run(BatchQueue.Batch, [Row], BatchEvent.Start?, start: Duration)
        case answer(Caller, Answer)
        case drained(CheckedContinuation<Void, Never>)
    }

    private let clock: C
    /// The queue's times are distances from here.
    private let origin: C.Instant
    private let observe: (@Sendable (BatchEvent) -> Void)?
    private let work: Work
    private let limits: BatchQueue.Limits
    private let state: Mutex<State>

    /// A batcher whose workers are free.
    ///
    /// - Parameters:
    ///   - workers: How many batches are computed at a time.
    ///   - observe: Told what happens, on whatever thread it happens, never while a lock is held. It must be quick.
    ///   - work: Computes a batch.
    public init(
        workers: Int, limits: BatchQueue.Limits, clock: C, observe: (@Sendable (BatchEvent) -> Void)? = nil, work: @escaping Work
    ) {
        self.clock = clock
        origin = clock.now
        self.observe = observe
        self.work = work
        self.limits = limits
        state = Mutex(State(queue: BatchQueue(workers: workers, limits: limits)))
    }

    deinit {
        state.withLock { $0.timer?.task.cancel() }
    }

    /// How many inputs wait for a worker.
    public var waiting: Int { state.withLock { $0.queue.waiting } }

    /// What waits and runs now.
    public var statistics: BatchStatistics {
        state.withLock { state in
            BatchStatistics(
                waiting: Dictionary(uniqueKeysWithValues: Priority.allCases.map { ($0, state.queue.waiting($0)) }),
                work: Dictionary(uniqueKeysWithValues: Priority.allCases.map { ($0, state.queue.work($0)) }),
                busyWorkers: state.queue.busyWorkers)
        }
    }

    /// How long batches take, as far as it is known.
    public var times: ServiceTimes { state.withLock { $0.queue.times } }

    /// Learns how long a batch took that was computed elsewhere, such as in a warm-up.
    public func record(rows: Int, length: Int, duration: Duration) {
        state.withLock { $0.queue.record(rows: rows, length: length, duration: duration) }
    }

    /// Submits one input and waits for its output. A caller that is cancelled is answered at once.
    ///
    /// - Parameters:
    ///   - length: What the input takes of a row: 0 to the last of the limits' length buckets.
    ///   - priority: Its class.
    ///   - deadline: When the output is of no use any more. What is predicted to be late is refused at once; a request that waits is
    ///   answered when its deadline passes;
    ///     one that is being computed gets its output, if late.
    /// - Throws: ``BatchingError``.
    public func submit(
        _ input: Input, length: Int, priority: Priority = .interactive, deadline: C.Instant? = nil
    ) async throws(BatchingError) -> Batched<Output> {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        let deadline = deadline.map { origin.duration(to: $0) }
        observe?(.arrived(priority))
        let answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                transition { state, now in
                    state.callers[id] = Caller(
                        input: input, priority: priority, length: length, deadline: deadline, arrival: now, continuation: continuation)
                    // Where the cancellation handler ran before this, it found nothing.
                    guard !Task.isCancelled else { return [.refuse([id], .cancelled)] }
                    return state.queue.arrive(.init(id: id, priority: priority, length: length, deadline: deadline), now: now)
                }
            }
        } onCancel: {
            transition { state, _ in
                let actions = state.queue.cancel(id)
                return actions.isEmpty && state.callers[id] != nil ? [.refuse([id], .cancelled)] : actions
            }
        }
        return try answer.get()
    }

    /// Takes nothing new, and returns when all that was submitted is answered.
    public func drain() async {
        await withCheckedContinuation { continuation in
            transition { state, _ in
                state.queue.drain()
                state.drainers.append(continuation)
                return []
            }
        }
    }

    /// Takes nothing new, and answers what waits with `.stopped`. Batches under way are computed to their end.
    public func stop() {
        transition { state, _ in state.queue.stop() }
    }

    private var now: Duration { origin.duration(to: clock.now) }

    /// Brings an event to the queue and does what it says.
    private func transition(_ event: (inout State, Duration) -> [BatchQueue.Action]) {
        let effects = state.withLock { state in
            let now = now
            let actions = event(&state, now)
            var effects: [Effect] = []
            for action in actions {
                switch action {
                case .run(let batch):
                    let rows = batch.requests.compactMap { id in state.callers[id].map { Row(id: id, input: $0.input) } }
                    effects.append(.run(batch, rows, observe == nil ? nil : report(batch, state.callers, now), start: now))
                case .refuse(let ids, let refusal):
                    for id in ids {
                        guard let caller = state.callers.removeValue(forKey: id) else { continue }
                        effects.append(.answer(caller, .failure(error(refusal, caller.priority, state.queue))))
                    }
                }
            }
            if !state.drainers.isEmpty, state.queue.isDrained {
                effects += state.drainers.map { .drained($0) }
                state.drainers = []
            }
            setTimer(&state)
            return effects
        }
        for effect in effects {
            switch effect {
            case .run(let batch, let rows, let report, let start):
                if let report { observe?(.started(report)) }
                Task.detached { await self.run(batch, rows, start: start) }
            case .answer(let caller, let answer):
                if case .failure(let error) = answer { observe?(.refused(caller.priority, error.code)) }
                caller.continuation.resume(returning: answer)
            case .drained(let continuation): continuation.resume()
            }
        }
    }

    private func report(_ batch: BatchQueue.Batch, _ callers: [BatchQueue.RequestID: Caller], _ now: Duration) -> BatchEvent.Start {
        var start = BatchEvent.Start(worker: batch.worker, rows: [], tokens: 0, length: batch.length)
        for id in batch.requests {
            guard let caller = callers[id] else { continue }
            start.rows.append(.init(priority: caller.priority, queue: now - caller.arrival))
            start.tokens += caller.length
        }
        return start
    }

    private func run(_ batch: BatchQueue.Batch, _ rows: [Row], start: Duration) async {
        var isWhole = true
        var results: [(rows: ArraySlice<Row>, outputs: Result<[Output], BatchingError>)] = []
        do {
            results.append((rows[...], .success(try await compute(batch, rows[...]))))
        } catch  where error.code == .tooLarge && rows.count > 1 {
            isWhole = false
            for half in [rows.prefix(rows.count / 2), rows.suffix(from: rows.count / 2)] { results += await retry(batch, half) }
        } catch {
            isWhole = false
            results.append((rows[...], .failure(error)))
        }

        let end = now
        let answers = state.withLock { state in
            results.flatMap { rows, outputs in
                rows.enumerated().compactMap { index, row in
                    state.callers.removeValue(forKey: row.id).map { caller -> (Caller, Answer) in
                        let answer = outputs.map { outputs in
                            Batched(
                                output: outputs[index], queue: start - caller.arrival, compute: end - start, batchSize: rows.count,
                                length: batch.length)
                        }
                        return (caller, answer)
                    }
                }
            }
        }
        for (caller, answer) in answers { caller.continuation.resume(returning: answer) }
        if let observe {
            let failed = results.reduce(0) { sum, result in (try? result.outputs.get()) == nil ? sum + result.rows.count : sum }
            observe(
                .finished(.init(worker: batch.worker, rows: rows.count, failed: failed, length: batch.length, compute: end - start)))
        }
        transition { [isWhole] state, now in state.queue.workerFree(batch.worker, failed: !isWhole, now: now) }
    }

    /// Computes half of a batch that was too large. Who left or whose deadline has passed meanwhile is not computed.
    private func retry(_ batch: BatchQueue.Batch, _ half: ArraySlice<Row>) async -> [(
        rows: ArraySlice<Row>, outputs: Result<[Output], BatchingError>
    )] {
        let now = now
        let isLive = state.withLock { state in
            half.map { row in state.callers[row.id].map { caller in caller.deadline.map { $0 > now } ?? true } ?? false }
        }
        let live = zip(half, isLive).filter(\.1).map(\.0)[...]
        let over = zip(half, isLive).filter { !$0.1 }.map(\.0)[...]
        var results: [(rows: ArraySlice<Row>, outputs: Result<[Output], BatchingError>)] = []
        if !over.isEmpty { results.append((over, .failure(error(.expired)))) }
        guard !live.isEmpty else { return results }
        do {
            results.append((live, .success(try await compute(batch, live))))
        } catch {
            results.append((live, .failure(error)))
        }
        return results
    }

    /// One output a row.
    private func compute(_ batch: BatchQueue.Batch, _ rows: ArraySlice<Row>) async throws(BatchingError) -> [Output] {
        let outputs: [Output]
        do {
            outputs = try await work(batch.worker, rows.map(\.input), batch.length)
        } catch let error as BatchTooLarge {
            throw BatchingError(.tooLarge, "\(rows.count) rows of \(batch.length) do not fit into memory", cause: error.cause)
        } catch {
            throw BatchingError(.workFailed, "\(error)", cause: error)
        }
        guard outputs.count == rows.count else {
            throw BatchingError(.workFailed, "the work gave \(outputs.count) outputs; \(rows.count) are expected")
        }
        return outputs
    }

    /// Sees to it that the queue hears of the next deadline.
    private func setTimer(_ state: inout State) {
        guard let next = state.queue.nextDeadline else { return }
        if let timer = state.timer {
            guard next < timer.at else { return }
            timer.task.cancel()
        }
        let wake = origin.advanced(by: next)
        let task = Task.detached { [clock, weak self] in
            guard (try? await clock.sleep(until: wake, tolerance: nil)) != nil else { return }
            self?.transition { state, now in
                state.timer = nil
                return state.queue.tick(now: now)
            }
        }
        state.timer = (next, task)
    }

    private func error(_ refusal: BatchQueue.Refusal, _ priority: Priority, _ queue: BatchQueue) -> BatchingError {
        switch refusal {
        case .full(let retryAfter):
            let isFull = queue.waiting(priority) >= limits[priority].waiting
            return BatchingError(
                .full, isFull ? "\(limits[priority].waiting) requests wait already" : "work of \(queue.work(priority)) waits already",
                retryAfter: retryAfter)
        case .unreachable(let retryAfter): return BatchingError(.unreachable, "the deadline cannot be met", retryAfter: retryAfter)
        case .expired: return error(.expired)
        case .cancelled: return error(.cancelled)
        case .stopped: return error(.stopped)
        }
    }

    private func error(_ code: BatchingError.Code) -> BatchingError {
        switch code {
        case .expired: BatchingError(code, "the deadline passed before a worker was free")
        case .cancelled: BatchingError(code, "the caller left")
        default: BatchingError(code, "nothing new is taken")
        }
    }
}
