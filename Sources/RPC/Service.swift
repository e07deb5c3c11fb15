/// A gRPC service: a name and its methods.
public struct Service: Sendable {
    /// The full name, such as `kefu.dialogue.v1.Dialogue`.
    public let name: String
    /// What it can do.
    public let methods: [Method]

    /// A service by its full name and its methods.
    public init(_ name: String, _ methods: [Method]) {
        self.name = name
        self.methods = methods
    }

    /// The same service, of which each call begins with a check.
    ///
    /// - Parameter check: What it throws ends the call before the handler sees it.
    public func checked(_ check: @escaping @Sendable (ServerContext) throws(RPCError) -> Void) -> Service {
        Service(name, methods.map { $0.checked(check) })
    }
}

/// A method of a service.
///
/// Handlers run on the thread of the server's ``CompletionQueue`` and must not block it. A handler that throws an ``RPCError`` ends its
/// call with that status; any other error becomes INTERNAL with a fixed message. Its task is cancelled when the client cancels or
/// disconnects, or the deadline passes.
public struct Method: Sendable {
    enum Handler: Sendable {
        case unary(@Sendable (_ request: [UInt8], _ context: ServerContext) async throws -> [UInt8])
        case streaming(@Sendable (_ requests: RequestStream, _ responses: ResponseWriter, _ context: ServerContext) async throws -> Void)
    }

    /// The name within its service, such as `Reply`.
    public let name: String
    let handler: Handler

    /// One request, one response.
    public static func unary(
        _ name: String, _ handler: @escaping @Sendable (_ request: [UInt8], _ context: ServerContext) async throws -> [UInt8]
    ) -> Method {
        Method(name: name, handler: .unary(handler))
    }

    /// Any number of requests and of responses, in either order. Serves client streaming and server streaming too. The call ends with OK when
    /// the handler returns.
    public static func streaming(
        _ name: String,
        _ handler:
            @escaping @Sendable (_ requests: RequestStream, _ responses: ResponseWriter, _ context: ServerContext) async throws -> Void
    ) -> Method {
        Method(name: name, handler: .streaming(handler))
    }

    func checked(_ check: @escaping @Sendable (ServerContext) throws(RPCError) -> Void) -> Method {
        switch handler {
        case .unary(let handler):
            .unary(name) { request, context in
                try check(context)
                return try await handler(request, context)
            }
        case .streaming(let handler):
            .streaming(name) { requests, responses, context in
                try check(context)
                try await handler(requests, responses, context)
            }
        }
    }
}

/// What a handler knows of its call.
public struct ServerContext: Sendable {
    /// `/package.Service/Method`.
    public let method: String
    /// The client's address, such as `ipv4:127.0.0.1:40000` or `unix:`. Not authenticated.
    public let peer: String
    /// When the client gives up; nil: never.
    public let deadline: ContinuousClock.Instant?
    /// What the client sent beside its messages.
    public let metadata: Metadata
    /// The names in the client's certificate that was checked (mTLS): subject alternative names, or else the common name. Empty without mTLS.
    public let peerIdentities: [String]
    let call: ServerCall

    /// Sets what is sent before the first response. Too late after the first response of a stream.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where a pair is not legal.
    public func setInitialMetadata(_ metadata: Metadata) throws(RPCError) {
        try metadata.validate()
        call.setInitialMetadata(metadata)
    }

    /// Sets what is sent with the status; the metadata of a thrown ``RPCError`` comes after it.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument` where a pair is not legal.
    public func setTrailingMetadata(_ metadata: Metadata) throws(RPCError) {
        try metadata.validate()
        call.setTrailingMetadata(metadata)
    }
}
