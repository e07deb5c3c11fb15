import CGRPC
import Synchronization

/// A call that a server handles, from the armed accept to its end.
final class ServerCall: Call, @unchecked Sendable {
    private let server: ServerCore
    private let route: ServerCore.Route
    // Under the lock of `core`:
    private var initialMetadata = Metadata()
    private var trailingMetadata = Metadata()
    private var task: Task<Void, Never>?
    private var isFinished = false
    private var statusIsSent = false
    private var isClosed = false
    private var deadline: ContinuousClock.Instant?

    init(server: ServerCore, route: ServerCore.Route) {
        self.server = server
        self.route = route
        super.init(queue: server.queue)
    }

    /// Waits for a call. Returns false where the core refused.
    func arm(_ server: OpaquePointer) -> Bool {
        core.withLock { core in
            expect {
                adopt(cgrpc_server_accept(server, route.handle, opaque), &core)
                if core.handle != nil { core.inFlight = 1 }
                return core.handle != nil
            }
        }
    }

    override func handle(_ kind: cgrpc_kind, success: Bool) {
        switch kind {
        case CGRPC_CALL_ACCEPTED: accepted(success: success)
        case CGRPC_CALL_CLOSED: closed()
        case CGRPC_STATUS_SENT: statusSent()
        case CGRPC_MESSAGE_RECEIVED: messageReceived(success: success)
        case CGRPC_MESSAGE_SENT: messageSent(success: success)
        default: break
        }
    }

    // MARK: Events

    private func accepted(success: Bool) {
        if success { server.arm(route) }
        defer { server.acceptEnded() }
        let handle: OpaquePointer? = core.withLock { core in
            core.inFlight -= 1
            if !success {
                core.isOver = true
                releaseIfOver(&core)
                return nil
            }
            if !start(&core, { cgrpc_call_watch_close($0) }) { isClosed = true }
            return core.handle
        }
        guard let handle else { return }
        let timeLeft = cgrpc_call_time_left(handle)
        let deadline = timeLeft == Int64.max ? nil : ContinuousClock.now.advanced(by: .nanoseconds(timeLeft))
        core.withLock { _ in self.deadline = deadline }
        guard let handler = route.handler else {
            return finish(RPCError(.unimplemented, "the method \(cgrpc_call_path(handle).string) is not known to this server"))
        }
        if timeLeft <= 0 { return finish(RPCError(.deadlineExceeded, "the deadline had passed when the call arrived")) }
        let context = ServerContext(
            method: route.path, peer: Self.peer(of: handle), deadline: deadline,
            metadata: Metadata(received: handle, CGRPC_METADATA_REQUEST),
            peerIdentities: server.isAuthenticating ? Self.peerIdentities(of: handle) : [], call: self)
        cgrpc_call_forget_request_metadata(handle)
        switch handler {
        case .unary(let handler):
            guard let request = Self.takeMessage(handle) else {
                return finish(RPCError(.internalError, "the call has no request message; one is expected"))
            }
            run { try await handler(request, context) }
        case .streaming(let handler):
            run {
                try await handler(RequestStream(call: self), ResponseWriter(call: self), context)
                return nil
            }
        }
    }

    private func closed() {
        let task: Task<Void, Never>? = core.withLock { core in
            core.inFlight -= 1
            isClosed = true
            let isCancelled = core.handle.map { cgrpc_call_was_cancelled($0) } ?? true
            endIfDone(&core)
            return isCancelled ? self.task : nil
        }
        task?.cancel()
    }

    private func statusSent() {
        core.withLock { core in
            core.inFlight -= 1
            statusIsSent = true
            endIfDone(&core)
        }
    }

    private func endIfDone(_ core: inout Core) {
        if isClosed, statusIsSent { core.isOver = true }
        releaseIfOver(&core)
    }

    // MARK: Handling

    private func run(_ body: @escaping @Sendable () async throws -> [UInt8]?) {
        let task = Task(executorPreference: queue) {
            if Task.isCancelled { return self.finish(self.failure) }
            do {
                self.finish(try await body())
            } catch let error as RPCError {
                self.finish(error)
            } catch {
                self.finish(Task.isCancelled ? self.failure : RPCError(.internalError, "the server failed to handle the call"))
            }
        }
        // The task runs on this thread, so not before this returned.
        core.withLock { _ in self.task = task }
    }

    /// Ends the call with OK.
    private func finish(_ response: [UInt8]?) {
        guard let response, response.count > server.maximumResponseBytes else {
            return finish(response, code: 0, text: "", metadata: Metadata())
        }
        finish(
            RPCError(
                .resourceExhausted, "the response has \(response.count) bytes; this server sends at most \(server.maximumResponseBytes)"))
    }

    private func finish(_ error: RPCError) {
        let code = error.code.rawValue > 0 ? error.code : .unknown
        finish(nil, code: Int32(clamping: code.rawValue), text: error.message, metadata: error.metadata)
    }

