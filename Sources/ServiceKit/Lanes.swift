import DequeModule
public import RPC
import Synchronization

/// Answers the messages of a bidirectional stream side by side; those of one lane (one user, say) one after another, in the order in which
/// they came.
///
/// A stream on which nothing is under way has no task beside the one that reads it.
///
/// - Parameters:
///   - limit: How many messages may be waiting or under way; the stream is not read further until one of them is answered and the
///     answer is taken, so that a client that does not read its answers is not read from either.
///   - lane: The lane of a message; nil: a lane of its own.
/// - Throws: What reading the requests or writing the responses throws. A stream that is not read further (``RequestStream/end()``) is no failure: what was read
///   is answered.
public func answerSideBySide<Item: Sendable>(
    _ requests: RequestStream, _ responses: ResponseWriter, limit: Int, decode: ([UInt8]) -> Item, lane: @Sendable (Item) -> String?,
    respond: @escaping @Sendable (Item) async -> [UInt8]
) async throws {
    let lanes = Lanes<Item>(places: limit)
    try await withThrowingDiscardingTaskGroup { group in
        for try await bytes in requests {
            let item = decode(bytes)
            guard await lanes.takePlace() else { return }
            let name = lane(item)
            guard lanes.enter(name, item) else { continue }
            group.addTask {
                var next: Item? = item
                while let item = next {
                    do {
                        try await responses.write(await respond(item))
                    } catch {
                        // What cannot be answered need not be read; and the reader must not wait for a place for ever.
                        requests.end()
                        lanes.close()
                        throw error
                    }
                    next = lanes.leave(name)
                }
            }
        }
    }
}

/// Which lanes of a stream are busy and what waits in them, and how many messages may still come in.
private final class Lanes<Item: Sendable>: Sendable {
    private struct State {
        var waiting: [String: Deque<Item>] = [:]
        var places: Int
        var isClosed = false
        /// The reader, which waits for a place.
        var reader: UnsafeContinuation<Bool, Never>?
    }

    private let state: Mutex<State>

    init(places: Int) { state = Mutex(State(places: places)) }

    /// Waits for a place. One task at a time.
    ///
    /// - Returns: Whether there is one; else nothing more is to be read.
    func takePlace() async -> Bool {
        if let isTaken = state.withLock({ Self.takePlace(&$0) }) { return isTaken }
        return await withUnsafeContinuation { continuation in
            let isTaken = state.withLock { state in
                let isTaken = Self.takePlace(&state)
                if isTaken == nil { state.reader = continuation }
                return isTaken
            }
            if let isTaken { continuation.resume(returning: isTaken) }
        }
    }

    /// - Returns: nil: there is none yet.
    private static func takePlace(_ state: inout State) -> Bool? {
        if state.isClosed { return false }
        if state.places == 0 { return nil }
        state.places -= 1
        return true
    }

    /// Puts `item` into its lane.
    ///
    /// - Returns: Whether the lane was free: the caller takes `item` itself, and then what ``leave(_:)`` gives.
    func enter(_ lane: String?, _ item: Item) -> Bool {
        guard let lane else { return true }
        return state.withLock { state in
            guard state.waiting[lane] != nil else {
                state.waiting[lane] = []
                return true
            }
            state.waiting[lane]?.append(item)
            return false
        }
    }

    /// An item of a lane was answered: its place is free.
    ///
    /// - Returns: What waits next in the lane; nil: nothing, and the lane is free.
    func leave(_ lane: String?) -> Item? {
        let (next, reader) = state.withLock { state -> (Item?, UnsafeContinuation<Bool, Never>?) in
            let reader = state.reader
            state.reader = nil
            // The reader has the place at once, where it waits for one.
            if reader == nil { state.places += 1 }
            guard let lane else { return (nil, reader) }
            if let item = state.waiting[lane]?.popFirst() { return (item, reader) }
            state.waiting[lane] = nil
            return (nil, reader)
        }
        reader?.resume(returning: true)
        return next
    }

    /// Nothing more is to be read.
    func close() {
        let reader = state.withLock { state in
            state.isClosed = true
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: false)
    }
}
