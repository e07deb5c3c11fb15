/// What a customer wrote: 1 to 512 Unicode scalars.
public struct Utterance: Sendable, Hashable {
    /// The most Unicode scalars an utterance may have.
    public static let scalarLimit = 512

    /// The text as it was sent.
    public let text: String

    /// - Throws: ``ConversationError`` with code `.invalidArgument` where `text` is empty or too long.
    public init(_ text: String) throws(ConversationError) {
        guard !text.isEmpty else {
            throw ConversationError(.invalidArgument, "the text is empty; 1 to \(Self.scalarLimit) Unicode scalars are expected")
        }
        let count = text.unicodeScalars.count
        guard count <= Self.scalarLimit else {
            throw ConversationError(.invalidArgument, "the text has \(count) Unicode scalars; 1 to \(Self.scalarLimit) are expected")
        }
        self.text = text
    }
}

/// Whose conversation it is: 1 to 128 bytes of UTF-8.
public struct UserID: Sendable, Hashable {
    /// The most bytes a user id may have in UTF-8.
    public static let byteLimit = 128

    /// The id as the client gave it.
    public let string: String

    /// - Throws: ``ConversationError`` with code `.invalidArgument` where `string` is empty or too long.
    public init(_ string: String) throws(ConversationError) {
        guard !string.isEmpty else {
            throw ConversationError(.invalidArgument, "uid is empty; 1 to \(Self.byteLimit) bytes of UTF-8 are expected")
        }
        guard string.utf8.count <= Self.byteLimit else {
            throw ConversationError(.invalidArgument, "uid has \(string.utf8.count) bytes of UTF-8; 1 to \(Self.byteLimit) are expected")
        }
        self.string = string
    }
}

/// A point in time in milliseconds since the Unix epoch.
public struct Timestamp: Sendable, Hashable, Comparable {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    public var milliseconds: Int64

    /// A point in time by its Unix milliseconds.
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// The point in time that is `duration` later, to the millisecond.
    public func advanced(by duration: Duration) -> Timestamp {
        Timestamp(milliseconds: milliseconds + duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000)
    }

    /// Earlier is less.
    public static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }
}
