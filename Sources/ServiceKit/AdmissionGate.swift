public import Conversation
import Synchronization

/// The edge of a service: lets as much in as it can carry, lets the rest wait for a while, and refuses what would wait too long. See ``AdmissionQueue``.
public final class AdmissionGate: Sendable {
    // Sendable: it never leaves its lock.
    private struct State: @unchecked Sendable {
        var queue: AdmissionQueue
        var lastID: UInt64 = 0
        var waiters: [UInt64: UnsafeContinuation<Entry, Never>] = [:]
        var isSweeping = false
        var refused: UInt64 = 0

        /// - Returns: What is known at once (nil: it waits), whether somebody must begin to look for those who wait too long, and who lost a place.
        mutating func arrive(
            _ id: UInt64, _ standing: AdmissionQueue.Standing, until deadline: ContinuousClock.Instant,
            _ waiter: UnsafeContinuation<Entry, Never>
        ) -> (entry: Entry?, beginsSweep: Bool, displaced: [(UnsafeContinuation<Entry, Never>, Entry)]) {
            if Task.isCancelled { return (.cancelled, false, []) }
            switch queue.arrive(id, standing, at: .now, until: deadline) {
            case .admitted: return (.admitted, false, [])
            case .refused(let retryAfter):
                refused += 1
                return (.refused(retryAfter: retryAfter), false, [])
            case .waiting(let displaced):
                waiters[id] = waiter
                defer { isSweeping = true }
                return (nil, !isSweeping, take(AdmissionQueue.Change(refused: displaced.map { [$0] } ?? [])))
            }
        }

        /// Takes those out who no longer wait.
        mutating func take(_ change: AdmissionQueue.Change) -> [(UnsafeContinuation<Entry, Never>, Entry)] {
            let retryAfter = queue.retryAfter
            refused += UInt64(change.refused.count)
            let admitted = change.admitted.compactMap { id in waiters.removeValue(forKey: id).map { ($0, Entry.admitted) } }
            return admitted
                + change.refused.compactMap { id in waiters.removeValue(forKey: id).map { ($0, Entry.refused(retryAfter: retryAfter)) } }
        }

        mutating func nextSweep() -> ContinuousClock.Instant? {
            let next = queue.nextExpiry
            if next == nil { isSweeping = false }
            return next
        }
    }

    private enum Entry {
        case admitted
        case refused(retryAfter: Duration)
        case cancelled
    }

    private let state: Mutex<State>

    /// A gate that nobody has passed.
    public init(_ configuration: AdmissionQueue.Configuration = .init()) {
        state = Mutex(State(queue: AdmissionQueue(configuration)))
    }

    /// How many are under way, how many wait, how many may be under way, and how many were refused since the start.
    public var gauges: (inFlight: Int, waiting: Int, limit: Int, refused: UInt64) {
        state.withLock { ($0.queue.inFlight, $0.queue.waiting, $0.queue.currentLimit, $0.refused) }
    }

    /// Runs `body` when it is let in.
    ///
    /// - Parameter deadline: Nobody waits longer: what cannot begin before is refused.
    /// - Throws: ``ConversationError``: `.resourceExhausted` with a time to try again where it is not let in, `.cancelled` where the task is cancelled while
    ///   it waits, and what `body` throws.
    public func pass<R: Sendable>(
        _ standing: AdmissionQueue.Standing, until deadline: ContinuousClock.Instant, _ body: () async throws(ConversationError) -> R
    ) async throws(ConversationError) -> R {
        switch await enter(standing, until: deadline) {
        case .admitted: break
        case .refused(let retryAfter):
            // Those who are refused together shall not come back together.
            let retryAfter = retryAfter * Double.random(in: 1...2)
            throw ConversationError(
                .resourceExhausted,
                "more turns are under way and waiting than can be answered in time; nothing was changed: send it again later",
                retryAfter: retryAfter)
        case .cancelled: throw ConversationError(.cancelled, "the caller no longer waits")
        }
        defer { leave() }
        return try await body()
    }

    /// Learns from one piece of the work that the limit is there for.
    public func sample(_ outcome: ConcurrencyLimit.Outcome, began: ContinuousClock.Instant) {
        state.withLock { $0.queue.sample(outcome, began: began, ended: .now) }
    }

    private func enter(_ standing: AdmissionQueue.Standing, until deadline: ContinuousClock.Instant) async -> Entry {
        let id: UInt64? = state.withLock { state in
            if state.queue.admit(standing) { return nil }
            state.lastID += 1
            return state.lastID
        }
        guard let id else { return .admitted }
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let arrival = state.withLock { $0.arrive(id, standing, until: deadline, continuation) }
                if let entry = arrival.entry { continuation.resume(returning: entry) }
                if arrival.beginsSweep { Task { await sweep() } }
                resume(arrival.displaced)
            }
        } onCancel: {
            let waiter = state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: id)
                if waiter != nil { state.queue.abandon(id) }
                return waiter
            }
            waiter?.resume(returning: .cancelled)
        }
    }

    private func leave() {
        resume(state.withLock { state in state.take(state.queue.leave(at: .now)) })
    }

    /// Refuses those who waited too long, for as long as anyone waits.
    private func sweep() async {
        while let next = state.withLock({ $0.nextSweep() }) {
            try? await Task.sleep(until: next, clock: .continuous)
            resume(state.withLock { state in state.take(state.queue.expire(at: .now)) })
        }
    }

    private func resume(_ entries: [(UnsafeContinuation<Entry, Never>, Entry)]) {
        for (waiter, entry) in entries { waiter.resume(returning: entry) }
    }
}
