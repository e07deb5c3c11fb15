import DequeModule
import Synchronization

/// What waits to be written or sent elsewhere: at most so many. Whoever adds to it never waits.
public final class DroppingQueue<Element: Sendable>: Sendable {
    private let capacity: Int
    private let waiting = Mutex<Deque<Element>>([])
    private let losses = Atomic<UInt64>(0)
    /// Something waits.
    public let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    /// A queue in which nothing waits.
    public init(capacity: Int) {
        self.capacity = capacity
        (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// How many were dropped because the queue was full.
    public var dropped: UInt64 { losses.load(ordering: .relaxed) }

    /// Adds an element where there is room.
    ///
    /// - Returns: Whether there was.
    @discardableResult public func add(_ element: Element) -> Bool {
        let (isKept, isFirst) = waiting.withLock { waiting in
            guard waiting.count < capacity else { return (false, false) }
            waiting.append(element)
            return (true, waiting.count == 1)
        }
        if !isKept { losses.wrappingAdd(1, ordering: .relaxed) }
        if isFirst { signal.yield() }
        return isKept
    }

    /// The oldest elements, at most so many.
    public func take(_ limit: Int) -> [Element] {
        waiting.withLock { waiting in
            let taken = Array(waiting.prefix(limit))
            waiting.removeFirst(taken.count)
            return taken
        }
    }
}
