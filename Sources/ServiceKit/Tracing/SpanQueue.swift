import DequeModule
import RPCServices
import Synchronization

/// Spans that wait for the exporter: at most so many.
final class SpanQueue: Sendable {
    private let capacity: Int
    private let waiting = Mutex<Deque<Span>>([])
    private let losses = Atomic<UInt64>(0)
    /// Something waits.
    let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init(capacity: Int) {
        self.capacity = capacity
        (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// How many were dropped because the queue was full.
    var dropped: UInt64 { losses.load(ordering: .relaxed) }

    func add(_ span: Span) {
        let (isKept, isFirst) = waiting.withLock { waiting in
            guard waiting.count < capacity else { return (false, false) }
            waiting.append(span)
            return (true, waiting.count == 1)
        }
        if !isKept { losses.wrappingAdd(1, ordering: .relaxed) }
        if isFirst { signal.yield() }
    }

    /// The oldest spans, at most so many.
    func take(_ limit: Int) -> [Span] {
        waiting.withLock { waiting in
            let taken = Array(waiting.prefix(limit))
            waiting.removeFirst(taken.count)
            return taken
        }
    }
}
