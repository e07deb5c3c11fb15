/// Why a call did not end with OK.
public struct RPCError: Error, Sendable, CustomStringConvertible {
    /// A gRPC status code other than OK. Open: a peer may send codes that have no name here.
    public struct Code: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
        /// The number on the wire; 1 to 16 have names.
        public let rawValue: Int

        /// A code by its number.
        public init(rawValue: Int) { self.rawValue = rawValue }

        /// The caller gave up.
        public static let cancelled = Code(rawValue: 1)
        /// Nothing is known of the failure.
        public static let unknown = Code(rawValue: 2)
        /// The request itself is at fault.
        public static let invalidArgument = Code(rawValue: 3)
        /// The deadline passed first.
        public static let deadlineExceeded = Code(rawValue: 4)
        /// What was asked for is not there.
        public static let notFound = Code(rawValue: 5)
        /// What was to be created is there already.
        public static let alreadyExists = Code(rawValue: 6)
        /// The caller is known, but may not do this.
        public static let permissionDenied = Code(rawValue: 7)
        /// A quota, a size or a queue is at its end.
        public static let resourceExhausted = Code(rawValue: 8)
        /// The system is not in the state that the request needs.
        public static let failedPrecondition = Code(rawValue: 9)
        /// A conflict; start again at a higher level.
        public static let aborted = Code(rawValue: 10)
        /// Past the valid range.
        public static let outOfRange = Code(rawValue: 11)
        /// The server has no such method.
        public static let unimplemented = Code(rawValue: 12)
        /// The server is at fault.
        public static let internalError = Code(rawValue: 13)
        /// Out of reach for now; sending the same again may help.
        public static let unavailable = Code(rawValue: 14)
        /// Data was lost or damaged.
        public static let dataLoss = Code(rawValue: 15)
        /// The caller did not say who it is.
        public static let unauthenticated = Code(rawValue: 16)

        private static let names = [
            "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
            "UNAUTHENTICATED",
        ]

        /// The code's name in gRPC, such as `INVALID_ARGUMENT`; `CODE_42` where it has none.
        public var description: String { Self.names.indices.contains(rawValue) ? Self.names[rawValue] : "CODE_\(rawValue)" }
    }

    /// The kind of the failure.
    public var code: Code
    /// What was wrong, and what was expected.
    public var message: String
    /// A server sends it as trailing metadata; a client finds the trailing metadata here.
    public var metadata: Metadata
    /// The failure below this one, on this side of the wire.
    public var cause: (any Error)?

    /// A failure by its parts.
    public init(_ code: Code, _ message: String, metadata: Metadata = Metadata(), cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.metadata = metadata
        self.cause = cause
    }

    /// The code, the message and the cause.
    public var description: String {
        guard let cause else { return "\(code): \(message)" }
        return "\(code): \(message) (\(cause))"
    }
}
