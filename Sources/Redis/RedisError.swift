/// Why a command was not answered with a value.
public struct RedisError: Error, Sendable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The name of the kind, such as `timedOut`.
        public let description: String

        /// There was no connection within the time-out; the command was not sent.
        public static let connectionFailed = Code(description: "connectionFailed")
        /// The server refused the user or the password; the command was not sent.
        public static let authenticationFailed = Code(description: "authenticationFailed")
        /// The connection ended before the reply came; see ``RedisError/mayHaveRun``.
        public static let connectionLost = Code(description: "connectionLost")
        /// The deadline passed before the reply came; see ``RedisError/mayHaveRun``.
        public static let timedOut = Code(description: "timedOut")
        /// The server answered with an error; ``RedisError/serverPrefix`` says which.
        public static let serverError = Code(description: "serverError")
        /// Fewer replicas than were asked for have confirmed a write in time. It has run, and a failover may lose it.
        public static let notReplicated = Code(description: "notReplicated")
        /// A URL is not one of the supported forms.
        public static let invalidURL = Code(description: "invalidURL")
        /// The command cannot be sent over a connection that others share, or it has no words.
        public static let invalidCommand = Code(description: "invalidCommand")
        /// Too many commands, or too many bytes, are under way.
        public static let overloaded = Code(description: "overloaded")
        /// The client has ended, or was ended before the command was sent.
        public static let closed = Code(description: "closed")
        /// The caller's task was cancelled; see ``RedisError/mayHaveRun``.
        public static let cancelled = Code(description: "cancelled")
    }

    /// The kind of the failure.
    public let code: Code
    /// What was wrong, and what was expected. Never contains a password.
    public let message: String
    /// The first word of a server's error, such as `NOSCRIPT`, `WRONGTYPE`, `LOADING`, `READONLY`, `NOREPLICAS` or `OOM`; nil for other failures.
    public let serverPrefix: String?
    /// Whether the server may have run the command, wholly or (a script) in part. False means: it surely has not.
    public let mayHaveRun: Bool
    /// The failure behind this one.
    public let cause: (any Error)?

    /// A failure with its kind and its message.
    public init(_ code: Code, _ message: String, mayHaveRun: Bool = false, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.serverPrefix = nil
        self.mayHaveRun = mayHaveRun
        self.cause = cause
    }

    /// The failure that an error reply of the server stands for.
    public init(_ reply: RedisValue.ServerError) {
        self.code = .serverError
        self.message = reply.message
        self.serverPrefix = reply.prefix
        self.mayHaveRun = !Self.refusals.contains(reply.prefix)
        self.cause = nil
    }

    /// Prefixes of errors that the server gives before it starts a command or a script, or in place of a script's first write (what they
    /// tell of does not change while a script runs).
    private static let refusals: Set<String> = [
        "NOSCRIPT", "LOADING", "NOAUTH", "BUSY", "MASTERDOWN", "READONLY", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT",
        "NOREPLICAS", "MISCONF", "OOM",
    ]

    /// The code, the message and the cause.
    public var description: String {
        guard let cause else { return "\(code): \(message)" }
        return "\(code): \(message) (\(cause))"
    }
}
