public import Conversation
public import Dialogue
import Redis
import Wire

/// The desk of the people to whom sessions are handed: finds those that wait, leases them, and carries what an agent says.
///
/// A session's own hash is the truth: whether it is handed off, who has it and until when, what was said. Every script touches that one key, so any number
/// of orchestrators may serve one desk, on a Redis Cluster too; leases are judged by Redis's clock. The sorted set `handoff:waiting` is an index in a slot of
/// its own, and no script touches both. It is kept from missing a session by its order: a turn that hands off names the session there before it is committed,
/// with the turn's time as the score. It may name sessions that do not wait; who lists them skips these, and takes out what has not been handed off for
/// longer than a turn can last, if its score is still the one that was read.
public struct HandOffDesk: WaitingIndex {
    static let index: RedisBytes = "handoff:waiting"
    /// Far longer than the time between a turn's entry in the index and its commit.
    static let grace: Duration = .seconds(120)
    /// An entry that is older names a session that has ended, or one whose next message names it again.
    static let longestWait: Duration = .seconds(7 * 24 * 3600)
    /// How many entries of the index one listing looks at.
    static let scanned = 2_000
    /// How many bytes may wait for the customer.
    static let outboxLimit = 64 << 10

    let store: RedisSessionStore
    /// The domain of today.
    let domain: @Sendable () -> Domain
    private let now: @Sendable () -> Timestamp
    private let newLease: @Sendable () -> String

    /// A desk over the store of the sessions.
    ///
    /// - Parameter newLease: Names that nobody can guess.
    public init(
        store: RedisSessionStore, domain: @escaping @Sendable () -> Domain, now: @escaping @Sendable () -> Timestamp,
        newLease: @escaping @Sendable () -> String
    ) {
        self.store = store
        self.domain = domain
        self.now = now
        self.newLease = newLease
    }

    // MARK: The index

    /// Names a session that waits.
    public func add(_ uid: UserID, since: Timestamp, isNew: Bool, deadline: ContinuousClock.Instant?) async throws(ConversationError) {
        let score = RedisBytes(since.milliseconds)
        guard isNew else {
            _ = try await store.send(["ZADD", Self.index, "NX", score, RedisBytes(uid.string)], deadline)
            return
        }
        // Where no agent ever lists them, entries of sessions that are long gone go here.
        let oldest = since.milliseconds - max(Self.longestWait, domain().sessionTimeToLive * 2).milliseconds
        _ = try await run(Self.addScript, Self.index, [RedisBytes(uid.string), score, RedisBytes(oldest)], deadline)
    }

    private static let addScript = RedisScript(
        """
        redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
        return 1
        """)