    private func finish(_ response: [UInt8]?, code: Int32, text: String, metadata: Metadata) {
        let writes = core.withLock { core -> [Write] in
            if isFinished { return [] }
            isFinished = true
            task = nil
            prepareToSend(&core)
            if let handle = core.handle {
                trailingMetadata.add(to: handle, CGRPC_METADATA_TRAILING)
                metadata.add(to: handle, CGRPC_METADATA_TRAILING)
            }
            var text = text
            let started = text.withUTF8 { text in
                let characters = UnsafeRawBufferPointer(text).assumingMemoryBound(to: CChar.self)
                return (response ?? []).withUnsafeBufferPointer { bytes in
                    start(&core) {
                        cgrpc_call_send_status($0, response != nil, cgrpc_bytes(bytes), code, characters.baseAddress, characters.count)
                    }
                }
            }
            if !started {
                if let handle = core.handle { cgrpc_call_cancel(handle) }
                statusIsSent = true
                endIfDone(&core)
            }
            return takeWrites(&core)
        }
        for write in writes { write.waiter.continuation.resume(returning: .failed) }
    }

    override func prepareToSend(_ core: inout Core) {
        guard !initialMetadata.isEmpty, let handle = core.handle else { return }
        initialMetadata.add(to: handle, CGRPC_METADATA_INITIAL)
        initialMetadata = Metadata()
    }

    func setInitialMetadata(_ metadata: Metadata) { core.withLock { _ in initialMetadata = metadata } }

    func setTrailingMetadata(_ metadata: Metadata) { core.withLock { _ in trailingMetadata = metadata } }

    /// Why nothing more can be received or sent.
    var failure: RPCError {
        let deadline = core.withLock { _ in self.deadline }
        if let deadline, deadline <= .now { return RPCError(.deadlineExceeded, "the deadline of the call passed") }
        return RPCError(.cancelled, "the call was cancelled or its connection broke")
    }

    var maximumResponseBytes: Int { server.maximumResponseBytes }

    // MARK: Peer

    private static func peer(of handle: OpaquePointer) -> String {
        guard let peer = cgrpc_call_peer(handle) else { return "" }
        defer { cgrpc_string_destroy(peer) }
        return String(cString: peer)
    }

    private static func peerIdentities(of handle: OpaquePointer) -> [String] {
        var names: [String] = []
        withUnsafeMutablePointer(to: &names) { names in
            cgrpc_call_peer_identities(handle, names) { context, name, count in
                guard let context, let name else { return }
                let bytes = UnsafeRawBufferPointer(start: name, count: count)
                context.assumingMemoryBound(to: [String].self).pointee.append(String(decoding: bytes, as: UTF8.self))
            }
        }
        return names
    }
}

/// The requests of a streaming call, in order. One task at a time may wait for the next.
///
/// Throws ``RPCError`` where the call is cancelled, broken or out of time before the client was done, and `.cancelled` where the waiting task
/// is cancelled; no request is lost by that.
public struct RequestStream: AsyncSequence, Sendable {
    let call: ServerCall

    /// The next request; nil: the client has no more.
    public func next() async throws(RPCError) -> [UInt8]? {
        switch await call.receive() {
        case .message(let message): return message
        case .end: return nil
        case .failed: throw call.failure
        case .abandoned: throw RPCError(.cancelled, "the task that waited for a request was cancelled")
        case .misused: throw RPCError(.internalError, "two tasks wait for the next request of one call; one is allowed")
        }
    }

    /// Reads no further: ``next()`` gives nil from now on, to a task that waits in it too. What the client sends all the same is dropped, unread. From any
    /// thread, at any time.
    public func end() { call.endReceiving() }

    /// Goes on where the last iteration stopped.
    public func makeAsyncIterator() -> Iterator { Iterator(stream: self) }

    /// Takes requests from the stream.
    public struct Iterator: AsyncIteratorProtocol {
        let stream: RequestStream

        /// The next request; nil: the client has no more.
        public mutating func next() async throws(RPCError) -> [UInt8]? { try await stream.next() }

        /// The next request; nil: the client has no more.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCError) -> [UInt8]? { try await stream.next() }
    }
}

/// Sends the responses of a streaming call.
public struct ResponseWriter: Sendable {
    let call: ServerCall

    /// Sends a response; returns when the core took it, which a client that reads slowly delays. Tasks that write at the same time take turns.
    ///
    /// - Throws: ``RPCError`` where the call is over, the response is too large (`.resourceExhausted`), or the waiting task is cancelled
    ///   (`.cancelled`; the response may still go out).
    public func write(_ message: [UInt8]) async throws(RPCError) {
        let limit = call.maximumResponseBytes
        if message.count > limit {
            throw RPCError(.resourceExhausted, "the response has \(message.count) bytes; this server sends at most \(limit)")
        }
        switch await call.send(message) {
        case .taken: return
        case .failed, .misused: throw call.failure
        case .abandoned: throw RPCError(.cancelled, "the task that waited for a response to be taken was cancelled")
        }
    }
}
