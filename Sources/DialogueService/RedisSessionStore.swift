public import Conversation
public import Dialogue
public import Redis
import Wire

/// Keeps each session in one Redis hash, `chat:{uid}` (the braces are literal: a Redis Cluster hash tag).
///
/// Fields: `schema` (the form of the others), `id`, `version` and `commit` (what a commit must expect: the session, how often it was
/// committed, and the token of the last commit),
/// `state` (a `kefu.store.v1.SessionState`), `reply:0` to `reply:15` (the last replies as `kefu.dialogue.v1.ReplyResponse`), `query:0` to
/// `query:15` (the messages they answer), `recent` (the last lines, for small talk), and what ``HandOffDesk`` writes: `handed_off`, `since`, `reason`,
/// `agent`, `lease`, `until`, `number`, `outbox`. Its size is bounded whatever the session's age, and its time to live starts anew at every commit;
/// reading leaves it as it is.
///
/// With session keys all that repeats what was said (`state`, `reply:…`, `query:…`, `recent` and the texts in `outbox`) is encrypted, each value for its
/// own place. Any form is read, whatever `schema` says of the newest value: a session that was kept before there were keys goes on, and what it
/// holds is encrypted as it is written anew.
public struct RedisSessionStore: SessionStore {
    let client: RedisClient
    private let keys: SessionKeyRing?
    private let replication: RedisClient.Replication?
    private let newToken: @Sendable () -> UInt64

    /// The forms of a session: in the first nothing is encrypted, in the second anything may be.
    private enum Schema: String {
        case plain = "1"
        case sealable = "2"
    }

    /// A store over a client.
    ///
    /// - Parameters:
    ///   - keys: Encrypt and decrypt what was said; nil: it is stored as it is.
    ///   - replication: What replicas must confirm before a commit, or a reply that is given again, counts as kept.
    ///   - newToken: Gives numbers that do not repeat: they tell a commit that is sent again from another one.
    public init(
        client: RedisClient, keys: SessionKeyRing? = nil, replication: RedisClient.Replication? = nil,
        newToken: @escaping @Sendable () -> UInt64 = { .random(in: 1...UInt64.max) }
    ) {
        self.client = client
        self.keys = keys
        self.replication = replication
        self.newToken = newToken
    }

    /// Compares the version, of which only the name of the commit tells two masters' apart, writes, and starts the time to live anew, all or nothing. Returns 1, or what is stored where that is not what
    /// was expected. A commit that is already there (its answer was lost, and it was sent again) returns 1 and writes nothing.
    private static let commitScript = RedisScript(
        """
        local now = redis.call('HMGET', KEYS[1], 'schema', 'id', 'version', 'state', 'recent', 'until', 'outbox', 'commit')
        if now[8] == ARGV[3] then return 1 end
        if (now[2] or '') ~= ARGV[1] or (now[3] or '') ~= ARGV[2] or (now[8] or '') ~= ARGV[6] then return now end
        redis.call('HSET', KEYS[1], 'commit', ARGV[3], unpack(ARGV, 7))
        if ARGV[5] ~= '0' then redis.call('HSET', KEYS[1], 'outbox', string.sub(now[7] or '', ARGV[5] + 1)) end
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
        return 1
        """)

    /// What ``session(_:of:)`` reads, in this order.
    static let sessionFields: [RedisBytes] = ["schema", "id", "version", "state", "recent", "until", "outbox", "commit"]

