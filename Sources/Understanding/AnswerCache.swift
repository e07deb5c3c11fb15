internal import Conversation
internal import Synchronization

/// Answers by what was asked, and those that are being computed: what is asked again while it is computed is not computed twice.
///
/// A computation (a flight) belongs to all who wait for it: it goes on when the first caller leaves, and is cancelled when the last one does. A caller joins
/// a flight that is at least as urgent as itself, so that it never waits longer than it would alone; otherwise it starts a flight of its own. Failures are
/// not kept.
final class AnswerCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    typealias Answer = Result<Value, ConversationError>

    /// How urgent a computation is.
    struct Urgency: Sendable {
        var priority: Priority
        var deadline: ContinuousClock.Instant?

        /// Whether neither the class is lower nor the deadline later.
        func isAtLeast(_ other: Urgency) -> Bool {
            guard priority.rawValue <= other.priority.rawValue else { return false }
            guard let deadline else { return other.deadline == nil }
            return other.deadline.map { deadline <= $0 } ?? true
        }
    }

    /// What a caller waits for: the answer, and the caller that began its flight.
    private typealias Landing = (answer: Answer, beginner: Int)

    private struct Flight {
        var urgency: Urgency
        var task: Task<Void, Never>
        var waiting: [Int: CheckedContinuation<Landing, Never>]
    }

    private struct State {
        var answers: LRUCache<Key, Value>
        /// Flights by the caller that began them.
        var flights: [Int: Flight] = [:]
        /// The flight of a key that later callers may join.
        var joinable: [Key: Int] = [:]
        /// The flight that a caller waits for.
        var joined: [Int: Int] = [:]
        var lastCaller = 0
    }

    private let cost: @Sendable (Key, Value) -> Int
    private let state: Mutex<State>

    /// An empty cache.
    ///
    /// - Parameters:
    ///   - bytes: The most that keys and values may take.
    ///   - cost: The bytes of a key with its value, at most.
    init(bytes: Int, cost: @escaping @Sendable (Key, Value) -> Int) {
        self.cost = cost
        state = Mutex(State(answers: LRUCache(limit: bytes)))
    }

    /// The bytes of what is kept, as `cost` counts them.
    var bytes: Int { state.withLock { $0.answers.cost } }

    /// How many callers wait for a computation.
    var waiting: Int { state.withLock { $0.flights.values.map(\.waiting.count).reduce(0, +) } }

    /// The answer of a key: the one that is kept, or that of a flight.
    ///
    /// - Returns: The answer, and whether it was there already.
    /// - Throws: What `compute` throws; `.cancelled` where the caller's task is cancelled.
    func answer(
        for key: Key, urgency: Urgency, compute: @escaping @Sendable () async throws(ConversationError) -> Value
    ) async throws(ConversationError) -> (value: Value, wasKept: Bool) {
        while true {
            if let kept = state.withLock({ $0.answers.value(for: key) }) { return (kept, true) }
            let (answer, isOwn) = await fly(key, urgency, compute)
            switch answer {
            case .success(let value): return (value, false)
            // The flight was refused or expired by the deadline of the caller that began it; this one may have more time.
            case .failure(let error) where !isOwn && (error.code == .deadlineExceeded || error.code == .resourceExhausted): continue
            case .failure(let error): throw error
            }
        }
    }

    /// Waits for a flight, and begins it where there is none to join.
    private func fly(
        _ key: Key, _ urgency: Urgency, _ compute: @escaping @Sendable () async throws(ConversationError) -> Value
    ) async -> (answer: Answer, isOwn: Bool) {
        let caller = state.withLock { state in
            state.lastCaller += 1
            return state.lastCaller
        }
        let landing = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isWaiting = state.withLock { state in
                    // Where the cancellation handler ran before this, it found nothing.
                    guard !Task.isCancelled else { return false }
                    if let flight = state.joinable[key], state.flights[flight]?.urgency.isAtLeast(urgency) == true {
                        state.flights[flight]?.waiting[caller] = continuation
                        state.joined[caller] = flight
                        return true
                    }
                    // It cannot land before the lock is released.
                    let task = Task.detached {
                        let result = await Result { () async throws(ConversationError) in try await compute() }
                        self.land(caller, key, result)
                    }
                    state.flights[caller] = Flight(urgency: urgency, task: task, waiting: [caller: continuation])
                    state.joinable[key] = caller
                    state.joined[caller] = caller
                    return true
                }
                if !isWaiting { continuation.resume(returning: (.failure(Self.left), caller)) }
            }
        } onCancel: {
            leave(caller, key)
        }
        return (landing.answer, landing.beginner == caller)
    }

    private static var left: ConversationError { ConversationError(.cancelled, "the caller no longer waits") }

    /// Gives everyone who waits for a flight its result, and keeps it.
    private func land(_ id: Int, _ key: Key, _ result: Answer) {
        let waiting = state.withLock { state in
            if case .success(let value) = result { state.answers.insert(value, for: key, cost: cost(key, value)) }
            if state.joinable[key] == id { state.joinable[key] = nil }
            let waiting = state.flights.removeValue(forKey: id)?.waiting ?? [:]
            for caller in waiting.keys { state.joined[caller] = nil }
            return waiting
        }
        for continuation in waiting.values { continuation.resume(returning: (result, id)) }
    }

    /// Lets a caller go, and cancels a flight for which nobody waits any more.
    private func leave(_ caller: Int, _ key: Key) {
        let (continuation, abandoned) = state.withLock { state -> (CheckedContinuation<Landing, Never>?, Task<Void, Never>?) in
            guard let id = state.joined.removeValue(forKey: caller) else { return (nil, nil) }
            let continuation = state.flights[id]?.waiting.removeValue(forKey: caller)
            guard state.flights[id]?.waiting.isEmpty == true else { return (continuation, nil) }
            if state.joinable[key] == id { state.joinable[key] = nil }
            return (continuation, state.flights.removeValue(forKey: id)?.task)
        }
        abandoned?.cancel()
        continuation?.resume(returning: (.failure(Self.left), caller))
    }
}

extension Result where Failure == ConversationError {
    /// What `body` gives or throws.
    fileprivate init(_ body: () async throws(ConversationError) -> Success) async {
        do throws(ConversationError) {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
