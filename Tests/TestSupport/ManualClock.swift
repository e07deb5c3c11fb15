internal import Synchronization

/// A clock that stands still until a test moves it.
public final class ManualClock: Clock {
    /// A point in time of a manual clock; the clock begins at zero.
    public struct Instant: InstantProtocol, Sendable, CustomStringConvertible {
        /// The time since the clock began.
        public var sinceStart: Duration

        /// A point in time by its distance from the beginning.
        public init(_ sinceStart: Duration) { self.sinceStart = sinceStart }

        /// The instant that is `duration` later.
        public func advanced(by duration: Duration) -> Instant { Instant(sinceStart + duration) }

        /// The time from this instant to another.
        public func duration(to other: Instant) -> Duration { other.sinceStart - sinceStart }

        /// Earlier is less.
        public static func < (a: Instant, b: Instant) -> Bool { a.sinceStart < b.sinceStart }

        /// The time since the clock began.
        public var description: String { "\(sinceStart)" }
    }

    private struct State {
        var now = Instant(.zero)
        var lastSleeper = 0
        var sleepers: [Int: (until: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
        /// Those who wait until there are so many sleepers.
        var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())

    /// A clock at zero.
    public init() {}

    /// Where the clock stands.
    public var now: Instant { state.withLock { $0.now } }

    /// No time passes by itself.
    public var minimumResolution: Duration { .zero }

    /// Sleeps until the clock was moved that far.
    ///
    /// - Throws: `CancellationError` where the task is cancelled.
    public func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let id = state.withLock { state in
            state.lastSleeper += 1
            return state.lastSleeper
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let (result, watchers) = state.withLock { state -> (Result<Void, any Error>?, [CheckedContinuation<Void, Never>]) in
                    if Task.isCancelled { return (.failure(CancellationError()), []) }
                    if deadline <= state.now { return (.success(()), []) }
                    state.sleepers[id] = (deadline, continuation)
                    let ready = state.watchers.filter { $0.count <= state.sleepers.count }
                    state.watchers.removeAll { $0.count <= state.sleepers.count }
                    return (nil, ready.map(\.continuation))
                }
                if let result { continuation.resume(with: result) }
                for watcher in watchers { watcher.resume() }
            }
        } onCancel: {
            state.withLock { $0.sleepers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Moves the clock on and wakes whoever's time has come, the earliest first.
    public func advance(by duration: Duration) {
        let woken = state.withLock { state in
            state.now = state.now.advanced(by: duration)
            let due = state.sleepers.filter { $0.value.until <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return due.values.sorted { $0.until < $1.until }
        }
        for sleeper in woken { sleeper.continuation.resume() }
    }

    /// When the first of those who sleep will wake; nil: nobody sleeps.
    public var nextWake: Instant? { state.withLock { $0.sleepers.values.map(\.until).min() } }

    /// Returns when at least `count` sleep.
    public func sleepers(atLeast count: Int) async {
        await withCheckedContinuation { continuation in
            let ready = state.withLock { state in
                if state.sleepers.count >= count { return true }
                state.watchers.append((count, continuation))
                return false
            }
            if ready { continuation.resume() }
        }
    }
}
