extension Channel {
    /// Any number of requests and of responses, in either order. Serves client streaming and server streaming too.
    ///
    /// The call lives while `body` does: what `body` leaves before the responses are read to their end is cancelled. Cancelling the task cancels
    /// the call.
    ///
    /// - Parameter method: `/package.Service/Method`.
    /// - Throws: What `body` throws; but where a write failed because the server ended the call, the server's status instead.
    public func streaming<R: Sendable>(
        _ method: String, options: CallOptions = .init(), _ body: (RequestWriter, ResponseStream) async throws -> R
    ) async throws -> R {
        let call = try open(method, options)
        guard call.begin(waitForReady: options.waitForReady ?? configuration.waitForReady) else {
            throw RPCError(.internalError, "the gRPC core refused to start the call")
        }
        return try await withTaskCancellationHandler {
            do {
                let result = try await body(RequestWriter(call: call), ResponseStream(call: call))
                call.cancel()
                _ = await call.finalStatus()
                return result
            } catch let error as RPCError where error.cause is WriteFailure {
                // The call is over already, so this ends; the status comes after the last response.
                while case .message = await call.receive() {}
                call.cancel()
                throw await call.finalStatus().error ?? error
            } catch {
                call.cancel()
                _ = await call.finalStatus()
                throw error
            }
        } onCancel: {
            call.cancel()
        }
    }
}

/// The call was over when a request was to be sent.
struct WriteFailure: Error {}

/// Sends the requests of a streaming call.
public struct RequestWriter: Sendable {
    let call: ClientCall

    /// Sends a request; returns when the core took it, which a server that reads slowly delays. Tasks that write at the same time take turns.
    ///
    /// - Throws: ``RPCError`` where the call is over, it was half-closed (`.failedPrecondition`), the request is too large (`.resourceExhausted`),
    ///   or the waiting task is cancelled (`.cancelled`; the request may still go out).
    public func write(_ message: [UInt8]) async throws(RPCError) {
        try call.channel.checkSize(of: message)
        switch await call.send(message) {
        case .taken: return
        case .failed:
            if let error = call.knownStatus?.error { throw error }
            throw RPCError(.cancelled, "the server ended the call, which takes no more requests", cause: WriteFailure())
        case .abandoned: throw RPCError(.cancelled, "the task that waited for a request to be taken was cancelled")
        case .misused: throw RPCError(.failedPrecondition, "the call was half-closed by finish(), and takes no more requests")
        }
    }

    /// Half-closes the call: the server learns that no more requests come.
    public func finish() { call.halfClose() }
}

/// The responses of a streaming call, in order. One task at a time may wait for the next.
///
/// Throws the call's status where it is not OK, and `.cancelled` where the waiting task is cancelled; no response is lost by that.
public struct ResponseStream: AsyncSequence, Sendable {
    let call: ClientCall

    /// The next response; nil: the server ended the call with OK.
    public func next() async throws(RPCError) -> [UInt8]? {
        switch await call.receive() {
        case .message(let message): return message
        case .end, .failed:
            if let error = await call.finalStatus().error { throw error }
            return nil
        case .abandoned: throw RPCError(.cancelled, "the task that waited for a response was cancelled")
        case .misused: throw RPCError(.internalError, "two tasks wait for the next response of one call; one is allowed")
        }
    }

    /// What the server sent before its responses, when it is there; empty where the call ended without.
    public var initialMetadata: Metadata {
        get async { await call.metadata() }
    }

    /// What the server sent with its status; nil before the responses were read to their end.
    public var trailingMetadata: Metadata? { call.knownStatus?.trailingMetadata }

    /// Goes on where the last iteration stopped.
    public func makeAsyncIterator() -> Iterator { Iterator(stream: self) }

    /// Takes responses from the stream.
    public struct Iterator: AsyncIteratorProtocol {
        let stream: ResponseStream

        /// The next response; nil: the server ended the call with OK.
        public mutating func next() async throws(RPCError) -> [UInt8]? { try await stream.next() }

        /// The next response; nil: the server ended the call with OK.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCError) -> [UInt8]? { try await stream.next() }
    }
}
