import DequeModule
public import RPC
import Synchronization

/// Answers the messages of a bidirectional stream side by side; those of one lane (one user, say) one after another, in the order in which
/// they came.
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
    let (answers, answered) = AsyncStream.makeStream(of: [UInt8].self)
    let (places, freed) = AsyncStream.makeStream(of: Void.self)
    for _ in 0..<limit { freed.yield() }
    let lanes = Lanes<Item>()

    try await withThrowingTaskGroup(of: Void.self) { writing in
        writing.addTask {
            // Where writing fails, the reader must not wait for a place for ever.
            defer { freed.finish() }
            for await answer in answers {
                try await responses.write(answer)
                freed.yield()
            }
        }
        do {
            defer { answered.finish() }
            try await withThrowingDiscardingTaskGroup { group in
                var place = places.makeAsyncIterator()
                for try await bytes in requests {
                    let item = decode(bytes)
                    guard await place.next() != nil else { throw CancellationError() }
                    guard let name = lane(item) else {
                        group.addTask { answered.yield(await respond(item)) }
                        continue
                    }
                    guard lanes.enter(name, item) else { continue }
                    group.addTask {
                        var next: Item? = item
                        while let item = next {
                            answered.yield(await respond(item))
                            next = lanes.next(name)
                        }
                    }
                }
            }
        }
        try await writing.waitForAll()
    }
}

/// Which lanes are busy, and what waits in them.
private final class Lanes<Item: Sendable>: Sendable {
    private let waiting = Mutex<[String: Deque<Item>]>([:])

    /// Puts `item` into its lane.
    ///
    /// - Returns: Whether the lane was free: the caller takes `item` itself, and then what ``next(_:)`` gives.
    func enter(_ lane: String, _ item: Item) -> Bool {
        waiting.withLock { waiting in
            guard waiting[lane] != nil else {
                waiting[lane] = []
                return true
            }
            waiting[lane]?.append(item)
            return false
        }
    }

    /// What waits next in a lane; nil: nothing, and the lane is free.
    func next(_ lane: String) -> Item? {
        waiting.withLock { waiting in
            if let item = waiting[lane]?.popFirst() { return item }
            waiting[lane] = nil
            return nil
        }
    }
}
