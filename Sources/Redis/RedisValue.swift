internal import CHiredis

/// A reply of the server (RESP2), copied out of the connection.
public enum RedisValue: Sendable, Hashable {
    /// No value: a missing key, or a time-out of a blocking command.
    case null
    /// A whole number.
    case integer(Int64)
    /// A value as it is stored: any bytes.
    case bulk([UInt8])
    /// A short answer such as `OK` or `PONG`.
    case status(String)
    /// Several replies. hiredis reads up to 7 levels; deeper ones end the connection.
    case array([RedisValue])
    /// An error inside an array. One that is the whole reply is thrown as ``RedisError``.
    case error(ServerError)

    /// An error in the server's words.
    public struct ServerError: Sendable, Hashable {
        /// The first word, such as `WRONGTYPE` or `ERR`.
        public let prefix: String
        /// The whole text, the prefix included.
        public let message: String

        /// An error by its whole text.
        public init(message: String) {
            self.message = message
            self.prefix = String(message.prefix { $0 != " " })
        }
    }

    /// The bytes of a bulk or status reply.
    public var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes): bytes
        case .status(let text): Array(text.utf8)
        default: nil
        }
    }

    /// The text of a bulk or status reply; nil for other replies, and where the bytes are not UTF-8.
    public var string: String? {
        switch self {
        case .bulk(let bytes): String(validating: bytes, as: UTF8.self)
        case .status(let text): text
        default: nil
        }
    }

    /// The number of an integer reply.
    public var integer: Int64? {
        if case .integer(let number) = self { number } else { nil }
    }

    /// The elements of an array reply.
    public var array: [RedisValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// Whether there is no value.
    public var isNull: Bool { self == .null }
}

extension RedisValue {
    /// Copies a reply of hiredis. The reply stays hiredis's own.
    init(copying reply: UnsafePointer<redisReply>) {
        switch reply.pointee.type {
        case REDIS_REPLY_INTEGER:
            self = .integer(reply.pointee.integer)
        case REDIS_REPLY_STRING:
            self = .bulk([UInt8](Self.text(of: reply)))
        case REDIS_REPLY_STATUS:
            self = .status(String(decoding: Self.text(of: reply), as: UTF8.self))
        case REDIS_REPLY_ERROR:
            self = .error(ServerError(message: String(decoding: Self.text(of: reply), as: UTF8.self)))
        case REDIS_REPLY_ARRAY:
            let elements = UnsafeBufferPointer(start: reply.pointee.element, count: reply.pointee.elements)
            self = .array(elements.map { element in element.map { RedisValue(copying: $0) } ?? .null })
        default:
            self = .null
        }
    }

    private static func text(of reply: UnsafePointer<redisReply>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: reply.pointee.str, count: reply.pointee.len)
    }
}
