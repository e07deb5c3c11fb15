public import Conversation

/// Takes turns: load beside recognition, decide, commit, reply.
///
/// Between deciding and committing a flow may need the shop's backend, and small talk its model; both are asked once a turn, however often it is
/// decided. A turn that hands the customer to a person names the session in the waiting index first, so that no session waits unseen.
///
/// A seq answered before gets the reply that it got then. Two writers of one session never overwrite each other: the second one's
/// commit conflicts, and it decides again on the state it now finds, without asking the recogniser twice.
public struct TurnTaker: Sendable {
    private let domains: DomainCatalog
    private let store: any SessionStore
    private let recognizer: any Recognizer
    private let parts: OptionalParts
    private let environment: TurnEnvironment
    private let variant: String

    /// A turn taker over its parts, with one domain for all time.
    public init(
        domain: Domain, store: any SessionStore, recognizer: any Recognizer, parts: OptionalParts = OptionalParts(),
        environment: TurnEnvironment
    ) {
        self.init(domains: DomainCatalog(domain), store: store, recognizer: recognizer, parts: parts, environment: environment)
    }

    /// A turn taker over its parts. Each turn is decided by the version of the domain that its session needs.
    ///
    /// - Parameter variant: The variant of an experiment whose turns these are, as replies name it; empty: none.
    public init(
        domains: DomainCatalog, store: any SessionStore, recognizer: any Recognizer, parts: OptionalParts = OptionalParts(),
        environment: TurnEnvironment, variant: String = ""
    ) {
        self.domains = domains
        self.store = store
        self.recognizer = recognizer
        self.parts = parts
        self.environment = environment
        self.variant = variant
    }

