import CGRPC
import Synchronization

/// A call that a client makes, from its start to its status.
final class ClientCall: Call, @unchecked Sendable {
    /// How a call ended.
    struct Status {
        var code: Int
        var text: String
        var trailingMetadata: Metadata

        /// nil: OK.
        var error: RPCError? {
            code == 0 ? nil : RPCError(RPCError.Code(rawValue: code), text, metadata: trailingMetadata)
        }
    }

    /// What a unary call ended with.
    typealias Unary = Result<UnaryResponse, RPCError>

    let channel: Channel
    // Under the lock of `core`:
    private var unaryWaiter: UnsafeContinuation<Unary, Never>?
    private var initialMetadata: Metadata?
    private var status: Status?
    private var statusWaiters: [UnsafeContinuation<Status, Never>] = []
    private var metadataWaiters: [UnsafeContinuation<Metadata, Never>] = []

    init(channel: Channel) {
        self.channel = channel
        super.init(queue: channel.queue)
    }

    /// Creates the call in the core. Returns false where the core refuses.
    func open(_ channel: OpaquePointer, _ method: String, _ options: CallOptions) -> Bool {
        core.withLock { core in
            var method = method
            let timeout = options.timeLeft?.timeout ?? Int64.max
            let created = method.withUTF8 { method in
                let characters = UnsafeRawBufferPointer(method).assumingMemoryBound(to: CChar.self)
                return cgrpc_channel_call(channel, queue.handle, characters.baseAddress, characters.count, timeout, opaque)
            }
            adopt(created, &core)
            guard let handle = core.handle else { return false }
            options.metadata.add(to: handle, CGRPC_METADATA_REQUEST)
            return true
        }
    }

    override func handle(_ kind: cgrpc_kind, success: Bool) {
        switch kind {
        case CGRPC_UNARY_FINISHED: unaryFinished()
        case CGRPC_CALL_STARTED: started()
        case CGRPC_STATUS_RECEIVED: statusReceived()
        case CGRPC_MESSAGE_RECEIVED: messageReceived(success: success)
        case CGRPC_MESSAGE_SENT: messageSent(success: success)
        case CGRPC_CLOSE_SENT: closeSent()
        default: break
        }
    }

    // MARK: Unary

    func unary(_ request: [UInt8], waitForReady: Bool) async -> Unary {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let isStarted = core.withLock { core in
                    let isStarted = request.withUnsafeBufferPointer { bytes in
                        start(&core) { cgrpc_call_start_unary($0, cgrpc_bytes(bytes), waitForReady) }
                    }
                    if isStarted { unaryWaiter = continuation } else { end(&core) }
                    return isStarted
                }
                if isStarted { return }
                channel.ended(self)
                continuation.resume(returning: .failure(RPCError(.internalError, "the gRPC core refused to start the call")))
            }
        } onCancel: {
            cancel()
        }
    }

    private func unaryFinished() {
        let (waiter, result) = core.withLock { core -> (UnsafeContinuation<Unary, Never>?, Unary) in
            core.inFlight -= 1
            let waiter = unaryWaiter
            unaryWaiter = nil
            guard let handle = core.handle else { return (waiter, .failure(RPCError(.internalError, "the call has no handle"))) }
            let result = Self.unary(from: handle, isCancelledHere: core.isCancelledHere)
            end(&core)
            return (waiter, result)
        }
        channel.ended(self)
        waiter?.resume(returning: result)
    }

    private static func unary(from handle: OpaquePointer, isCancelledHere: Bool) -> Unary {
        let status = status(of: handle, isCancelledHere: isCancelledHere)
        if let error = status.error { return .failure(error) }
        guard let message = takeMessage(handle) else {
            return .failure(RPCError(.internalError, "the server answered OK without a response message; one is expected"))
        }
        return .success(
            UnaryResponse(
                message: message, initialMetadata: Metadata(received: handle, CGRPC_METADATA_INITIAL),
                trailingMetadata: status.trailingMetadata))
    }

    private static func status(of handle: OpaquePointer, isCancelledHere: Bool) -> Status {
        let code = Int(cgrpc_call_status_code(handle))
        let text = code == 0 ? "" : cgrpc_call_status_text(handle).string
        if code == RPCError.Code.cancelled.rawValue, text == "CANCELLED", !isCancelledHere {
            // So a server of the gRPC core refuses the calls that arrive after its shutdown began.
            return Status(
                code: RPCError.Code.unavailable.rawValue, text: "the server is shutting down and did not take the call",
                trailingMetadata: [:])
        }
        return Status(code: code, text: text, trailingMetadata: Metadata(received: handle, CGRPC_METADATA_TRAILING))
    }

    /// No batch starts any more.
    private func end(_ core: inout Core) {
        core.isOver = true
        releaseIfOver(&core)
    }

    // MARK: Streaming

    /// Sends the request's metadata and waits for the server's answer in the background. Returns false where the core refuses.
    func begin(waitForReady: Bool) -> Bool {
        let isStarted = core.withLock { core in
            guard start(&core, { cgrpc_call_watch_status($0) }) else {
                end(&core)
                return false
            }
            if !start(&core, { cgrpc_call_start($0, waitForReady) }), let handle = core.handle { cgrpc_call_cancel(handle) }
            return true
        }
        if !isStarted { channel.ended(self) }
        return isStarted
    }

    private func started() {
        let (waiters, metadata) = core.withLock { core in
            core.inFlight -= 1
            let metadata = core.handle.map { Metadata(received: $0, CGRPC_METADATA_INITIAL) } ?? Metadata()
            initialMetadata = metadata
            defer { metadataWaiters = [] }
            releaseIfOver(&core)
            return (metadataWaiters, metadata)
        }
        for waiter in waiters { waiter.resume(returning: metadata) }
    }

    private func statusReceived() {
        let (waiters, status) = core.withLock { core in
            core.inFlight -= 1
            let status =
                core.handle.map { Self.status(of: $0, isCancelledHere: core.isCancelledHere) }
                ?? Status(code: 13, text: "the call has no handle", trailingMetadata: [:])
            self.status = status
            defer { statusWaiters = [] }
            end(&core)
            return (statusWaiters, status)
        }
        channel.ended(self)
        for waiter in waiters { waiter.resume(returning: status) }
    }

    /// The status, when the call is over.
    func finalStatus() async -> Status {
        await withUnsafeContinuation { continuation in
            let known: Status? = core.withLock { _ in
                if status == nil { statusWaiters.append(continuation) }
                return status
            }
            if let known { continuation.resume(returning: known) }
        }
    }

    /// The server's metadata before its messages; empty where the call ended without.
    func metadata() async -> Metadata {
        await withUnsafeContinuation { continuation in
            let known: Metadata? = core.withLock { _ in
                if initialMetadata == nil { metadataWaiters.append(continuation) }
                return initialMetadata
            }
            if let known { continuation.resume(returning: known) }
        }
    }

    /// The status, if it is known by now.
    var knownStatus: Status? { core.withLock { _ in status } }
}
