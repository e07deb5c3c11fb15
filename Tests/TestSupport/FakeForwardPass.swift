internal import Synchronization
public import Understanding

/// A forward pass without a model: an intent by the row's token ids, a label by token, both chosen by a test.
public final class FakeForwardPass: ForwardPass {
    /// How a forward pass goes wrong.
    public enum Fault: Sendable {
        /// It throws.
        case throwing(any Error & Sendable)
        /// It throws for batches of more rows than that.
        case throwingAbove(rows: Int, any Error & Sendable)
        /// The intents of the first row are no numbers.
        case notANumber
        /// It gives one value too few.
        case wrongSize
    }

    private struct State {
        var isPaused = false
        var held: [CheckedContinuation<Void, Never>] = []
        var fault: Fault?
        var batches: [TokenBatch] = []
        /// Those who wait until so many batches have begun.
        var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let intents: Int
    private let labels: Int
    private let intent: @Sendable (_ ids: [Int64]) -> Int
    private let label: @Sendable (_ id: Int64) -> Int
    private let state = Mutex(State())

    /// The logit of what is chosen; all others are 0.
    public static let chosen: Float = 4

    /// A forward pass of so many intents and slot labels.
    ///
    /// - Parameters:
    ///   - intent: The index of a row's intent by its token ids without padding.
    ///   - label: The index of a token's slot label by its id.
    public init(
        intents: Int, labels: Int, intent: @escaping @Sendable (_ ids: [Int64]) -> Int, label: @escaping @Sendable (_ id: Int64) -> Int
    ) {
        self.intents = intents
        self.labels = labels
        self.intent = intent
        self.label = label
    }

    /// The batches so far, in the order in which they began.
    public var batches: [TokenBatch] { state.withLock { $0.batches } }

    /// Batches that begin from now on are held until ``resume()``.
    public func pause() { state.withLock { $0.isPaused = true } }

    /// Lets batches go on.
    public func resume() {
        let held = state.withLock { state in
            state.isPaused = false
            defer { state.held = [] }
            return state.held
        }
        for continuation in held { continuation.resume() }
    }

    /// What goes wrong from now on; nil: nothing.
    public func set(_ fault: Fault?) { state.withLock { $0.fault = fault } }

    /// Returns when `count` batches have begun.
    public func begun(_ count: Int) async {
        await withCheckedContinuation { continuation in
            let isReady = state.withLock { state in
                if state.batches.count >= count { return true }
                state.watchers.append((count, continuation))
                return false
            }
            if isReady { continuation.resume() }
        }
    }

    /// Notes the batch, waits where paused, and gives the logits of what the test chose.
    public func forward(_ batch: TokenBatch) async throws -> Logits {
        let watchers = state.withLock { state in
            state.batches.append(batch)
            let ready = state.watchers.filter { $0.count <= state.batches.count }
            state.watchers.removeAll { $0.count <= state.batches.count }
            return ready
        }
        for watcher in watchers { watcher.continuation.resume() }
        await withCheckedContinuation { continuation in
            let isPaused = state.withLock { state in
                if state.isPaused { state.held.append(continuation) }
                return state.isPaused
            }
            if !isPaused { continuation.resume() }
        }

        var logits = Logits(
            intent: Array(repeating: 0, count: batch.rows * intents), slots: Array(repeating: 0, count: batch.rows * batch.length * labels))
        for row in 0..<batch.rows {
            let columns = (row * batch.length..<(row + 1) * batch.length).filter { batch.attentionMask[$0] == 1 }
            logits.intent[row * intents + intent(columns.map { batch.inputIDs[$0] })] = Self.chosen
            for column in columns { logits.slots[column * labels + label(batch.inputIDs[column])] = Self.chosen }
        }
        switch state.withLock({ $0.fault }) {
        case .throwing(let error): throw error
        case .throwingAbove(let rows, let error): if batch.rows > rows { throw error }
        case .notANumber: logits.intent[0] = .nan
        case .wrongSize: logits.slots.removeLast()
        case nil: break
        }
        return logits
    }
}
