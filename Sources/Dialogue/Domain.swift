public import Conversation

/// What the bot can talk about: intents, slots, flows, rules and wordings, read from a folder and checked as a whole.
///
/// A domain never changes. Whoever holds one can decide turns with it from any thread.
public struct Domain: Sendable {
    /// The domain's name, such as `ecommerce`.
    public let name: String
    /// The language of its replies as a BCP 47 tag, such as `zh-CN`.
    public let language: String
    /// How long a session lives after its last change.
    public let sessionTimeToLive: Duration
    /// The intents that it handles, by name.
    public let intents: Set<String>
    /// Its slots' names, sorted.
    public var slotNames: [String] { slots.keys.sorted() }
    /// Its flows' names, sorted.
    public var flowNames: [String] { flows.keys.sorted() }

    let slots: [String: SlotDefinition]
    let flows: [String: FlowDefinition]
    let answers: [String: Wordings]
    let rules: [Rule]
    let messages: [StandardReply: Wordings]
    let thresholds: Thresholds
    let limits: Limits
    let lexicon: Lexicon
    /// The slots whose values are codes.
    let codes: Set<String>
    /// Intents that a rule counts.
    let counted: Set<String>

    /// A session that begins at `now`, with this domain's time to live.
    public func newSession(uid: UserID, id: String, now: Timestamp) -> Session {
        Session(uid: uid, id: id, startedAt: now, timeToLive: sessionTimeToLive)
    }
}

/// What became of one message.
public struct Decision: Sendable, Hashable {
    /// The session after the turn. ``Session/answered`` is as it was: whoever keeps the reply notes its position.
    public var session: Session
    /// What is said to the customer; never empty.
    public var text: String
    /// Who wrote it.
    public var source: ReplySource
    /// The parts that were out of reach and had a stand-in: `understanding`.
    public var degradedParts: [String]

    /// A decision by its parts.
    public init(session: Session, text: String, source: ReplySource, degradedParts: [String] = []) {
        self.session = session
        self.text = text
        self.source = source
        self.degradedParts = degradedParts
    }
}
