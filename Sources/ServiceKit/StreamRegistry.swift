public import RPC
import Synchronization

/// The open streams of a service: ends those on which nothing happens for too long, and all of them when the process drains.
///
/// A stream that is ended is not read further; what was read from it is still answered. One timer serves all streams.
public final class StreamRegistry: Sendable {
    /// Why a stream is not read further.
    public enum End: Sendable, Hashable {
        /// The process is shutting down.
        case draining
        /// Nothing happened for this long.
        case idle(Duration)

        /// The status that tells the client: it may open another stream.
        public var error: RPCError {
            switch self {
            case .draining:
                RPCError(.unavailable, "the server is shutting down: open a stream to another one, and send again what has no answer")
            case .idle(let duration): RPCError(.unavailable, "nothing was sent on the stream for \(duration): open it again")
            }
        }
    }

    private struct Entry {
        let requests: RequestStream
        var lastActivity: ContinuousClock.Instant
        /// Messages that were read and not answered yet.
        var underWay = 0
        var end: End?
    }

    private struct State {
        var entries: [UInt64: Entry] = [:]
        var lastID: UInt64 = 0
        var isDraining = false
        var isSweeping = false

        /// The streams on which nothing happened for too long, and whether there is no stream left to look at.
        mutating func takeIdle(_ timeout: Duration, at now: ContinuousClock.Instant) -> ([RequestStream], Bool) {
            var idle: [RequestStream] = []
            for (id, entry) in entries where entry.end == nil && entry.underWay == 0 && entry.lastActivity + timeout <= now {
                entries[id]?.end = .idle(timeout)
                idle.append(entry.requests)
            }
            if entries.isEmpty { isSweeping = false }
            return (idle, entries.isEmpty)
        }
    }

    private let idleTimeout: Duration?
    private let state = Mutex(State())

    /// A registry without streams.
    ///
    /// - Parameter idleTimeout: After how long without a message either way a stream is ended; nil: never.
    public init(idleTimeout: Duration? = nil) { self.idleTimeout = idleTimeout }

    /// How many streams are open.
    public var count: Int { state.withLock { $0.entries.count } }

    /// Ends every stream, and each that comes.
    public func drain() {
        let streams = state.withLock { state in
            state.isDraining = true
            for id in state.entries.keys { state.entries[id]?.end = .draining }
            return state.entries.values.map(\.requests)
        }
        for stream in streams { stream.end() }
    }

    /// Serves a stream: runs `body`, which reads the stream to its end and answers.
    ///
    /// - Parameter body: Says `note(1)` for each message that it reads, and `note(-1)` when it has answered it.
    /// - Throws: ``End/error`` where the stream was ended here, and what `body` throws.
    public func during(_ requests: RequestStream, _ body: (_ note: @escaping @Sendable (Int) -> Void) async throws -> Void) async throws {
        let (id, isDraining, beginsSweep) = add(requests)
        if isDraining { requests.end() }
        if beginsSweep { Task { await sweep() } }
        do {
            try await body { self.note(id, $0) }
        } catch {
            _ = remove(id)
            throw error
        }
        if let end = remove(id) { throw end.error }
    }

    private func add(_ requests: RequestStream) -> (id: UInt64, isDraining: Bool, beginsSweep: Bool) {
        state.withLock { state in
            state.lastID += 1
            state.entries[state.lastID] = Entry(requests: requests, lastActivity: .now, end: state.isDraining ? .draining : nil)
            let beginsSweep = idleTimeout != nil && !state.isSweeping
            if beginsSweep { state.isSweeping = true }
            return (state.lastID, state.isDraining, beginsSweep)
        }
    }

    private func note(_ id: UInt64, _ change: Int) {
        let now = ContinuousClock.now
        state.withLock { state in
            state.entries[id]?.lastActivity = now
            state.entries[id]?.underWay += change
        }
    }

    private func remove(_ id: UInt64) -> End? { state.withLock { $0.entries.removeValue(forKey: id)?.end } }

    /// Ends idle streams, for as long as there are streams.
    private func sweep() async {
        guard let idleTimeout else { return }
        while true {
            // A stream may so live a quarter longer than it must.
            try? await Task.sleep(for: idleTimeout / 4)
            let (idle, isOver) = state.withLock { $0.takeIdle(idleTimeout, at: .now) }
            for stream in idle { stream.end() }
            if isOver { return }
        }
    }
}
