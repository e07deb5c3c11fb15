public import Conversation
public import Dialogue
public import Redis
import Wire

/// Keeps each session in one Redis hash, `chat:{uid}` (the braces are literal: a Redis Cluster hash tag).
///
/// Fields: `schema` (the form of the others), `id` and `version` (what a commit must expect), `commit` (the token of the last commit),
/// `state` (a `kefu.store.v1.SessionState`), and `reply:0` to `reply:15` (the last replies as `kefu.dialogue.v1.ReplyResponse`). Its size is
/// bounded whatever the session's age, and its time to live starts anew at every commit.
public struct RedisSessionStore: SessionStore {
    private static let schema = "1"
    private let client: RedisClient
    private let newToken: @Sendable () -> UInt64

    /// A store over a client.
    ///
    /// - Parameter newToken: Gives numbers that do not repeat: they tell a commit that is sent again from another one.
    public init(client: RedisClient, newToken: @escaping @Sendable () -> UInt64 = { .random(in: 1...UInt64.max) }) {
        self.client = client
        self.newToken = newToken
    }

    /// Compares the version, writes, and starts the time to live anew, all or nothing. Returns 1, or what is stored where that is not what
    /// was expected. A commit that is already there (its answer was lost, and it was sent again) returns 1 and writes nothing.
    private static let commitScript = RedisScript(
        """
        local now = redis.call('HMGET', KEYS[1], 'schema', 'id', 'version', 'state', 'commit')
        if now[5] == ARGV[3] then return 1 end
        if (now[2] or '') ~= ARGV[1] or (now[3] or '') ~= ARGV[2] then return {now[1], now[2], now[3], now[4]} end
        redis.call('HSET', KEYS[1], 'schema', ARGV[4], 'id', ARGV[5], 'version', ARGV[6], 'commit', ARGV[3], 'state', ARGV[7], ARGV[8], ARGV[9])
        redis.call('PEXPIRE', KEYS[1], ARGV[10])
        return 1
        """)

    /// The session of a user, and the version to commit against.
    public func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        let fields = try await send(["HMGET", key(uid), "schema", "id", "version", "state"], deadline)
        return try session(fields, of: uid)
    }

    /// The reply kept at a position of the ring of answered seqs.
    public func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> Reply?
    {
        guard let bytes = try await send(["HGET", key(uid), RedisBytes("reply:\(position)")], deadline).bytes else { return nil }
        guard
            case .reply(let reply) = try stored({ () throws(ConversationError) in try DialogueCodec.replyResponse(decoding: bytes) }, uid),
            reply.seq == seq
        else { return nil }
        return reply
    }

    /// Keeps a session and a reply in one step. A commit whose answer was lost is sent again, until the deadline: it is written once.
    public func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    {
        let uid = commit.session.uid
        let arguments: [RedisBytes] = [
            RedisBytes(expected?.sessionID ?? ""), RedisBytes(expected.map { "\($0.number)" } ?? ""), RedisBytes("\(newToken())"),
            RedisBytes(Self.schema), RedisBytes(commit.session.id), RedisBytes("\((expected?.number ?? 0) + 1)"),
            RedisBytes(SessionCodec.state(commit.session)), RedisBytes("reply:\(commit.position)"),
            RedisBytes(DialogueCodec.replyResponse(commit.reply)), RedisBytes("\(commit.session.timeToLive.milliseconds)"),
        ]
        while true {
            let answer: RedisValue
            do throws(RedisError) {
                answer = try await client.evaluate(
                    Self.commitScript, keys: [key(uid)], arguments: arguments, deadline: commandDeadline(deadline))
            } catch {
                guard error.mayHaveRun, !Task.isCancelled, let deadline, deadline > .now else { throw Self.failure(error) }
                continue
            }
            if case .integer = answer { return .committed }
            return .conflict(try session(answer, of: uid))
        }
    }

    /// The time that is left to the session of a user.
    public func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        guard case .integer(let milliseconds) = try await send(["PTTL", key(uid)], deadline), milliseconds >= 0 else { return nil }
        return .milliseconds(milliseconds)
    }

    /// Drops a session.
    public func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await send(["UNLINK", key(uid)], deadline) == .integer(1)
    }

    private func key(_ uid: UserID) -> RedisBytes { RedisBytes("chat:{\(uid.string)}") }

    private func send(_ command: [RedisBytes], _ deadline: ContinuousClock.Instant?) async throws(ConversationError) -> RedisValue {
        do throws(RedisError) {
            return try await client.send(command, deadline: commandDeadline(deadline))
        } catch {
            throw Self.failure(error)
        }
    }

    /// A command has the client's time-out, and no more than what is left of the turn: a Redis that is away is told of in time.
    private func commandDeadline(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant {
        let own = ContinuousClock.now + client.configuration.commandTimeout
        return deadline.map { min($0, own) } ?? own
    }

    /// The session in the fields schema, id, version and state; nil where there is none.
    private func session(_ fields: RedisValue, of uid: UserID) throws(ConversationError) -> VersionedSession? {
        guard case .array(let values) = fields, values.count == 4 else {
            throw ConversationError(.internalError, "Redis answered \(fields) where four fields of a session were expected")
        }
        guard let schema = values[0].string, let id = values[1].string, let number = values[2].string.flatMap(UInt64.init),
            let state = values[3].bytes
        else { return nil }
        guard schema == Self.schema else {
            throw ConversationError(
                .internalError, "the session of uid \"\(uid.string)\" is of schema \(schema), and this version reads schema \(Self.schema)")
        }
        let session = try stored({ () throws(ConversationError) in try SessionCodec.session(decoding: state, uid: uid) }, uid)
        return VersionedSession(session: session, version: SessionVersion(sessionID: id, number: number))
    }

    /// What is read from the store is our own: where it cannot be read, the caller is not to blame.
    private func stored<R>(_ read: () throws(ConversationError) -> R, _ uid: UserID) throws(ConversationError) -> R {
        do throws(ConversationError) {
            return try read()
        } catch {
            throw ConversationError(.internalError, "the stored session of uid \"\(uid.string)\" cannot be read: \(error.message)")
        }
    }

    private static func failure(_ error: RedisError) -> ConversationError {
        switch error.code {
        case .cancelled: ConversationError(.cancelled, "the caller no longer waits")
        case .overloaded: ConversationError(.resourceExhausted, "the session store has too much to do", retryAfter: .milliseconds(100))
        default: ConversationError(.unavailable, "the session store cannot be reached; send the same seq again: \(error.message)")
        }
    }
}

extension Duration {
    fileprivate var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
