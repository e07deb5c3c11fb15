internal import Synchronization

/// Runs what callers submit in batches: ``BatchQueue`` with a clock, a lock and waiting callers around it.
public final class Batcher<C: Clock, Input: Sendable, Output: Sendable>: Sendable where C.Duration == Duration, C.Instant: Sendable {
    /// Computes one batch: the worker, from 0; the inputs; the greatest of their lengths. Gives one output an input, in the same order.
    public typealias Work = @Sendable (_ worker: Int, _ inputs: [Input], _ length: Int) async throws -> [Output]

    private typealias Queue = BatchQueue<C.Instant>
    private typealias Answer = Result<Batched<Output>, BatchingError>

    private struct Caller {
        var input: Input
        var arrival: C.Instant
        var continuation: CheckedContinuation<Answer, Never>
    }

    private struct State {
        var queue: Queue
        var lastID: Queue.RequestID = 0
        /// Those who wait for an answer, whether their request waits or is computed.
        var callers: [Queue.RequestID: Caller] = [:]
        /// The compute time of the last batch.
        var lastCompute: Duration?
        /// When the timer will fire, and what ends it sooner.
        var timer: (instant: C.Instant, task: Task<Void, Never>)?
        var drainers: [CheckedContinuation<Void, Never>] = []
    }

    /// What is done after the lock is released.
    private enum Effect {
        case run(Queue.Batch, [Input])
        case answer(Caller, Answer)
        case drained(CheckedContinuation<Void, Never>)
    }

    private let clock: C
    private let work: Work
    private let workers: Int
    private let limits: BatchQueue<C.Instant>.Limits
    private let state: Mutex<State>

    /// A batcher whose workers are free.
    ///
    /// - Parameters:
    ///   - workers: How many batches are computed at a time.
    ///   - work: Computes a batch.
    public init(workers: Int, limits: BatchQueue<C.Instant>.Limits, clock: C, work: @escaping Work) {
        self.clock = clock
        self.work = work
        self.workers = workers
        self.limits = limits
        state = Mutex(State(queue: BatchQueue(workers: workers, limits: limits)))
    }

    deinit {
        state.withLock { $0.timer?.task.cancel() }
    }

    /// How many inputs wait for a worker.
    public var waiting: Int { state.withLock { $0.queue.waiting } }

