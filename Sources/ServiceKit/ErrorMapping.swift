public import Conversation
public import RPC

extension RPCError {
    /// The status that tells a client of `error`. A time to try again goes into the metadata `grpc-retry-pushback-ms`.
    public init(_ error: ConversationError) {
        var metadata = Metadata()
        if let retryAfter = error.retryAfter {
            let (seconds, attoseconds) = retryAfter.components
            metadata.append("grpc-retry-pushback-ms", "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)")
        }
        self.init(Code(error.code), error.message, metadata: metadata)
    }
}

extension RPCError.Code {
    /// The gRPC code of the contract's code.
    public init(_ code: ConversationError.Code) {
        switch code {
        case .invalidArgument: self = .invalidArgument
        case .notFound: self = .notFound
        case .alreadyExists: self = .alreadyExists
        case .failedPrecondition: self = .failedPrecondition
        case .aborted: self = .aborted
        case .resourceExhausted: self = .resourceExhausted
        case .deadlineExceeded: self = .deadlineExceeded
        case .unavailable: self = .unavailable
        case .cancelled: self = .cancelled
        default: self = .internalError
        }
    }
}

extension ConversationError {
    /// What a failed call to another service means to a turn. A code that the contracts do not name is an internal error.
    public init(_ error: RPCError, from service: String) {
        let code: Code =
            switch error.code {
            case .invalidArgument: .invalidArgument
            case .notFound: .notFound
            case .aborted: .aborted
            case .resourceExhausted: .resourceExhausted
            case .deadlineExceeded: .deadlineExceeded
            case .unavailable: .unavailable
            case .cancelled: .cancelled
            default: .internalError
            }
        self.init(code, "\(service): \(error.message)")
    }
}