    /// Answers one message.
    ///
    /// - Throws: ``ConversationError``: `.aborted` where the seq is older than the replies kept, `.unavailable` where the store cannot
    ///   be reached, `.deadlineExceeded`, `.cancelled`.
    public func reply(to message: Message, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply {
        try await take(message, deadline: deadline).reply
    }

    /// Answers one message, and says how the answer came about.
    ///
    /// - Throws: As ``reply(to:deadline:)``.
    public func take(_ message: Message, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> TakenTurn {
        let recognizer = recognizer
        let recognitionDeadline = environment.recognitionDeadline(deadline)
        async let recognising = Self.recognise(message.query, by: recognizer, deadline: recognitionDeadline)
        var loaded = try await store.load(message.uid, deadline: deadline)
        var asked = AskedOutside()

        while true {
            let session = loaded?.session ?? newSession(message.uid)
            let seq: UInt64
            if let given = message.seq { seq = given } else { seq = try Self.seq(after: session.lastSeq) }
            switch session.answered.state(of: seq) {
            case .kept(let position):
                if var reply = try await store.reply(message.uid, seq: seq, position: position, deadline: deadline) {
                    reply.replayed = true
                    return TakenTurn(reply: reply, sessionID: session.id)
                }
                // The ring moved on, or the session ended, since it was loaded: look again.
                let before = loaded?.version
                loaded = try await store.load(message.uid, deadline: deadline)
                if loaded?.version == before {
                    throw ConversationError(.aborted, "seq \(seq) was answered, and its reply is not kept")
                }
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
            guard
                let (commit, taken) = try await turn(
                    session, &loaded, message: message, seq: seq, recognition: recognition, asked: &asked, deadline: deadline)
            else {
                try checkpoint(deadline)
                continue
            }
            if commit.session.handedOff, !(loaded?.isClaimed(at: commit.session.updatedAt) ?? false) {
                try await parts.waiting?.add(
                    message.uid, since: commit.session.updatedAt, isNew: commit.handOff != nil, deadline: deadline)
            }
            switch try await store.commit(commit, expected: loaded?.version, deadline: deadline) {
            case .committed: return taken
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

    /// The number of a message that has none.
    private static func seq(after last: UInt64) throws(ConversationError) -> UInt64 {
        guard last < .max else {
            throw ConversationError(
                .invalidArgument, "no seq was given, and the last one was \(last), the highest there is: end the session first")
        }
        return last + 1
    }

    private func newSession(_ uid: UserID) -> Session {
        domains.current.newSession(uid: uid, id: environment.newSessionID(), now: environment.now())
    }

    /// Decides one turn, and asks outside for what it needs.
    ///
    /// - Returns: nil where another writer began the session meanwhile: it is in `loaded`.
    private func turn(
        _ session: Session, _ loaded: inout VersionedSession?, message: Message, seq: UInt64, recognition: Recognition?,
        asked: inout AskedOutside, deadline: ContinuousClock.Instant?
    ) async throws(ConversationError) -> (SessionCommit, TakenTurn)? {
        let now = environment.now()
        // One version decides the whole turn, whatever is reloaded while a part is asked.
        let domain = domains.domain(for: session)
        var results: [ActionResult]? = parts.actions == nil ? nil : []
        var decision = domain.decide(session, query: message.query, seq: seq, recognition: recognition, now: now, results: results)
        while let call = decision.action, let actions = parts.actions {
            if loaded == nil {
                // The call's key names the session. A message that is sent again must find it, even where this turn's commit fails.
                switch try await store.commit(SessionCommit(beginning: session), expected: nil, deadline: deadline) {
                case .committed(let version):
                    loaded = VersionedSession(session: session, version: version)
                case .conflict(let current):
                    loaded = current
                    return nil
                }
            }
            let result = await asked.result(of: call, by: actions, uid: message.uid, now: now, deadline: environment.partDeadline(deadline))
            // Whoever left must not be told that nothing was done: the message sent again gets the backend's answer.
            if Task.isCancelled { throw ConversationError(.cancelled, "the caller no longer waits") }
            results?.append(result)
            decision = domain.decide(session, query: message.query, seq: seq, recognition: recognition, now: now, results: results)
        }
        if let request = decision.chitchat, let chitchat = parts.chitchat {
            let said = await asked.smallTalk(
                request.query, by: chitchat, recent: loaded?.recent ?? [], deadline: environment.partDeadline(deadline))
            decision.answerChitchat(with: said)
        }

        var after = decision.session
        let position = after.answered.insert(seq)
        // An agent has the session: the bot is silent.
        let text = loaded?.isClaimed(at: now) ?? false ? "" : decision.text
        let reply = Reply(
            uid: message.uid, seq: seq, text: text, source: decision.source,
            recognition: recognition.flatMap { RecognitionSummary($0, variant: variant) },
            session: SessionSnapshot(after, timeLeft: after.timeToLive), degradedParts: decision.degradedParts,
            agentMessages: loaded?.outbox.messages ?? [])
        let commit = SessionCommit(
            session: after, reply: reply, position: position, query: message.query.text,
            recent: parts.chitchat == nil ? [] : RecentLines.adding([message.query.text, text], to: loaded?.recent ?? []),
            handOff: decision.handOff, outboxLength: loaded?.outbox.length ?? 0)
        return (
            commit,
            TakenTurn(
                reply: reply, sessionID: after.id, recognition: recognition, handOff: decision.handOff, begunFlows: decision.begunFlows,
                completedFlows: decision.completedFlows, domainVersion: domain.version)
        )
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

/// The parts that a turn taker can do without.
public struct OptionalParts: Sendable {
    /// The shop's backend; nil: flows end with what they say where no backend is connected.
    public var actions: (any Actions)?
    /// The model of small talk; nil: templates answer.
    public var chitchat: (any Chitchat)?
    /// Where agents find who waits; nil: nobody looks.
    public var waiting: (any WaitingIndex)?

    /// The parts there are.
    public init(actions: (any Actions)? = nil, chitchat: (any Chitchat)? = nil, waiting: (any WaitingIndex)? = nil) {
        self.actions = actions
        self.chitchat = chitchat
        self.waiting = waiting
    }
}

/// What was asked outside in one turn, so that a turn that is decided again asks nothing twice.
private struct AskedOutside {
    /// A turn that ends more flows than this with an action gets no further answer.
    private static let limit = 8
    private var results: [String: ActionResult] = [:]
    private var said: String??

    mutating func result(
        of call: ActionCall, by actions: any Actions, uid: UserID, now: Timestamp, deadline: ContinuousClock.Instant?
    ) async -> ActionResult {
        // The key numbers the calls of a turn; on another state of the session the same number may be another call.
        let key = "\(call.idempotencyKey) \(call.name) \(call.arguments)"
        if let known = results[key] { return known }
        guard results.count < Self.limit else { return .unavailable }
        let result = await actions.perform(call, uid: uid, now: now, deadline: deadline)
        results[key] = result
        return result
    }

    mutating func smallTalk(_ query: String, by chitchat: any Chitchat, recent: [String], deadline: ContinuousClock.Instant?) async
        -> String?
    {
        if let said { return said }
        let answer = await chitchat.answer(query, recent: recent, deadline: deadline)
        said = .some(answer)
        return answer
    }
}

/// The last lines of a conversation, for a model of small talk.
enum RecentLines {
    static let limit = 4
    static let characters = 40

    static func adding(_ lines: [String], to recent: [String]) -> [String] {
        (recent + lines.map { String($0.prefix(characters)) }).suffix(limit)
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

    /// When a part that was asked within a turn must have answered, so that the turn can still be committed.
    func partDeadline(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant? { deadline.map { $0 - reserve } }

    func recognitionDeadline(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant {
        let own = ContinuousClock.now + recognitionBudget
        return deadline.map { min($0 - reserve, own) } ?? own
    }
}