    /// The sessions that wait, longest first.
    ///
    /// - Returns: At most `limit` of them, and whether there are more.
    public func waiting(limit: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> (
        conversations: [HandedOffConversation], more: Bool
    ) {
        var conversations: [HandedOffConversation] = []
        var offset = 0
        while offset < Self.scanned {
            let page = try await entries(from: offset, count: 100, deadline)
            if page.isEmpty { return (conversations, false) }
            var removed = 0
            for (entry, standing) in try await look(at: page, deadline) {
                switch standing {
                case .waiting:
                    if conversations.count == limit { return (conversations, true) }
                    if let found = try await read(entry.uid, masked: true, deadline) { conversations.append(found) }
                case .claimed: break
                case .notHandedOff: removed += try await remove(entry, deadline)
                }
            }
            offset += page.count - removed
        }
        return (conversations, true)
    }

    private struct Entry: Sendable {
        var uid: UserID
        var score: RedisBytes
        var since: Double
    }

    private func entries(from offset: Int, count: Int, _ deadline: ContinuousClock.Instant?) async throws(ConversationError) -> [Entry] {
        let command: [RedisBytes] = ["ZRANGE", Self.index, RedisBytes(offset), RedisBytes(offset + count - 1), "WITHSCORES"]
        let values = try await store.send(command, deadline).array ?? []
        var entries: [Entry] = []
        for index in stride(from: 0, to: values.count - 1, by: 2) {
            guard let name = values[index].string, let uid = try? UserID(name), let score = values[index + 1].string,
                let since = Double(score)
            else { continue }
            entries.append(Entry(uid: uid, score: RedisBytes(score), since: since))
        }
        return entries
    }

    private enum Standing: Sendable {
        case waiting, claimed, notHandedOff
    }

    /// How the sessions of a page stand.
    private func look(at page: [Entry], _ deadline: ContinuousClock.Instant?) async throws(ConversationError) -> [(Entry, Standing)] {
        let now = now()
        let store = store
        // All at once: the client sends them as one burst.
        let states = await withTaskGroup(of: (Int, Result<Standing, ConversationError>).self) { group in
            for (index, entry) in page.enumerated() {
                group.addTask {
                    let fields: [RedisBytes] = ["HMGET", RedisSessionStore.key(entry.uid), "handed_off", "until"]
                    do throws(ConversationError) {
                        let values = try await store.send(fields, deadline).array ?? []
                        guard values.first?.string == "1" else { return (index, .success(.notHandedOff)) }
                        let until = values.last?.string.flatMap { Int64($0) } ?? 0
                        return (index, .success(until <= now.milliseconds ? .waiting : .claimed))
                    } catch {
                        return (index, .failure(error))
                    }
                }
            }
            return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        var looked: [(Entry, Standing)] = []
        for (index, entry) in page.enumerated() {
            if let state = states[index] { looked.append((entry, try state.get())) }
        }
        return looked
    }

    private static let removeScript = RedisScript(
        """
        if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
        return redis.call('ZREM', KEYS[1], ARGV[1])
        """)

    /// Takes out a session that is not handed off, unless it may be about to be.
    private func remove(_ entry: Entry, _ deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Int {
        guard entry.since + Double(Self.grace.milliseconds) < Double(now().milliseconds) else { return 0 }
        let removed = try await run(Self.removeScript, Self.index, [RedisBytes(entry.uid.string), entry.score], deadline)
        return removed == .integer(1) ? 1 : 0
    }

    // MARK: Leases

    /// A claim on a session.
    public struct Lease: Sendable, Hashable {
        /// Goes with every further call.
        public var token: String
        /// When it runs out, by Redis's clock.
        public var until: Timestamp
    }

    private static let time = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    private static let holds = """
        local f = redis.call('HMGET', KEYS[1], 'handed_off', 'lease', 'until', 'span', 'number', 'outbox', 'version', 'commit')
        if f[1] ~= '1' then return {'none'} end
        if f[2] ~= ARGV[1] or tonumber(f[3] or 0) <= now then return {'lapsed'} end

        """
    private static let extend = """
        local till = string.format('%.0f', now + f[4])
        redis.call('HSET', KEYS[1], 'until', till)
        if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end

        """

    private static let claimScript = RedisScript(
        time + """
            local f = redis.call('HMGET', KEYS[1], 'handed_off', 'lease', 'until', 'agent')
            if f[1] ~= '1' then return {'none'} end
            local lease = ARGV[1]
            if tonumber(f[3] or 0) > now then
                if f[4] ~= ARGV[3] then return {'taken', f[4]} end
                lease = f[2]
            else
                redis.call('HSET', KEYS[1], 'number', '0')
            end
            local till = string.format('%.0f', now + ARGV[4])
            redis.call('HSET', KEYS[1], 'agent', ARGV[3], 'lease', lease, 'until', till, 'span', ARGV[4])
            if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
            return {'done', lease, till}
            """)

    private static let renewScript = RedisScript(time + holds + extend + "return {'done', f[2], till}")

    private static let answerScript = RedisScript(
        time + holds + """
            local number, said = tonumber(ARGV[3]), f[6] or ''
            if number > tonumber(f[5] or 0) and #said + #ARGV[4] > tonumber(ARGV[5]) then return {'full'} end

            """ + extend + """
                if number <= tonumber(f[5] or 0) then return {'again', f[2], till} end
                redis.call('HSET', KEYS[1], 'number', ARGV[3], 'outbox', said .. ARGV[4])
                return {'done', f[2], till}
                """)

    private static let giveBackScript = RedisScript(
        time + """
            if redis.call('HGET', KEYS[1], 'commit') == ARGV[3] then return {'done'} end

            """ + holds + """
                if f[7] ~= ARGV[4] or (f[8] or '') ~= ARGV[8] then return {'conflict'} end
                redis.call('HSET', KEYS[1], 'state', ARGV[5], 'version', ARGV[6], 'schema', ARGV[7], 'commit', ARGV[3], 'handed_off', '0')
                redis.call('HDEL', KEYS[1], 'agent', 'lease', 'until', 'span', 'number', 'reason', 'since')
                redis.call('PEXPIRE', KEYS[1], ARGV[2])
                return {'done'}
                """)

    /// Takes a session; the agent that has it gets the same lease, anew.
    public func claim(_ uid: UserID, agent: String, for span: Duration, deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> Lease
    {
        let answer = try await leased(
            Self.claimScript, uid, [RedisBytes(newLease()), timeToLive, RedisBytes(agent), RedisBytes(span.milliseconds)], deadline)
        return answer.lease
    }

    /// Begins a lease anew.
    public func renew(_ uid: UserID, lease: String, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Lease {
        try await leased(Self.renewScript, uid, [RedisBytes(lease), timeToLive], deadline).lease
    }

    /// Says something to the customer.
    ///
    /// - Parameter number: The agent's number of it, rising under one lease: what was said under it is not said again.
    /// - Returns: The lease, begun anew, and whether it was said before.
    public func say(_ text: String, to uid: UserID, lease: String, number: UInt64, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> (lease: Lease, wasSaid: Bool)
    {
        let agent = try await store.send(["HGET", RedisSessionStore.key(uid), "agent"], deadline).string ?? ""
        // The lease is a secret of the agent's; its first letters name it well enough for the customer's side.
        let message = AgentMessage(id: "\(lease.prefix(12)):\(number)", agent: agent, text: text, at: now())
        let answer = try await leased(
            Self.answerScript, uid,
            [RedisBytes(lease), timeToLive, RedisBytes(number), try store.outbox(message, uid), RedisBytes(Self.outboxLimit)],
            deadline)
        return (answer.lease, answer.word == "again")
    }

    /// Gives a session back to the bot.
    public func giveBack(_ uid: UserID, lease: String, endingFlows: Bool, deadline: ContinuousClock.Instant?)
        async throws(ConversationError)
    {
        let token = RedisBytes(UInt64.random(in: 1...UInt64.max))
        while true {
            guard let loaded = try await store.load(uid, deadline: deadline) else { throw Self.noSuchSession(uid) }
            var session = loaded.session
            session.returnToBot(endingFlows: endingFlows)
            session.updatedAt = max(session.updatedAt, now())
            let arguments: [RedisBytes] = [
                RedisBytes(lease), timeToLive, token, RedisBytes(loaded.version.number),
                try store.sealed(SessionCodec.state(session), "state", uid), RedisBytes(loaded.version.number &+ 1), store.schema,
                RedisBytes(loaded.version.commit),
            ]
            if try await words(Self.giveBackScript, uid, arguments, deadline).first != "conflict" { return }
            if Task.isCancelled { throw ConversationError(.cancelled, "the caller no longer waits") }
            if let deadline, deadline <= .now { throw ConversationError(.deadlineExceeded, "the deadline passed; nothing was changed") }
        }
    }

    /// What agents said and no reply has brought yet; nil: the session is not handed off, and nothing is left.
    public func unseen(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> [AgentMessage]? {
        let values = try await store.send(["HMGET", RedisSessionStore.key(uid), "handed_off", "outbox"], deadline).array ?? []
        let outbox = values.last?.bytes ?? []
        if values.first?.string != "1", outbox.isEmpty { return nil }
        return try store.messages(outbox, uid)
    }

    private var timeToLive: RedisBytes { RedisBytes(domain().sessionTimeToLive.milliseconds) }

    private func leased(_ script: RedisScript, _ uid: UserID, _ arguments: [RedisBytes], _ deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> (word: String, lease: Lease)
    {
        let words = try await words(script, uid, arguments, deadline)
        guard words.count == 3, let until = Int64(words[2]) else {
            throw ConversationError(.internalError, "Redis answered \(words) where a lease was expected")
        }
        return (words[0], Lease(token: words[1], until: Timestamp(milliseconds: until)))
    }

    /// The words of a script's answer.
    ///
    /// - Throws: What `none`, `taken`, `lapsed` and `full` mean.
    private func words(_ script: RedisScript, _ uid: UserID, _ arguments: [RedisBytes], _ deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> [String]
    {
        let words = try await run(script, RedisSessionStore.key(uid), arguments, deadline).array?.compactMap(\.string) ?? []
        switch words.first {
        case "none": throw Self.noSuchSession(uid)
        case "taken":
            throw ConversationError(.alreadyExists, "the session of uid \"\(uid.string)\" is with the agent \"\(words.last ?? "")\"")
        case "lapsed":
            throw ConversationError(
                .failedPrecondition, "the lease of the session of uid \"\(uid.string)\" ran out or was never given; claim it again")
        case "full":
            throw ConversationError(
                .resourceExhausted, "the customer has not seen what was said before; at most \(Self.outboxLimit) bytes wait")
        default: return words
        }
    }

    /// Runs a script that may run twice without harm; one whose answer was lost is sent again, until the deadline.
    private func run(_ script: RedisScript, _ key: RedisBytes, _ arguments: [RedisBytes], _ deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> RedisValue
    {
        while true {
            do throws(RedisError) {
                return try await store.client.evaluate(script, keys: [key], arguments: arguments, deadline: store.commandDeadline(deadline))
            } catch {
                guard error.mayHaveRun, error.serverPrefix == nil, !Task.isCancelled, let deadline, deadline > .now else {
                    throw RedisSessionStore.failure(error)
                }
            }
        }
    }

    private static func noSuchSession(_ uid: UserID) -> ConversationError {
        ConversationError(.notFound, "there is no session of uid \"\(uid.string)\" that was handed to a person")
    }
}
