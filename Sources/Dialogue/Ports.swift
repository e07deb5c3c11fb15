public import Conversation

/// Recognises the intent and the slots of an utterance.
public protocol Recognizer: Sendable {
    /// - Throws: ``ConversationError``; `.unavailable` and `.deadlineExceeded` where the recogniser cannot be reached in time.
    func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition
}

/// Keeps sessions and the replies to their last messages.
public protocol SessionStore: Sendable {
    /// The session of a user, and the version to commit against; nil where there is none.
    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession?

    /// The reply kept at a position of the session's ring of answered seqs; nil where it is no longer there.
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply?

    /// Keeps a session and a reply in one step, if the stored version is still `expected` (nil: no session is stored).
    func commit(_ reply: Reply, position: Int, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError)
        -> CommitResult

    /// The time that is left to the session of a user; nil where there is none. Does not extend it.
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration?

    /// Drops a session.
    ///
    /// - Returns: Whether there was one.
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool
}

/// Names one stored state of one session; it differs after every commit, and from any earlier session of the same user.
public struct SessionVersion: Sendable, Hashable {
    /// The id of the session.
    public var sessionID: String
    /// How often it was committed.
    public var number: UInt64

    /// A version by session and number.
    public init(sessionID: String, number: UInt64) {
        self.sessionID = sessionID
        self.number = number
    }
}

/// A session as it was loaded.
public struct VersionedSession: Sendable, Hashable {
    /// The session.
    public var session: Session
    /// What a commit of a later state must expect.
    public var version: SessionVersion

    /// A session with its version.
    public init(session: Session, version: SessionVersion) {
        self.session = session
        self.version = version
    }
}

/// What became of a commit.
public enum CommitResult: Sendable, Hashable {
    /// It is kept.
    case committed
    /// Another writer was first, and nothing was changed: this is what is stored now (nil: no session).
    case conflict(VersionedSession?)
}
