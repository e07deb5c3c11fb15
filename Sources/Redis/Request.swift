internal import Synchronization

/// One command and who waits for its reply: a caller, or the client itself.
///
/// Who waits is answered exactly once, whoever comes first: the reply, its deadline, its cancellation or the end of the connection. A request
/// that was answered early stays in the pipeline as a tombstone, so that the replies behind it still meet their callers.
final class Request: @unchecked Sendable {
    // Invariant: `attempts`, `isAsking` and `handler` are touched on the event loop's thread only; all else is constant or behind `state`.
    typealias Answer = Result<RedisValue, RedisError>

    private enum State {
        case created
        /// Without a continuation the client itself waits, with `handler`.
        case waiting(UnsafeContinuation<Answer, Never>?, sent: Bool)
        case answered
    }

    /// The encoded command.
    let command: [UInt8]
    let deadline: ContinuousClock.Instant
    let route: Route
    /// How often a server has sent it elsewhere, or asked to try again.
    var attempts = 0
    /// Whether the next server serves it only after ASKING.
    var isAsking = false
    private let handler: ((Answer) -> Void)?
    private let state: Mutex<State>

    /// A caller's command.
    init(command: [UInt8], deadline: ContinuousClock.Instant, route: Route = Route()) {
        self.command = command
        self.deadline = deadline
        self.route = route
        handler = nil
        state = Mutex(.created)
    }

    /// The client's own command, which takes no place among those of the callers. `handler` runs on the event loop's thread.
    init(own words: [RedisBytes], deadline: ContinuousClock.Instant, handler: @escaping (Answer) -> Void = { _ in }) {
        command = CommandEncoder.encode(words)
        self.deadline = deadline
        route = Route()
        self.handler = handler
        state = Mutex(.waiting(nil, sent: false))
    }

    /// Whether the client itself has sent it.
    var isOwn: Bool { handler != nil }

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

    /// Marks the command as refused by the server that had it: it has not run.
    ///
    /// - Returns: False where nobody waits for it any more.
    func markRefused() -> Bool {
        state.withLock { state in
            guard case .waiting(let continuation, _) = state else { return false }
            state = .waiting(continuation, sent: false)
            return true
        }
    }

    /// Whether somebody still waits.
    var isWaiting: Bool {
        state.withLock { state in
            if case .waiting = state { true } else { false }
        }
    }

    /// Answers the caller, unless it has been answered already.
    func answer(_ answer: Answer) {
        guard let (continuation, _) = take() else { return }
        deliver(answer, to: continuation)
    }

    /// Answers the caller with an error that depends on whether the command was handed to a connection.
    func fail(_ error: (_ sent: Bool) -> RedisError) {
        guard let (continuation, sent) = take() else { return }
        deliver(.failure(error(sent)), to: continuation)
    }

    /// Answers the caller that its task was cancelled.
    func cancel() {
        fail(Self.cancelled)
    }

    private func deliver(_ answer: Answer, to continuation: UnsafeContinuation<Answer, Never>?) {
        if let continuation { continuation.resume(returning: answer) } else { handler?(answer) }
    }

    private func take() -> (continuation: UnsafeContinuation<Answer, Never>?, sent: Bool)? {
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

/// Which server a command is for, and what must hold before its caller is answered.
struct Route: Sendable {
    /// The hash slot of the command's key; nil: any master.
    var slot: UInt16?
    /// Whether a replica may answer.
    var prefersReplica = false
    /// How many replicas must have confirmed what was written.
    var replication: RedisClient.Replication?
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

    func contains(where predicate: (Request) -> Bool) -> Bool {
        storage[head...].contains { $0.map(predicate) ?? false }
    }

    func forEach(_ body: (Request) -> Void) {
        for case let request? in storage[head...] { body(request) }
    }
}
