/// Keeps calls away from a part that fails, and tries it again from time to time.
///
/// Closed: every call goes. After so many failures in a row it opens: no call goes for a pause. Then it is half open: one call at a time goes as a probe;
/// a probe that succeeds closes it, one that fails opens it for a longer pause. A value without a clock, a lock or I/O: the time comes with every call.
public struct CircuitBreaker: Sendable, Hashable {
    /// When it opens, and for how long.
    public struct Configuration: Sendable, Hashable {
        /// After so many failures in a row it opens; at least 1.
        public var failures = 5
        /// The first pause.
        public var pause: Duration = .seconds(1)
        /// Pauses double up to this.
        public var longestPause: Duration = .seconds(30)
        /// A probe of which nothing was heard for so long does not stand in the way of another one.
        public var probeTimeout: Duration = .seconds(10)

        /// The defaults.
        public init() {}
    }

    /// How it stands.
    public enum State: Sendable, Hashable {
        /// Calls go; so many failures came in a row.
        case closed(failures: Int)
        /// No call goes before that time; so long was the pause.
        case open(until: ContinuousClock.Instant, pause: Duration)
        /// A probe is under way since that time; so long was the last pause.
        case halfOpen(since: ContinuousClock.Instant, pause: Duration)
    }

    /// Lets a call go, and says to which time of the breaker it belongs: an outcome from before it opened changes nothing any more.
    public struct Permit: Sendable, Hashable {
        fileprivate let epoch: UInt64
    }

    /// How a call that went ended.
    public enum Outcome: Sendable, Hashable {
        /// The part answered.
        case success
        /// It was out of reach, or too late.
        case failure
        /// The caller gave up before anything could be told.
        case unknown
    }

    /// How it stands.
    public private(set) var state = State.closed(failures: 0)
    private let configuration: Configuration
    private var epoch: UInt64 = 0

    /// A closed breaker.
    public init(_ configuration: Configuration = Configuration()) { self.configuration = configuration }

    /// Asks to let a call go.
    ///
    /// - Returns: nil where it must not.
    public mutating func admit(at now: ContinuousClock.Instant) -> Permit? {
        switch state {
        case .closed: break
        case .open(let until, let pause):
            guard now >= until else { return nil }
            move(to: .halfOpen(since: now, pause: pause))
        case .halfOpen(let since, let pause):
            guard since.duration(to: now) >= configuration.probeTimeout else { return nil }
            move(to: .halfOpen(since: now, pause: pause))
        }
        return Permit(epoch: epoch)
    }

    /// Takes the outcome of a call that went.
    public mutating func note(_ outcome: Outcome, of permit: Permit, at now: ContinuousClock.Instant) {
        guard permit.epoch == epoch else { return }
        switch (state, outcome) {
        case (.closed, .success): state = .closed(failures: 0)
        case (.closed(let failures), .failure):
            if failures + 1 >= configuration.failures {
                open(for: configuration.pause, at: now)
            } else {
                state = .closed(failures: failures + 1)
            }
        case (.halfOpen, .success): move(to: .closed(failures: 0))
        case (.halfOpen(_, let pause), .failure): open(for: min(pause * 2, configuration.longestPause), at: now)
        // The next call probes at once.
        case (.halfOpen(_, let pause), .unknown): move(to: .open(until: now, pause: pause))
        case (.closed, .unknown), (.open, _): break
        }
    }

    private mutating func open(for pause: Duration, at now: ContinuousClock.Instant) {
        move(to: .open(until: now.advanced(by: pause), pause: pause))
    }

    private mutating func move(to next: State) {
        state = next
        epoch += 1
    }
}
