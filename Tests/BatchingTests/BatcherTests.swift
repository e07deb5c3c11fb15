import Batching
import Synchronization
import TestSupport
import Testing

/// Work that doubles its inputs, when it is let.
final class Gate: Sendable {
    private struct State {
        var isOpen: Bool
        var held: [CheckedContinuation<Void, Never>] = []
        var batches: [[Int]] = []
        var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state: Mutex<State>

    init(open: Bool) { state = Mutex(State(isOpen: open)) }

    var batches: [[Int]] { state.withLock { $0.batches } }

    func work(_ inputs: [Int]) async throws -> [Int] {
        let watchers = state.withLock { state in
            state.batches.append(inputs)
            let ready = state.watchers.filter { $0.count <= state.batches.count }
            state.watchers.removeAll { $0.count <= state.batches.count }
            return ready
        }
        for watcher in watchers { watcher.continuation.resume() }
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.held.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
        if inputs.contains(13) { throw Unlucky() }
        if inputs.contains(14) { return [] }
        return inputs.map { $0 * 2 }
    }

    func close() { state.withLock { $0.isOpen = false } }

    func open() {
        let held = state.withLock { state in
            state.isOpen = true
            defer { state.held = [] }
            return state.held
        }
        for continuation in held { continuation.resume() }
    }

    /// Returns when `count` batches have begun.
    func begun(_ count: Int) async {
        await withCheckedContinuation { continuation in
            let ready = state.withLock { state in
                if state.batches.count >= count { return true }
                state.watchers.append((count, continuation))
                return false
            }
            if ready { continuation.resume() }
        }
    }

    struct Unlucky: Error {}
}

func batcher(
    _ gate: Gate, clock: ManualClock = ManualClock(), workers: Int = 1, limits: BatchQueue.Limits = .init(),
    observe: (@Sendable (BatchEvent) -> Void)? = nil
) -> Batcher<ManualClock, Int, Int> {
    Batcher(workers: workers, limits: limits, clock: clock, observe: observe) { _, inputs, _ in try await gate.work(inputs) }
}

@Suite struct BatcherTests {
    @Test func everyCallerGetsItsOwnOutput() async throws {
        let batcher = batcher(Gate(open: true), workers: 2, limits: .exact(7, waiting: 2000))
        try await withThrowingTaskGroup(of: (Int, Int).self) { group in
            for input in 100..<1100 { group.addTask { (input, try await batcher.submit(input, length: input % 30).output) } }
            for try await (input, output) in group { #expect(output == input * 2) }
        }
        await batcher.drain()
    }

    @Test func whatComesWhileAWorkerIsBusyIsOneBatch() async throws {
        let gate = Gate(open: false)
        let clock = ManualClock()
        let batcher = batcher(gate, clock: clock)
        async let first = batcher.submit(1, length: 3)
        await gate.begun(1)
        let others = (2...4).map { input in Task { try await batcher.submit(input, length: 3) } }
        while batcher.waiting < 3 { await Task.yield() }
        clock.advance(by: .seconds(2))
        gate.open()
        #expect(try await first.output == 2)
        for (task, input) in zip(others, 2...4) {
            let batched = try await task.value
            #expect(batched.output == input * 2)
            #expect(batched.batchSize == 3)
            #expect(batched.length == 3)
            #expect(batched.queue == .seconds(2))
            #expect(batched.compute == .zero)
        }
        #expect(gate.batches.map { Set($0) } == [[1], [2, 3, 4]])
    }

    @Test func aDeadlineThatPassesWhileWaitingIsAnsweredThen() async throws {
        let gate = Gate(open: false)
        let clock = ManualClock()
        let batcher = batcher(gate, clock: clock)
        async let first = batcher.submit(1, length: 3)
        await gate.begun(1)
        let late = Task { try await batcher.submit(2, length: 3, deadline: clock.now.advanced(by: .seconds(5))) }
        await clock.sleepers(atLeast: 1)
        let sooner = Task { try await batcher.submit(3, length: 3, deadline: clock.now.advanced(by: .seconds(3))) }
        while batcher.waiting < 2 { await Task.yield() }
        while clock.nextWake != ManualClock.Instant(.seconds(3)) { await Task.yield() }
        clock.advance(by: .seconds(3))
        #expect(await failure { try await sooner.value } == .expired)
        while clock.nextWake != ManualClock.Instant(.seconds(5)) { await Task.yield() }
        clock.advance(by: .seconds(2))
        #expect(await failure { try await late.value } == .expired)
        gate.open()
        #expect(try await first.output == 2)
        await batcher.drain()
        #expect(gate.batches == [[1]])
    }

    @Test func aCallerThatLeavesIsAnsweredAtOnceAndNotComputed() async throws {
        let gate = Gate(open: false)
        let batcher = batcher(gate)
        let computed = Task { try await batcher.submit(1, length: 3) }
        await gate.begun(1)
        let waiting = Task { try await batcher.submit(2, length: 3) }
        while batcher.waiting < 1 { await Task.yield() }
        waiting.cancel()
        #expect(await failure { try await waiting.value } == .cancelled)
        computed.cancel()
        #expect(await failure { try await computed.value } == .cancelled)
        let cancelledBefore = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await batcher.submit(3, length: 3)
        }
        #expect(await failure { try await cancelledBefore.value } == .cancelled)
        gate.open()
        #expect(try await batcher.submit(4, length: 3).output == 8)
        #expect(gate.batches == [[1], [4]])
    }

