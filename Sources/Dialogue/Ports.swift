public import Conversation

/// Recognises the intent and the slots of an utterance.
public protocol Recognizer: Sendable {
    /// - Throws: ``ConversationError``; `.unavailable` and `.deadlineExceeded` where the recogniser cannot be reached in time.
    func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition
}

/// The shop's backend: does what a flow is for.
public protocol Actions: Sendable {
    /// Does it once, however often it is called with the same idempotency key.
    ///
    /// - Returns: What the backend answered; ``ActionResult/unavailable`` where it did not in time, and it is not known whether it was done.
    func perform(_ call: ActionCall, uid: UserID, now: Timestamp, deadline: ContinuousClock.Instant?) async -> ActionResult
}

/// A model of small talk.
public protocol Chitchat: Sendable {
    /// - Parameter recent: The last lines of the conversation, oldest first.
    /// - Returns: What it says; nil where it cannot answer, or not in time.
    func answer(_ query: String, recent: [String], deadline: ContinuousClock.Instant?) async -> String?
}

/// Where agents find the sessions that wait for a person: an index, which may name sessions that do not wait (any more), but must miss none.
public protocol WaitingIndex: Sendable {
    /// Names a session that waits since `since`.
    ///
    /// - Parameter isNew: The session begins to wait; otherwise it should be named already, and keeps its place.
    func add(_ uid: UserID, since: Timestamp, isNew: Bool, deadline: ContinuousClock.Instant?) async throws(ConversationError)
}

/// Keeps sessions and the replies to their last messages.
public protocol SessionStore: Sendable {
    /// The session of a user, and the version to commit against; nil where there is none.
    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession?

    /// The reply kept at a position of the session's ring of answered seqs; nil where it is no longer there.
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply?

    /// Keeps a session and a reply in one step, if what is stored is still `expected` (nil: no session is stored).
    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> CommitResult

    /// The time that is left to the session of a user; nil where there is none. Does not extend it.
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration?

    /// Drops a session.
    ///
    /// - Returns: Whether there was one.
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool
}

/// Names one stored state of one session; it differs after every commit, and from any earlier session of the same user.
///
/// A store that is replicated may count one number twice: what its old primary committed last, nobody else may have, and the new primary commits another
/// state under the same number. So a commit has a name of its own, too.
public struct SessionVersion: Sendable, Hashable {
    /// The id of the session.
    public var sessionID: String
    /// How often it was committed.
    public var number: UInt64
    /// What no other commit is called; empty where the store counts alone.
    public var commit: String

    /// A version by session, number and commit.
    public init(sessionID: String, number: UInt64, commit: String) {
        self.sessionID = sessionID
        self.number = number
        self.commit = commit
    }
}

/// A session as it was loaded.
public struct VersionedSession: Sendable, Hashable {
    /// The session.
    public var session: Session
    /// What a commit of a later state must expect.
    public var version: SessionVersion
    /// The last lines of the conversation, as they were committed.
    public var recent: [String]
    /// How far an agent's lease of the session reaches; nil: no agent has it.
    public var claimedUntil: Timestamp?
    /// What agents said and no reply has brought to the customer yet.
    public var outbox: Outbox

    /// A session with its version, and what a person's desk wrote beside it.
    public init(
        session: Session, version: SessionVersion, recent: [String] = [], claimedUntil: Timestamp? = nil, outbox: Outbox = Outbox()
    ) {
        self.session = session
        self.version = version
        self.recent = recent
        self.claimedUntil = claimedUntil
        self.outbox = outbox
    }

    /// Whether an agent has the session.
    public func isClaimed(at now: Timestamp) -> Bool { session.handedOff && claimedUntil.map { now < $0 } ?? false }
}

/// What agents said and no reply has brought to the customer yet.
public struct Outbox: Sendable, Hashable {
    /// The messages, oldest first.
    public var messages: [AgentMessage]
    /// How much of the store's outbox they are: a commit that brings them takes so much away.
    public var length: Int

    /// An outbox by its parts.
    public init(messages: [AgentMessage] = [], length: Int = 0) {
        self.messages = messages
        self.length = length
    }
}

/// The state after a turn, and the reply to it.
public struct SessionCommit: Sendable, Hashable {
    /// The session after the turn.
    public var session: Session
    /// The reply to keep; nil: the session begins, and its first turn is still to come.
    public var reply: Reply?
    /// Where the reply is kept: a position of the session's ring of answered seqs.
    public var position: Int
    /// What the customer wrote, kept beside the reply for agents.
    public var query: String
    /// The last lines of the conversation, for the next turns.
    public var recent: [String]
    /// Why a person takes over from this turn on; nil: none does, or one did already.
    public var handOff: HandOffReason?
    /// The ``Outbox/length`` of what the reply brings.
    public var outboxLength: Int

    /// A commit by its parts.
    public init(
        session: Session, reply: Reply, position: Int, query: String = "", recent: [String] = [], handOff: HandOffReason? = nil,
        outboxLength: Int = 0
    ) {
        self.session = session
        self.reply = reply
        self.position = position
        self.query = query
        self.recent = recent
        self.handOff = handOff
        self.outboxLength = outboxLength
    }

    /// A session that begins: its id is kept before an action is called under it.
    public init(beginning session: Session) {
        self.session = session
        reply = nil
        position = 0
        query = ""
        recent = []
        handOff = nil
        outboxLength = 0
    }
}

/// What became of a commit.
public enum CommitResult: Sendable, Hashable {
    /// It is kept, as this version.
    case committed(SessionVersion)
    /// Another writer was first, and nothing was changed: this is what is stored now (nil: no session).
    case conflict(VersionedSession?)

    /// Whether it is kept.
    public var isCommitted: Bool {
        if case .committed = self { true } else { false }
    }
}
