import Conversation
import ServiceKit
import Synchronization
import Testing

/// The limit, the queue and the gate at the edge; the first two in virtual time.
@Suite(.timeLimit(.minutes(1))) struct AdmissionTests {
    private let start = ContinuousClock.now

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    // MARK: The limit

    private func limit(initial: Int = 64, target: Duration = .milliseconds(500)) -> ConcurrencyLimit {
        var configuration = ConcurrencyLimit.Configuration()
        configuration.initial = initial
        configuration.target = target
        return ConcurrencyLimit(configuration)
    }

    @Test func aRoundOfQuickSamplesRaisesTheLimitByAboutOne() {
        var limit = limit()
        for _ in 0..<66 { limit.sample(.done, began: at(0), ended: at(100), inFlight: 64) }
        #expect(limit.current == 65)
    }

    @Test func aLimitThatIsNotUsedIsNotRaised() {
        var limit = limit()
        for _ in 0..<1000 { limit.sample(.done, began: at(0), ended: at(100), inFlight: 31) }
        #expect(limit.current == 64)
    }

    @Test func oneCongestionIsOneDecrease() {
        var limit = limit()
        for n in 0..<64 { limit.sample(.done, began: at(n), ended: at(600 + n), inFlight: 64) }
        #expect(limit.current == 51)
        limit.sample(.dropped, began: at(601), ended: at(700), inFlight: 51)
        #expect(limit.current == 40)
    }

    @Test func theLimitStaysWithinItsBounds() {
        var limit = limit()
        for n in 0..<100 { limit.sample(.dropped, began: at(n * 10 + 1), ended: at(n * 10 + 2), inFlight: 64) }
        #expect(limit.current == 16)
        var configuration = ConcurrencyLimit.Configuration()
        configuration.maximum = 4
        #expect(ConcurrencyLimit(configuration).current == 4)
    }

    /// A server that batches: 10 ms a batch and 1.7 ms a row, batches of up to 32, as the shipped model on two cores. Its throughput at many in flight must be
    /// nearly all it can do, and its latency near the target.
    @Test func aServerThatBatchesIsFilledAndNotFlooded() {
        var limit = limit(initial: 16, target: .milliseconds(200))
        var began: [Int] = []
        var now = 0.0
        var done = 0
        var slowest = 0
        for round in 0..<3000 {
            while began.count < limit.current { began.append(Int(now)) }
            let batch = began.prefix(32)
            now += 10 + 1.7 * Double(batch.count)
            for start in batch {
                limit.sample(.done, began: at(start), ended: at(Int(now)), inFlight: began.count)
                if round > 1000 {
                    done += 1
                    slowest = max(slowest, Int(now) - start)
                }
            }
            began.removeFirst(batch.count)
        }
        // 32 rows in 64.4 ms are the most it can do.
        #expect(Double(done) / 2000 > 0.95 * 32)
        #expect(slowest < 400)
    }

    // MARK: The queue

    private func queue(limit: Int, waiting: Int = 100, patience: Duration = .seconds(5), newcomers: Double = 0.8) -> AdmissionQueue {
        var configuration = AdmissionQueue.Configuration()
        configuration.limit.initial = limit
        configuration.limit.maximum = limit
        configuration.waiting = waiting
        configuration.patience = patience
        configuration.newcomers = newcomers
        return AdmissionQueue(configuration)
    }

    @Test func conversationsUnderWayGoBeforeNewOnes() {
        var queue = queue(limit: 2)
        let late = at(60_000)
        #expect(queue.arrive(1, .underWay, at: at(0), until: late) == .admitted)
        #expect(queue.arrive(2, .underWay, at: at(0), until: late) == .admitted)
        #expect(queue.arrive(3, .new, at: at(1), until: late) == .waiting(displacing: nil))
        #expect(queue.arrive(4, .underWay, at: at(2), until: late) == .waiting(displacing: nil))
        #expect(queue.arrive(5, .underWay, at: at(3), until: late) == .waiting(displacing: nil))
        #expect(queue.leave(at: at(10)).admitted == [4])
        #expect(queue.leave(at: at(20)).admitted == [5])
        // New ones have no more than their share, 1 of 2.
        #expect(queue.leave(at: at(30)).admitted == [])
        #expect(queue.leave(at: at(40)).admitted == [3])
        #expect(queue.inFlight == 1)
    }

    @Test func everyEighthPlaceGoesToANewConversation() {
        var queue = queue(limit: 1)
        _ = queue.arrive(0, .underWay, at: at(0), until: at(60_000))
        for id in 1...20 { _ = queue.arrive(UInt64(id), .underWay, at: at(0), until: at(60_000)) }
        for id in 101...102 { _ = queue.arrive(UInt64(id), .new, at: at(0), until: at(60_000)) }
        let admitted = (1...17).flatMap { _ in queue.leave(at: at(0)).admitted }
        #expect(admitted == [1, 2, 3, 4, 5, 6, 7, 101, 8, 9, 10, 11, 12, 13, 14, 102, 15])
    }

    @Test func whoWaitsTooLongIsRefused() {
        var queue = queue(limit: 1, patience: .milliseconds(100))
        #expect(queue.arrive(1, .underWay, at: at(0), until: at(9000)) == .admitted)
        #expect(queue.arrive(2, .underWay, at: at(0), until: at(9000)) == .waiting(displacing: nil))
        #expect(queue.arrive(3, .underWay, at: at(0), until: at(50)) == .waiting(displacing: nil))
        #expect(queue.nextExpiry == at(100))
        #expect(queue.expire(at: at(99)).refused == [])
        #expect(queue.expire(at: at(100)).refused == [2, 3])
        #expect(queue.waiting == 0 && queue.inFlight == 1)
    }

    @Test func aFullQueueRefusesAtOnceAndSaysWhenToComeBack() {
        var queue = queue(limit: 1, waiting: 2)
        _ = queue.arrive(1, .underWay, at: at(0), until: at(60_000))
        _ = queue.arrive(2, .underWay, at: at(0), until: at(60_000))
        _ = queue.arrive(3, .new, at: at(0), until: at(60_000))
        guard case .refused(let retryAfter) = queue.arrive(4, .new, at: at(0), until: at(60_000)) else {
            Issue.record("it was not refused")
            return
        }
        #expect(retryAfter >= .milliseconds(100))
    }

    @Test func aConversationUnderWayTakesThePlaceOfTheNewOneThatCameLast() {
        var queue = queue(limit: 1, waiting: 2)
        for id in 1...3 { _ = queue.arrive(UInt64(id), .new, at: at(0), until: at(60_000)) }
        #expect(queue.arrive(4, .underWay, at: at(0), until: at(60_000)) == .waiting(displacing: 3))
        #expect(queue.arrive(5, .underWay, at: at(0), until: at(60_000)) == .waiting(displacing: 2))
        guard case .refused = queue.arrive(6, .underWay, at: at(0), until: at(60_000)) else {
            Issue.record("there was no place to take")
            return
        }
        #expect(queue.leave(at: at(1)).admitted == [4])
    }

    @Test func whoCannotBeginInTimeIsRefusedAtOnce() {
        var queue = queue(limit: 1)
        for id in 1...11 { _ = queue.arrive(UInt64(id), .underWay, at: at(0), until: at(60_000)) }
        // One ends every 100 ms.
        for n in 1...5 { _ = queue.leave(at: at(n * 100)) }
        #expect(queue.waiting == 5)
        guard case .refused(let retryAfter) = queue.arrive(20, .underWay, at: at(500), until: at(1000)) else {
            Issue.record("it was not refused")
            return
        }
        #expect(retryAfter > .milliseconds(599) && retryAfter < .milliseconds(601))
        #expect(queue.arrive(21, .underWay, at: at(500), until: at(1200)) == .waiting(displacing: nil))
    }

    @Test func whoLeavesTheLineIsPassedOver() {
        var queue = queue(limit: 1)
        for id in 1...3 { _ = queue.arrive(UInt64(id), .underWay, at: at(0), until: at(60_000)) }
        queue.abandon(2)
        #expect(queue.waiting == 1)
        #expect(queue.leave(at: at(1)).admitted == [3])
    }

    // MARK: The gate

    private final class Gauge: Sendable {
        private let state = Mutex((now: 0, most: 0))
        var most: Int { state.withLock { $0.most } }
        func enter() { state.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) } }
        func leave() { state.withLock { $0.now -= 1 } }
    }

    @Test func theGateLetsInNoMoreThanItsLimitAndAllInTheEnd() async throws {
        var configuration = AdmissionQueue.Configuration()
        configuration.limit.initial = 5
        configuration.limit.maximum = 5
        let gate = AdmissionGate(configuration)
        let gauge = Gauge()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for n in 0..<500 {
                group.addTask {
                    try await gate.pass(n % 2 == 0 ? .underWay : .new, until: .now + .seconds(30)) { () async throws(ConversationError) in
                        gauge.enter()
                        await Task.yield()
                        gauge.leave()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(gauge.most == 5)
        #expect(gate.gauges.inFlight == 0 && gate.gauges.waiting == 0 && gate.gauges.refused == 0)
    }

    @Test func theGateRefusesInTimeAndLetsGoOfWhoWasCancelled() async throws {
        var configuration = AdmissionQueue.Configuration()
        configuration.limit.initial = 1
        configuration.limit.maximum = 1
        configuration.patience = .milliseconds(50)
        let gate = AdmissionGate(configuration)
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        let (over, end) = AsyncStream.makeStream(of: Void.self)
        let first = Task {
            try await gate.pass(.underWay, until: .now + .seconds(30)) { () async throws(ConversationError) in
                begin.yield()
                for await _ in over { break }
            }
        }
        for await _ in begun { break }
        let refusal = await Self.failure { () async throws(ConversationError) in
            try await gate.pass(.underWay, until: .now + .seconds(30)) { () throws(ConversationError) in }
        }
        #expect(refusal?.code == .resourceExhausted && refusal?.retryAfter != nil)
        let cancelled = Task {
            await Self.failure { () async throws(ConversationError) in
                try await gate.pass(.underWay, until: .now + .seconds(30)) { () throws(ConversationError) in }
            }
        }
        cancelled.cancel()
        #expect(await cancelled.value?.code == .cancelled)
        end.yield()
        try await first.value
        try await gate.pass(.new, until: .now + .seconds(30)) { () throws(ConversationError) in }
        #expect(gate.gauges.refused == 1)
    }

    private static func failure(_ body: () async throws(ConversationError) -> Void) async -> ConversationError? {
        do throws(ConversationError) {
            try await body()
            return nil
        } catch {
            return error
        }
    }
}
