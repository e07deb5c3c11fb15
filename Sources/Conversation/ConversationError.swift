/// Why a request was not answered, in the words of the contracts.
public struct ConversationError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The name by which gRPC knows the code, such as `INVALID_ARGUMENT`.
        public let description: String

        /// The request itself is at fault; sending it again does not help.
        public static let invalidArgument = Code(description: "INVALID_ARGUMENT")
        /// What was asked for is not there.
        public static let notFound = Code(description: "NOT_FOUND")
        /// Somebody else has it.
        public static let alreadyExists = Code(description: "ALREADY_EXISTS")
        /// What the request builds on does not hold any more.
        public static let failedPrecondition = Code(description: "FAILED_PRECONDITION")
        /// The seq is older than the replies kept.
        public static let aborted = Code(description: "ABORTED")
        /// Too much at once; see ``ConversationError/retryAfter``.
        public static let resourceExhausted = Code(description: "RESOURCE_EXHAUSTED")
        /// The deadline passed before an answer was there.
        public static let deadlineExceeded = Code(description: "DEADLINE_EXCEEDED")
        /// A part is out of reach, and nothing was changed: send the same again.
        public static let unavailable = Code(description: "UNAVAILABLE")
        /// The caller no longer waits.
        public static let cancelled = Code(description: "CANCELLED")
        /// Kefu itself is at fault.
        public static let internalError = Code(description: "INTERNAL")
    }

    /// The kind of the failure.
    public let code: Code
    /// What was wrong, and what was expected.
    public let message: String
    /// When trying again makes sense, where that is known.
    public let retryAfter: Duration?

    /// A failure with its kind and its message.
    public init(_ code: Code, _ message: String, retryAfter: Duration? = nil) {
        self.code = code
        self.message = message
        self.retryAfter = retryAfter
    }

    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}
