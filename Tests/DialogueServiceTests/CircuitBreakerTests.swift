import DialogueService
import Testing

extension CircuitBreaker {
    fileprivate mutating func admitted(at now: ContinuousClock.Instant) throws -> Permit {
        let permit = admit(at: now)
        return try #require(permit)
    }

    /// Asks a copy.
    fileprivate func refuses(at now: ContinuousClock.Instant) -> Bool {
        var copy = self
        return copy.admit(at: now) == nil
    }
}

@Suite struct CircuitBreakerTests {
    private let start = ContinuousClock.now

    private func breaker() -> CircuitBreaker {
        var configuration = CircuitBreaker.Configuration()
        configuration.failures = 3
        configuration.pause = .seconds(1)
        configuration.longestPause = .seconds(3)
        configuration.probeTimeout = .seconds(5)
        return CircuitBreaker(configuration)
    }

    /// Fails until it is open.
    private func opened() throws -> CircuitBreaker {
        var breaker = breaker()
        for _ in 0..<3 { breaker.note(.failure, of: try breaker.admitted(at: start), at: start) }
        return breaker
    }

    @Test func failuresInARowOpenIt() throws {
        var breaker = breaker()
        for outcome in [CircuitBreaker.Outcome.failure, .failure, .success, .failure, .unknown, .failure] {
            breaker.note(outcome, of: try breaker.admitted(at: start), at: start)
        }
        #expect(breaker.state == .closed(failures: 2))
        breaker.note(.failure, of: try breaker.admitted(at: start), at: start)
        #expect(breaker.state == .open(until: start + .seconds(1), pause: .seconds(1)))
        #expect(breaker.refuses(at: start + .milliseconds(999)))
    }

    @Test func oneProbeGoesAndClosesIt() throws {
        var breaker = try opened()
        let probe = try breaker.admitted(at: start + .seconds(1))
        #expect(breaker.refuses(at: start + .seconds(2)))
        breaker.note(.success, of: probe, at: start + .seconds(2))
        #expect(breaker.state == .closed(failures: 0))
        _ = try breaker.admitted(at: start + .seconds(2))
    }

    @Test func aProbeThatFailsDoublesThePauseUpToTheLongest() throws {
        var breaker = try opened()
        var now = start
        for pause in [1, 2, 3, 3] {
            #expect(breaker.state == .open(until: now + .seconds(pause), pause: .seconds(pause)))
            now += .seconds(pause)
            breaker.note(.failure, of: try breaker.admitted(at: now), at: now)
        }
    }

    @Test func whatWentBeforeItOpenedChangesNothing() throws {
        var breaker = breaker()
        let slow = try breaker.admitted(at: start)
        for _ in 0..<3 { breaker.note(.failure, of: try breaker.admitted(at: start), at: start) }
        let open = breaker.state
        breaker.note(.success, of: slow, at: start)
        breaker.note(.failure, of: slow, at: start)
        #expect(breaker.state == open)
        _ = breaker.admit(at: start + .seconds(1))
        let probing = breaker.state
        breaker.note(.success, of: slow, at: start + .seconds(1))
        #expect(breaker.state == probing)
    }

    @Test func aProbeThatWasGivenUpOrForgottenLetsAnotherGo() throws {
        var breaker = try opened()
        let now = start + .seconds(1)
        breaker.note(.unknown, of: try breaker.admitted(at: now), at: now)
        let forgotten = try breaker.admitted(at: now)
        #expect(breaker.refuses(at: now + .seconds(4)))
        let next = try breaker.admitted(at: now + .seconds(5))
        breaker.note(.success, of: forgotten, at: now + .seconds(5))
        #expect(breaker.state == .halfOpen(since: now + .seconds(5), pause: .seconds(1)))
        breaker.note(.success, of: next, at: now + .seconds(5))
        #expect(breaker.state == .closed(failures: 0))
    }
}
