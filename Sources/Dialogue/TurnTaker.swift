public import Conversation

/// Takes turns: load beside recognition, decide, commit, reply.
///
/// A seq answered before gets the reply that it got then. Two writers of one session never overwrite each other: the second one's
/// commit conflicts, and it decides again on the state it now finds, without asking the recogniser twice.
public struct TurnTaker: Sendable {
    private let domains: DomainCatalog
    private let store: any SessionStore
    private let recognizer: any Recognizer
    private let environment: TurnEnvironment

    /// A turn taker over its parts, with one domain for all time.
    public init(domain: Domain, store: any SessionStore, recognizer: any Recognizer, environment: TurnEnvironment) {
        self.init(domains: DomainCatalog(domain), store: store, recognizer: recognizer, environment: environment)
    }

    /// A turn taker over its parts. Each turn is decided by the version of the domain that its session needs.
    public init(domains: DomainCatalog, store: any SessionStore, recognizer: any Recognizer, environment: TurnEnvironment) {
        self.domains = domains
        self.store = store
        self.recognizer = recognizer
        self.environment = environment
    }

    /// Answers one message.
    ///
    /// - Throws: ``ConversationError``: `.aborted` where the seq is older than the replies kept, `.unavailable` where the store cannot
    ///   be reached, `.deadlineExceeded`, `.cancelled`.
    public func reply(to message: Message, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply {
        let recognizer = recognizer
        let recognitionDeadline = environment.recognitionDeadline(deadline)
        async let recognising = Self.recognise(message.query, by: recognizer, deadline: recognitionDeadline)
        var loaded = try await store.load(message.uid, deadline: deadline)

        while true {
            let session = loaded?.session ?? newSession(message.uid)
            let seq = message.seq ?? session.lastSeq + 1
            switch session.answered.state(of: seq) {
            case .kept(let position):
                if var reply = try await store.reply(message.uid, seq: seq, position: position, deadline: deadline) {
                    reply.replayed = true
                    return reply
                }
                // The ring moved on, or the session ended, since it was loaded: look again.
                loaded = try await store.load(message.uid, deadline: deadline)
                try checkpoint(deadline)
                continue
            case .tooOld:
                throw ConversationError(
                    .aborted,
                    "seq \(seq) is older than the replies kept: the last \(AnsweredSequence.limit) are, and the highest forgotten is "
                        + "\(session.answered.forgotten)")
            case .new:
                break
            }

            let recognition = try await recognising.get()
            let commit = turn(session, message: message, seq: seq, recognition: recognition)
            switch try await store.commit(commit, expected: loaded?.version, deadline: deadline) {
            case .committed: return commit.reply
            case .conflict(let current): loaded = current
            }
            try checkpoint(deadline)
        }
    }

    /// What is known of a user's session, its time to live included, which is not extended.
    ///
    /// - Throws: ``ConversationError``: `.notFound` where there is none, `.unavailable` where the store cannot be reached.
    public func session(of uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> SessionSnapshot {
        async let timeLeft = store.timeLeft(uid, deadline: deadline)
        let loaded = try await store.load(uid, deadline: deadline)
        do {
            guard let loaded, let left = try await timeLeft else {
                throw ConversationError(.notFound, "there is no session of uid \"\(uid.string)\"")
            }
            return SessionSnapshot(loaded.session, timeLeft: left)
        } catch let error as ConversationError {
            throw error
        } catch {
            throw ConversationError(.internalError, "\(error)")
        }
    }

    /// Drops a user's session.
    ///
    /// - Returns: Whether there was one.
    public func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await store.end(uid, deadline: deadline)
    }

    private func newSession(_ uid: UserID) -> Session {
        domains.current.newSession(uid: uid, id: environment.newSessionID(), now: environment.now())
    }

    private func turn(_ session: Session, message: Message, seq: UInt64, recognition: Recognition?) -> SessionCommit {
        let decision = domains.domain(for: session).decide(
            session, query: message.query, seq: seq, recognition: recognition, now: environment.now())
        var after = decision.session
        let position = after.answered.insert(seq)
        let reply = Reply(
            uid: message.uid, seq: seq, text: decision.text, source: decision.source,
            recognition: recognition.flatMap(RecognitionSummary.init),
            session: SessionSnapshot(after, timeLeft: after.timeToLive), degradedParts: decision.degradedParts)
        return SessionCommit(session: after, reply: reply, position: position)
    }

    /// Another writer was first: goes on only while somebody still waits.
    private func checkpoint(_ deadline: ContinuousClock.Instant?) throws(ConversationError) {
        if Task.isCancelled { throw ConversationError(.cancelled, "the caller no longer waits") }
        if let deadline, deadline <= .now { throw ConversationError(.deadlineExceeded, "the deadline passed; nothing was changed") }
    }

    /// The recognition; nil where the recogniser could not answer, so that a stand-in has to.
    private static func recognise(_ query: Utterance, by recognizer: any Recognizer, deadline: ContinuousClock.Instant?) async
        -> Result<Recognition?, ConversationError>
    {
        do throws(ConversationError) {
            return .success(try await recognizer.recognize(query, deadline: deadline))
        } catch {
            switch error.code {
            case .invalidArgument, .cancelled: return .failure(error)
            default: return .success(nil)
            }
        }
    }
}

/// What a turn takes from outside: the time, and names for new sessions.
public struct TurnEnvironment: Sendable {
    /// The time of day.
    public var now: @Sendable () -> Timestamp
    /// A name that no other session has.
    public var newSessionID: @Sendable () -> String
    /// How long a turn waits for the recogniser at the most; what is left of the turn's own deadline after
    /// ``reserve`` may be less.
    public var recognitionBudget: Duration
    /// The part of a turn's deadline that is kept for deciding and committing.
    public var reserve: Duration

    /// An environment by its parts.
    public init(
        now: @escaping @Sendable () -> Timestamp, newSessionID: @escaping @Sendable () -> String, recognitionBudget: Duration = .seconds(1),
        reserve: Duration = .milliseconds(50)
    ) {
        self.now = now
        self.newSessionID = newSessionID
        self.recognitionBudget = recognitionBudget
        self.reserve = reserve
    }

    func recognitionDeadline(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant {
        let own = ContinuousClock.now + recognitionBudget
        return deadline.map { min($0 - reserve, own) } ?? own
    }
}