    /// Submits one input and waits for its output. A caller that is cancelled is answered at once.
    ///
    /// - Parameters:
    ///   - length: What the input takes of a row.
    ///   - deadline: When the input is of no use any more. A request that waits is answered then; one that is being computed gets its output, if late.
    /// - Throws: ``BatchingError``.
    public func submit(_ input: Input, length: Int, deadline: C.Instant? = nil) async throws(BatchingError) -> Batched<Output> {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        let answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                transition { state, now in
                    state.callers[id] = Caller(input: input, arrival: now, continuation: continuation)
                    // Where the cancellation handler ran before this, it found nothing.
                    guard !Task.isCancelled else { return [.refuse([id], .cancelled)] }
                    return state.queue.arrive(.init(id: id, length: length, deadline: deadline), now: now)
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

    /// Brings an event to the queue and does what it says.
    private func transition(_ event: (inout State, C.Instant) -> [Queue.Action]) {
        let effects = state.withLock { state in
            let actions = event(&state, clock.now)
            var effects: [Effect] = []
            for action in actions {
                switch action {
                case .run(let batch):
                    effects.append(.run(batch, batch.requests.compactMap { state.callers[$0]?.input }))
                case .refuse(let ids, let refusal):
                    for id in ids {
                        guard let caller = state.callers.removeValue(forKey: id) else { continue }
                        effects.append(.answer(caller, .failure(error(refusal, lastCompute: state.lastCompute))))
                    }
                }
            }
            if state.queue.isDrained {
                effects += state.drainers.map { .drained($0) }
                state.drainers = []
            }
            setTimer(&state)
            return effects
        }
        for effect in effects {
            switch effect {
            case .run(let batch, let inputs): Task.detached { await self.run(batch, inputs) }
            case .answer(let caller, let answer): caller.continuation.resume(returning: answer)
            case .drained(let continuation): continuation.resume()
            }
        }
    }

    private func run(_ batch: Queue.Batch, _ inputs: [Input]) async {
        let start = clock.now
        let outputs: Result<[Output], BatchingError>
        do {
            let made = try await work(batch.worker, inputs, batch.length)
            outputs =
                made.count == inputs.count
                ? .success(made) : .failure(BatchingError(.workFailed, "the work gave \(made.count) outputs; \(inputs.count) are expected"))
        } catch {
            outputs = .failure(BatchingError(.workFailed, "\(error)", cause: error))
        }
        let compute = start.duration(to: clock.now)

        let answers = state.withLock { state in
            state.lastCompute = compute
            return batch.requests.enumerated().compactMap { index, id in
                state.callers.removeValue(forKey: id).map { caller in
                    (
                        caller,
                        outputs.map { outputs in
                            Batched(
                                output: outputs[index], queue: caller.arrival.duration(to: start), compute: compute,
                                batchSize: inputs.count,
                                length: batch.length)
                        }
                    )
                }
            }
        }
        for (caller, answer) in answers { caller.continuation.resume(returning: answer) }
        transition { state, now in state.queue.workerFree(batch.worker, now: now) }
    }

    /// Sees to it that the queue hears of the next deadline.
    private func setTimer(_ state: inout State) {
        guard let next = state.queue.nextDeadline else { return }
        if let timer = state.timer {
            guard next < timer.instant else { return }
            timer.task.cancel()
        }
        let task = Task.detached { [clock, weak self] in
            guard (try? await clock.sleep(until: next, tolerance: nil)) != nil else { return }
            self?.transition { state, now in
                state.timer = nil
                return state.queue.tick(now: now)
            }
        }
        state.timer = (next, task)
    }

    private func error(_ refusal: Queue.Refusal, lastCompute: Duration?) -> BatchingError {
        switch refusal {
        case .full:
            let batches = (limits.waiting + limits.batchSize * workers - 1) / (limits.batchSize * workers)
            return BatchingError(.full, "\(limits.waiting) requests wait already", retryAfter: lastCompute.map { $0 * batches })
        case .expired: return BatchingError(.expired, "the deadline passed before a worker was free")
        case .cancelled: return BatchingError(.cancelled, "the caller left")
        case .stopped: return BatchingError(.stopped, "nothing new is taken")
        }
    }
}

/// An output and where its time went.
public struct Batched<Output: Sendable>: Sendable {
    /// What the work gave.
    public var output: Output
    /// From arrival to the start of the batch.
    public var queue: Duration
    /// How long the batch was computed.
    public var compute: Duration
    /// How many inputs the batch had.
    public var batchSize: Int
    /// The greatest length of them.
    public var length: Int
}

/// Why a request has no output.
public struct BatchingError: Error, Sendable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The code's name.
        public let description: String

        /// Too many requests wait; see ``BatchingError/retryAfter``.
        public static let full = Code(description: "full")
        /// The deadline passed before the request was computed.
        public static let expired = Code(description: "expired")
        /// The caller's task was cancelled.
        public static let cancelled = Code(description: "cancelled")
        /// The batcher takes nothing new, or was stopped.
        public static let stopped = Code(description: "stopped")
        /// The batch could not be computed; see ``BatchingError/cause``.
        public static let workFailed = Code(description: "workFailed")
    }

    /// The kind of the failure.
    public let code: Code
    /// What was wrong.
    public let message: String
    /// With `.full`: about how long what waits now will take, where that is known.
    public let retryAfter: Duration?
    /// With `.workFailed`: what the work threw.
    public let cause: (any Error)?

    init(_ code: Code, _ message: String, retryAfter: Duration? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retryAfter = retryAfter
        self.cause = cause
    }

    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}
