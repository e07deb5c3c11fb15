/// A piece of a request's way that is over.
public struct Span: Sendable {
    /// Which side of a call it is.
    public enum Kind: Sendable {
        /// Neither.
        case `internal`
        /// It answers a call.
        case server
        /// It makes a call.
        case client
    }

    /// The value of an attribute.
    public enum Value: Sendable, Hashable {
        case text(String)
        case integer(Int64)
        case number(Double)
        case flag(Bool)
    }

    /// What it is, such as `turn`: few names, without anything of the request itself.
    public var name: String
    /// Which side of a call it is.
    public var kind: Kind
    /// Its trace and its own id.
    public var context: TraceContext
    /// The span that it is a part of; nil: the trace begins here.
    public var parent: UInt64?
    /// When it began, in nanoseconds since the Unix epoch.
    public var start: UInt64
    /// When it ended, in nanoseconds since the Unix epoch.
    public var end: UInt64
    /// What is known of it.
    public var attributes: [(name: String, value: Value)]
    /// Why it failed; nil: it did not.
    public var failure: String?

    /// A span by its parts.
    public init(
        name: String, kind: Kind, context: TraceContext, parent: UInt64?, start: UInt64, end: UInt64,
        attributes: [(name: String, value: Value)] = [], failure: String? = nil
    ) {
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.start = start
        self.end = end
        self.attributes = attributes
        self.failure = failure
    }
}