    /// The session of a user, and the version to commit against.
    public func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        let fields = try await send(["HMGET", Self.key(uid)] + Self.sessionFields, deadline)
        return try session(fields, of: uid)
    }

    /// The reply kept at a position of the ring of answered seqs.
    public func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> Reply?
    {
        let field = "reply:\(position)"
        // It acknowledges the turn again, so it must be as safe as the first time.
        guard let bytes = try await send(["HGET", Self.key(uid), RedisBytes(field)], deadline, replication).bytes else { return nil }
        guard let reply = try reply(bytes, field, uid), reply.seq == seq else { return nil }
        return reply
    }

    /// A reply as it is stored in a field.
    func reply(_ bytes: [UInt8], _ field: String, _ uid: UserID) throws(ConversationError) -> Reply? {
        let response = try stored(bytes, field, uid) { bytes throws(ConversationError) in try DialogueCodec.replyResponse(decoding: bytes) }
        if case .reply(let reply) = response { return reply } else { return nil }
    }

    /// Keeps a session and a reply in one step. A commit whose answer was lost is sent again, until the deadline: it is written once.
    public func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    {
        let uid = commit.session.uid
        let version = SessionVersion(sessionID: commit.session.id, number: (expected?.number ?? 0) &+ 1, commit: "\(newToken())")
        var fields: [RedisBytes] = [
            "schema", schema, "id", RedisBytes(version.sessionID), "version", RedisBytes(version.number),
            "state", try sealed(SessionCodec.state(commit.session), "state", uid), "handed_off", commit.session.handedOff ? "1" : "0",
        ]
        if let reply = commit.reply {
            let (replyField, queryField) = ("reply:\(commit.position)", "query:\(commit.position)")
            fields += [
                RedisBytes(replyField), try sealed(DialogueCodec.replyResponse(reply), replyField, uid),
                RedisBytes(queryField), try sealed(DeskCodec.query(commit.query, seq: reply.seq), queryField, uid),
            ]
        }
        if !commit.recent.isEmpty { fields += ["recent", try sealed(DeskCodec.recent(commit.recent), "recent", uid)] }
        if let reason = commit.handOff {
            fields += ["reason", RedisBytes(reason.word), "since", RedisBytes(commit.session.updatedAt.milliseconds)]
        }
        return try await write(
            fields, uid: uid, version: version, expected: expected, timeToLive: commit.session.timeToLive,
            outboxLength: commit.outboxLength,
            deadline: deadline)
    }

    /// Writes fields in one step, if what is stored is still `expected`. A write whose answer was lost is sent again, until the deadline: it is
    /// written once.
    func write(
        _ fields: [RedisBytes], uid: UserID, version: SessionVersion, expected: SessionVersion?, timeToLive: Duration, outboxLength: Int,
        deadline: ContinuousClock.Instant?
    ) async throws(ConversationError) -> CommitResult {
        let arguments: [RedisBytes] =
            [
                RedisBytes(expected?.sessionID ?? ""), RedisBytes(expected.map { "\($0.number)" } ?? ""), RedisBytes(version.commit),
                RedisBytes(timeToLive.milliseconds), RedisBytes(outboxLength), RedisBytes(expected?.commit ?? ""),
            ] + fields
        while true {
            let answer: RedisValue
            do throws(RedisError) {
                answer = try await client.evaluate(
                    Self.commitScript, keys: [Self.key(uid)], arguments: arguments, replication: replication,
                    deadline: commandDeadline(deadline))
            } catch {
                guard error.mayHaveRun, error.serverPrefix == nil, !Task.isCancelled, let deadline, deadline > .now else {
                    throw Self.failure(error)
                }
                continue
            }
            if case .integer = answer { return .committed(version) }
            return .conflict(try session(answer, of: uid))
        }
    }

    /// The time that is left to the session of a user.
    public func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        guard case .integer(let milliseconds) = try await send(["PTTL", Self.key(uid)], deadline), milliseconds >= 0 else { return nil }
        return .milliseconds(milliseconds)
    }

    /// Drops a session.
    public func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await send(["UNLINK", Self.key(uid)], deadline) == .integer(1)
    }

    static func key(_ uid: UserID) -> RedisBytes { RedisBytes("chat:{\(uid.string)}") }

    func send(
        _ command: [RedisBytes], _ deadline: ContinuousClock.Instant?, _ replication: RedisClient.Replication? = nil
    ) async throws(ConversationError) -> RedisValue {
        do throws(RedisError) {
            return try await client.send(command, replication: replication, deadline: commandDeadline(deadline))
        } catch {
            throw Self.failure(error)
        }
    }

    /// A command has the client's time-out, and no more than what is left of the turn: a Redis that is away is told of in time.
    func commandDeadline(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant {
        let own = ContinuousClock.now + client.configuration.commandTimeout
        return deadline.map { min($0, own) } ?? own
    }

    /// The session in the values of ``sessionFields``; nil where there is none.
    func session(_ fields: RedisValue, of uid: UserID) throws(ConversationError) -> VersionedSession? {
        guard case .array(let values) = fields, values.count == Self.sessionFields.count else {
            // The answer itself is not shown: what customers say may be in it.
            throw ConversationError(
                .internalError, "Redis gave something else where \(Self.sessionFields.count) fields of a session were expected")
        }
        guard let schema = values[0].string, let id = values[1].string, let number = values[2].string.flatMap(UInt64.init),
            let state = values[3].bytes
        else { return nil }
        guard Schema(rawValue: schema) != nil else {
            throw ConversationError(
                .internalError, "the session of uid \"\(uid.string)\" is of schema \(schema), and this version reads schemas 1 and 2")
        }
        let session = try stored(state, "state", uid) { bytes throws(ConversationError) in
            try SessionCodec.session(decoding: bytes, uid: uid)
        }
        let version = SessionVersion(sessionID: id, number: number, commit: values[7].string ?? "")
        var loaded = VersionedSession(session: session, version: version)
        if let recent = values[4].bytes {
            loaded.recent = try stored(recent, "recent", uid) { bytes throws(ConversationError) in try DeskCodec.recent(decoding: bytes) }
        }
        loaded.claimedUntil = values[5].string.flatMap { Int64($0) }.map(Timestamp.init(milliseconds:))
        if let outbox = values[6].bytes, !outbox.isEmpty {
            loaded.outbox = Outbox(messages: try messages(outbox, uid), length: outbox.count)
        }
        return loaded
    }

    /// The newest form of what this store writes: without keys it is the one that older versions read too.
    var schema: RedisBytes { RedisBytes((keys == nil ? Schema.plain : .sealable).rawValue) }

    /// A value as it is stored in a field.
    func sealed(_ bytes: [UInt8], _ field: String, _ uid: UserID) throws(ConversationError) -> RedisBytes {
        guard let keys else { return RedisBytes(bytes) }
        return RedisBytes(try keys.seal(bytes, at: Self.place(field, uid)))
    }

    /// What agents said, as it is stored.
    func messages(_ outbox: [UInt8], _ uid: UserID) throws(ConversationError) -> [AgentMessage] {
        let ring = keys
        let place = Self.place("outbox", uid)
        return try readable(uid) { () throws(ConversationError) in
            try DeskCodec.outbox(decoding: outbox) { sealed throws(ConversationError) in
                try SessionKeyRing.open(sealed, at: place, with: ring)
            }
        }
    }

    /// What an agent says, as it is stored.
    func outbox(_ message: AgentMessage, _ uid: UserID) throws(ConversationError) -> RedisBytes {
        guard let keys else { return RedisBytes(DeskCodec.outbox(message)) }
        return RedisBytes(DeskCodec.outbox(message, sealed: try keys.seal(Array(message.text.utf8), at: Self.place("outbox", uid))))
    }

    /// Reads a value as it is stored in a field.
    func stored<R>(
        _ bytes: [UInt8], _ field: String, _ uid: UserID, _ read: ([UInt8]) throws(ConversationError) -> R
    ) throws(ConversationError) -> R {
        let ring = keys
        return try readable(uid) { () throws(ConversationError) in
            try read(try SessionKeyRing.open(bytes, at: Self.place(field, uid), with: ring))
        }
    }

    /// What is read from the store is our own: where it cannot be read, the caller is not to blame.
    private func readable<R>(_ uid: UserID, _ read: () throws(ConversationError) -> R) throws(ConversationError) -> R {
        do throws(ConversationError) {
            return try read()
        } catch {
            throw ConversationError(.internalError, "the stored session of uid \"\(uid.string)\" cannot be read: \(error.message)")
        }
    }

    /// An encrypted value is good at one place: a field of one user's session.
    private static func place(_ field: String, _ uid: UserID) -> String { "chat:{\(uid.string)}/\(field)" }

    static func failure(_ error: RedisError) -> ConversationError {
        switch error.code {
        case .cancelled: ConversationError(.cancelled, "the caller no longer waits")
        case .overloaded: ConversationError(.resourceExhausted, "the session store has too much to do", retryAfter: .milliseconds(100))
        case .notReplicated:
            ConversationError(
                .unavailable, "the turn is kept, and its replicas have not confirmed it; send the same seq again: \(error.message)")
        case .serverError: ConversationError(.unavailable, "the session store refuses; send the same seq again: \(error.message)")
        default: ConversationError(.unavailable, "the session store cannot be reached; send the same seq again: \(error.message)")
        }
    }
}

extension HandOffReason {
    /// The reason in one word, as agents read it.
    var word: String {
        switch self {
        case .rule(let name): "rule:\(name)"
        case .accepted: "accepted"
        case .failedAction(let name): "action:\(name)"
        }
    }
}

extension Duration {
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
