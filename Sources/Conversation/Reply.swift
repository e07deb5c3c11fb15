/// One message of a customer.
public struct Message: Sendable, Hashable {
    /// Who wrote it.
    public var uid: UserID
    /// What was written.
    public var query: Utterance
    /// The client's number of this message, rising within a session; nil: the server numbers it.
    public var seq: UInt64?

    /// A message by its parts.
    public init(uid: UserID, query: Utterance, seq: UInt64?) {
        self.uid = uid
        self.query = query
        self.seq = seq
    }
}

/// The answer to one message.
public struct Reply: Sendable, Hashable {
    /// The message's number.
    public var seq: UInt64
    /// What is said to the customer.
    public var text: String
    /// Who wrote it.
    public var source: ReplySource
    /// What was understood; nil where recognition was out of reach.
    public var recognition: Recognition?
    /// The session after this turn.
    public var session: Session
    /// This seq was answered before; nothing was changed.
    public var replayed: Bool
    /// The parts that were out of reach and had a stand-in: `understanding`, `chitchat`, `action`.
    public var degradedParts: [String]

    /// A reply by its parts.
    public init(
        seq: UInt64, text: String, source: ReplySource, recognition: Recognition?, session: Session, replayed: Bool = false,
        degradedParts: [String] = []
    ) {
        self.seq = seq
        self.text = text
        self.source = source
        self.recognition = recognition
        self.session = session
        self.replayed = replayed
        self.degradedParts = degradedParts
    }
}