    @Test func aFullQueueRefusesAtOnceAndSaysWhenToComeBack() async throws {
        let gate = Gate(open: false)
        let clock = ManualClock()
        let batcher = batcher(gate, clock: clock, limits: .exact(1, waiting: 2))
        for retryAfter in [nil, Duration.milliseconds(120)] {
            let before = gate.batches.count
            var admitted = [Task { try await batcher.submit(1, length: 1) }]
            await gate.begun(before + 1)
            for waiting in 1...2 {
                admitted.append(Task { try await batcher.submit(2, length: 1) })
                while batcher.waiting < waiting { await Task.yield() }
            }
            let refused = await #expect(throws: BatchingError.self) { try await batcher.submit(3, length: 1) }
            #expect(refused?.code == .full)
            #expect(refused?.retryAfter == retryAfter)
            gate.open()
            for task in admitted { _ = try await task.value }

            gate.close()
            let fast = gate.batches.count
            async let slow = batcher.submit(4, length: 1)
            await gate.begun(fast + 1)
            clock.advance(by: .milliseconds(40))
            gate.open()
            _ = try await slow
            gate.close()
        }
    }

    @Test func workThatFailsIsToldToEachOfItsCallersAndTheNextBatchRuns() async throws {
        let gate = Gate(open: false)
        let batcher = batcher(gate)
        let first = Task { try await batcher.submit(1, length: 1) }
        await gate.begun(1)
        let unlucky = [13, 5, 6].map { input in Task { try await batcher.submit(input, length: 1) } }
        while batcher.waiting < 3 { await Task.yield() }
        gate.open()
        _ = try await first.value
        for task in unlucky {
            let error = await #expect(throws: BatchingError.self) { try await task.value }
            #expect(error?.code == .workFailed)
            #expect(error?.cause is Gate.Unlucky)
        }
        let miscounted = await #expect(throws: BatchingError.self) { try await batcher.submit(14, length: 1) }
        #expect(miscounted?.message == "the work gave 0 outputs; 1 are expected")
        #expect(try await batcher.submit(7, length: 1).output == 14)
    }

    @Test func drainAnswersEveryoneAndStopRefusesWhoWaits() async throws {
        for stops in [false, true] {
            let gate = Gate(open: false)
            let batcher = batcher(gate)
            let running = Task { try await batcher.submit(1, length: 1) }
            await gate.begun(1)
            let waiting = Task { try await batcher.submit(2, length: 1) }
            while batcher.waiting < 1 { await Task.yield() }
            if stops { batcher.stop() }
            let drained = Task { await batcher.drain() }
            if stops { #expect(await failure { try await waiting.value } == .stopped) }
            gate.open()
            await drained.value
            #expect(try await running.value.output == 2)
            if !stops { #expect(try await waiting.value.output == 4) }
            #expect(await failure { try await batcher.submit(3, length: 1) } == .stopped)
            await batcher.drain()
        }
    }
}

/// The code of the error that `body` throws; nil where it throws none.
func failure<Value: Sendable>(_ body: () async throws -> Value) async -> BatchingError.Code? {
    do {
        _ = try await body()
        return nil
    } catch {
        return (error as? BatchingError)?.code
    }
}
