/// An output and where its time went.
public struct Batched<Output: Sendable>: Sendable {
    /// What the work gave.
    public var output: Output
    /// From arrival to the start of the batch.
    public var queue: Duration
    /// How long the batch was computed; with a batch that was split, both halves.
    public var compute: Duration
    /// How many inputs were computed together.
    public var batchSize: Int
    /// The length at which they were computed.
    public var length: Int
}

/// What work throws where a batch does not fit into memory. The batch is then split in two, and each half is tried once.
public struct BatchTooLarge: Error, Sendable {
    /// What the device said.
    public let cause: (any Error)?

    /// The device's own error, if there is one.
    public init(cause: (any Error)? = nil) { self.cause = cause }
}

/// Why a request has no output.
public struct BatchingError: Error, Sendable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The code's name.
        public let description: String

        /// Too many of its class wait; see ``BatchingError/retryAfter``.
        public static let full = Code(description: "full")
        /// The deadline cannot be met; see ``BatchingError/retryAfter``.
        public static let unreachable = Code(description: "unreachable")
        /// The deadline passed before the request was computed.
        public static let expired = Code(description: "expired")
        /// The caller's task was cancelled.
        public static let cancelled = Code(description: "cancelled")
        /// The batcher takes nothing new, or was stopped.
        public static let stopped = Code(description: "stopped")
        /// The device has no memory for the batch, nor for half of it; see ``BatchingError/cause``.
        public static let tooLarge = Code(description: "tooLarge")
        /// The batch could not be computed; see ``BatchingError/cause``.
        public static let workFailed = Code(description: "workFailed")
    }

    /// The kind of the failure.
    public let code: Code
    /// What was wrong.
    public let message: String
    /// With `.full` and `.unreachable`: when trying again makes sense; nil: not known, or never.
    public let retryAfter: Duration?
    /// With `.workFailed` and `.tooLarge`: what the work threw.
    public let cause: (any Error)?

    init(_ code: Code, _ message: String, retryAfter: Duration? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retryAfter = retryAfter
        self.cause = cause
    }

    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}
