import Batching
import Synchronization
import TestSupport
import Testing

/// What a batcher tells and takes besides outputs: events, classes, measured times, batches that are too large.
@Suite struct BatcherBatches {
    /// Keeps what it is told.
    final class Recorder: Sendable {
        private let events = Mutex<[BatchEvent]>([])
        var all: [BatchEvent] { events.withLock { $0 } }
        func note(_ event: BatchEvent) { events.withLock { $0.append(event) } }
    }

    struct OutOfMemory: Error {}

    @Test func tellsWhatHappens() async throws {
        let gate = Gate(open: false)
        let clock = ManualClock()
        let recorder = Recorder()
        let batcher = batcher(gate, clock: clock, limits: .exact(4, waiting: 2)) { recorder.note($0) }
        let first = Task { try await batcher.submit(1, length: 10) }
        await gate.begun(1)
        let lower = Task { try await batcher.submit(2, length: 9, priority: .standard) }
        while batcher.statistics.waiting[.standard] != 1 { await Task.yield() }
        clock.advance(by: .seconds(1))
        var others = [Task { try await batcher.submit(3, length: 10) }]
        while batcher.waiting < 2 { await Task.yield() }
        others.append(Task { try await batcher.submit(13, length: 10) })
        while batcher.waiting < 3 { await Task.yield() }
        #expect(await failure { try await batcher.submit(5, length: 1) } == .full)
        #expect(batcher.statistics.waiting == [.interactive: 2, .standard: 1, .background: 0])
        #expect(batcher.statistics.busyWorkers == 1)
        clock.advance(by: .seconds(2))
        gate.open()
        #expect(try await first.value.output == 2)
        for task in others + [lower] { #expect(await failure { try await task.value } == .workFailed) }
        await batcher.drain()
        #expect(batcher.statistics.busyWorkers == 0)

        var starts: [BatchEvent.Start] = []
        var finishes: [BatchEvent.Finish] = []
        var arrivals: [Priority: Int] = [:]
        var refusals: [BatchingError.Code] = []
        for event in recorder.all {
            switch event {
            case .arrived(let priority): arrivals[priority, default: 0] += 1
            case .refused(_, let code): refusals.append(code)
            case .started(let start): starts.append(start)
            case .finished(let finish): finishes.append(finish)
            }
        }
        #expect(arrivals == [.interactive: 4, .standard: 1])
        #expect(refusals == [.full])
        try #require(starts.count == 2 && finishes.count == 2)
        #expect(starts[1].rows.map(\.priority) == [.interactive, .interactive, .standard])
        #expect(starts[1].rows.map(\.queue) == [.seconds(2), .seconds(2), .seconds(3)])
        #expect(starts[1].tokens == 29 && starts[1].length == 10)
        #expect(abs(starts[1].padding - 1 / 30) < 1e-12)
        #expect(finishes[0].compute == .seconds(3) && finishes[0].failed == 0)
        #expect(finishes[1].rows == 3 && finishes[1].failed == 3 && finishes[1].length == 10)
    }

    @Test func aBatchThatIsTooLargeIsSplitAndEachHalfTriedOnce() async throws {
        let gate = Gate(open: false)
        let tried = Mutex<[[Int]]>([])
        let batcher = Batcher<ManualClock, Int, Int>(workers: 1, limits: .exact(8), clock: ManualClock()) { _, inputs, _ in
            tried.withLock { $0.append(inputs) }
            let outputs = try await gate.work(inputs)
            if inputs.count > 2 || inputs.contains(99) { throw BatchTooLarge(cause: OutOfMemory()) }
            return outputs
        }
        let first = Task { try await batcher.submit(1, length: 1) }
        await gate.begun(1)
        var others: [Task<Batched<Int>, any Error>] = []
        for input in [2, 3, 4, 99] {
            others.append(Task { try await batcher.submit(input, length: 1) })
            while batcher.waiting < others.count { await Task.yield() }
        }
        gate.open()
        _ = try await first.value
        for (task, input) in zip(others, [2, 3]) {
            let batched = try await task.value
            #expect(batched.output == 2 * input)
            #expect(batched.batchSize == 2)
        }
        for task in others.suffix(2) {
            let error = await #expect(throws: BatchingError.self) { try await task.value }
            #expect(error?.code == .tooLarge)
            #expect(error?.cause is OutOfMemory)
        }
        #expect(await failure { try await batcher.submit(99, length: 1) } == .tooLarge)
        #expect(try await batcher.submit(7, length: 1).output == 14)
        #expect(tried.withLock { $0 } == [[1], [2, 3, 4, 99], [2, 3], [4, 99], [99], [7]])
    }

    @Test func whoLeftOrExpiredIsNotInTheSecondTry() async throws {
        let (gate, later) = (Gate(open: false), Gate(open: false))
        let clock = ManualClock()
        let halves = Mutex<[[Int]]>([])
        let batcher = Batcher<ManualClock, Int, Int>(workers: 1, limits: .exact(8), clock: clock) { _, inputs, _ in
            halves.withLock { $0.append(inputs) }
            let outputs = try await (inputs == [1] ? gate : later).work(inputs)
            if inputs.count > 2 { throw BatchTooLarge() }
            return outputs
        }
        let first = Task { try await batcher.submit(1, length: 1) }
        await gate.begun(1)
        var others: [Task<Batched<Int>, any Error>] = []
        for (input, deadline) in [(2, 20), (3, nil), (4, 5), (5, nil)] {
            others.append(
                Task { try await batcher.submit(input, length: 1, deadline: deadline.map { ManualClock.Instant(.seconds($0)) }) })
            while batcher.waiting < others.count { await Task.yield() }
        }
        gate.open()
        _ = try await first.value
        await later.begun(1)
        others[1].cancel()
        #expect(await failure { try await others[1].value } == .cancelled)
        clock.advance(by: .seconds(10))
        later.open()
        #expect(await failure { try await others[2].value } == .expired)
        #expect(try await others[0].value.output == 4)
        #expect(try await others[3].value.output == 10)
        // The earliest deadline is first.
        #expect(halves.withLock { $0 } == [[1], [4, 2, 3, 5], [2], [5]])
    }

    @Test func measuredTimesRefuseWhatCannotBeInTime() async throws {
        let gate = Gate(open: false)
        let clock = ManualClock()
        let batcher = batcher(gate, clock: clock, limits: .exact(1))
        batcher.record(rows: 1, length: 4, duration: .milliseconds(40))
        let first = Task { try await batcher.submit(1, length: 4) }
        await gate.begun(1)
        let late = await #expect(throws: BatchingError.self) {
            try await batcher.submit(2, length: 4, deadline: clock.now.advanced(by: .milliseconds(70)))
        }
        #expect(late?.code == .unreachable)
        #expect(late?.retryAfter == .milliseconds(10))
        let soon = Task { try await batcher.submit(3, length: 4, deadline: clock.now.advanced(by: .milliseconds(80))) }
        while batcher.waiting < 1 { await Task.yield() }
        #expect(batcher.times.estimate(rows: 1, length: 4) == .milliseconds(40))
        #expect(batcher.statistics.work[.interactive] == .milliseconds(40))
        gate.open()
        #expect(try await first.value.output == 2)
        #expect(try await soon.value.output == 6)
    }
}
