internal import Synchronization

/// One command and the caller that waits for its reply.
///
/// A caller is answered exactly once, whoever comes first: the reply, its deadline, its cancellation or the end of the connection. A request
/// that was answered early stays in the pipeline as a tombstone, so that the replies behind it still meet their callers.
final class Request: Sendable {
    typealias Answer = Result<RedisValue, RedisError>

    private enum State {
        case created
        case waiting(UnsafeContinuation<Answer, Never>, sent: Bool)
        case answered
    }

    /// The encoded command.
    let command: [UInt8]
    let deadline: ContinuousClock.Instant
    private let state = Mutex(State.created)

    init(command: [UInt8], deadline: ContinuousClock.Instant) {
        self.command = command
        self.deadline = deadline
    }

    /// Takes the caller's continuation.
    ///
    /// - Returns: Whether the request is to be sent; false where it was cancelled before, and the caller has been told.
    func wait(with continuation: UnsafeContinuation<Answer, Never>) -> Bool {
        let isFresh = state.withLock { state in
            guard case .created = state else { return false }
            state = .waiting(continuation, sent: false)
            return true
        }
        if !isFresh { continuation.resume(returning: .failure(Self.cancelled(sent: false))) }
        return isFresh
    }

    /// Marks the command as handed to a connection.
    ///
    /// - Returns: False where nobody waits for it any more: then it is not to be sent.
    func markSent() -> Bool {
        state.withLock { state in
            guard case .waiting(let continuation, _) = state else { return false }
            state = .waiting(continuation, sent: true)
            return true
        }
    }

    /// Whether the caller still waits.
    var isWaiting: Bool {
        state.withLock { state in
            if case .waiting = state { true } else { false }
        }
    }

    /// Answers the caller, unless it has been answered already.
    func answer(_ answer: Answer) {
        take()?.continuation.resume(returning: answer)
    }

    /// Answers the caller with an error that depends on whether the command was handed to a connection.
    func fail(_ error: (_ sent: Bool) -> RedisError) {
        guard let (continuation, sent) = take() else { return }
        continuation.resume(returning: .failure(error(sent)))
    }

    /// Answers the caller that its task was cancelled.
    func cancel() {
        fail(Self.cancelled)
    }

    private func take() -> (continuation: UnsafeContinuation<Answer, Never>, sent: Bool)? {
        state.withLock { state in
            defer { state = .answered }
            guard case .waiting(let continuation, let sent) = state else { return nil }
            return (continuation, sent)
        }
    }

    private static func cancelled(sent: Bool) -> RedisError {
        RedisError(
            .cancelled, sent ? "cancelled after the command was sent; it may run" : "cancelled before the command was sent",
            mayHaveRun: sent)
    }
}

/// Requests in the order in which they came.
struct RequestQueue {
    private var storage: [Request?] = []
    private var head = 0

    var count: Int { storage.count - head }
    var isEmpty: Bool { head == storage.count }

    mutating func append(_ request: Request) {
        storage.append(request)
    }

    mutating func popFirst() -> Request? {
        guard head < storage.count else { return nil }
        let request = storage[head]
        storage[head] = nil
        head += 1
        if head == storage.count {
            storage.removeAll(keepingCapacity: storage.count <= 4096)
            head = 0
        } else if head >= 1024, head * 2 > storage.count {
            storage.removeSubrange(..<head)
            head = 0
        }
        return request
    }

    /// Keeps the requests for which `isKept` says so, and gives back the others.
    mutating func remove(unless isKept: (Request) -> Bool) -> [Request] {
        var removed: [Request] = []
        var kept: [Request?] = []
        for case let request? in storage[head...] {
            if isKept(request) { kept.append(request) } else { removed.append(request) }
        }
        storage = kept
        head = 0
        return removed
    }

    func forEach(_ body: (Request) -> Void) {
        for case let request? in storage[head...] { body(request) }
    }
}
