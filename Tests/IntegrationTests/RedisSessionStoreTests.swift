import Conversation
import Dialogue
import DialogueService
import Redis
import RedisTestSupport
import Testing

/// The session store on a real Redis.
@Suite(.timeLimit(.minutes(2))) struct RedisSessionStoreTests {
    private let uid: UserID

    init() throws { uid = try UserID("用户{1}") }

    private func commit(turn: UInt64, of session: Session, ttl: Duration = .seconds(60)) -> SessionCommit {
        var session = session
        session.turns = turn
        session.lastSeq = turn
        session.timeToLive = ttl
        session.slots["order_id"] = SlotValue(name: "order_id", value: "\(turn)", normalized: "\(turn)")
        let position = session.answered.insert(turn)
        let reply = Reply(
            uid: uid, seq: turn, text: "第\(turn)轮", source: .template, recognition: nil, session: SessionSnapshot(session, timeLeft: ttl))
        return SessionCommit(session: session, reply: reply, position: position)
    }

    private func fresh(_ id: String = "s1") -> Session {
        Session(uid: uid, id: id, startedAt: Timestamp(milliseconds: 5), timeToLive: .seconds(60))
    }

    /// A Redis that has just been started answers LOADING for a moment.
    private func loadOnceLoaded(_ store: RedisSessionStore) async throws -> VersionedSession? {
        let end = soon
        while true {
            do throws(ConversationError) {
                return try await store.load(uid, deadline: end)
            } catch {
                guard error.code == .unavailable, error.message.contains("LOADING"), .now < end else { throw error }
                await Task.yield()
            }
        }
    }

    private var soon: ContinuousClock.Instant { .now + .seconds(30) }

    @Test func whatIsCommittedIsLoaded() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client)
                #expect(try await store.load(uid, deadline: soon) == nil)
                #expect(try await store.timeLeft(uid, deadline: soon) == nil)
                let first = commit(turn: 1, of: fresh())
                #expect(try await store.commit(first, expected: nil, deadline: soon) == .committed)
                let loaded = try #require(try await store.load(uid, deadline: soon))
                #expect(loaded.session == first.session)
                #expect(loaded.version == SessionVersion(sessionID: "s1", number: 1))
                #expect(try await store.reply(uid, seq: 1, position: 0, deadline: soon) == first.reply)
                #expect(try await store.reply(uid, seq: 2, position: 0, deadline: soon) == nil)
                #expect(try await store.reply(uid, seq: 1, position: 3, deadline: soon) == nil)
                let left = try #require(try await store.timeLeft(uid, deadline: soon))
                #expect(left > .seconds(30) && left <= .seconds(60))
                #expect(try await store.end(uid, deadline: soon))
                #expect(try await !store.end(uid, deadline: soon))
                #expect(try await store.load(uid, deadline: soon) == nil)
            }
        }
    }

    @Test func aCommitOnAnOldVersionConflictsAndShowsTheNewOne() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client)
                let first = commit(turn: 1, of: fresh())
                _ = try await store.commit(first, expected: nil, deadline: soon)
                let version = SessionVersion(sessionID: "s1", number: 1)
                let second = commit(turn: 2, of: first.session)
                #expect(try await store.commit(second, expected: version, deadline: soon) == .committed)
                let now = VersionedSession(session: second.session, version: SessionVersion(sessionID: "s1", number: 2))
                // Behind the version, without one, and of another session: each is shown what is stored.
                #expect(try await store.commit(commit(turn: 3, of: first.session), expected: version, deadline: soon) == .conflict(now))
                #expect(try await store.commit(commit(turn: 1, of: fresh("s2")), expected: nil, deadline: soon) == .conflict(now))
                let other = SessionVersion(sessionID: "s2", number: 2)
                #expect(try await store.commit(commit(turn: 3, of: second.session), expected: other, deadline: soon) == .conflict(now))
                // A session that ended is no longer there to commit to.
                _ = try await store.end(uid, deadline: soon)
                #expect(
                    try await store.commit(commit(turn: 3, of: second.session), expected: now.version, deadline: soon) == .conflict(nil))
            }
        }
    }

    @Test func aCommitThatIsSentAgainIsWrittenOnce() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client, newToken: { 7 })
                let first = commit(turn: 1, of: fresh())
                #expect(try await store.commit(first, expected: nil, deadline: soon) == .committed)
                #expect(try await store.commit(first, expected: nil, deadline: soon) == .committed)
                #expect(try await store.load(uid, deadline: soon)?.version.number == 1)
            }
        }
    }

    @Test func aCommitSurvivesARestartOfRedisAndALostScriptCache() async throws {
        try await TestServer.running(["--appendonly", "yes", "--appendfsync", "always"]) { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client)
                let first = commit(turn: 1, of: fresh())
                _ = try await store.commit(first, expected: nil, deadline: soon)
                server.kill()
                try server.start()
                let loaded = try #require(try await loadOnceLoaded(store))
                #expect(loaded.session == first.session)
                let second = commit(turn: 2, of: loaded.session)
                #expect(try await store.commit(second, expected: loaded.version, deadline: soon) == .committed)
            }
        }
    }

    @Test func redisAwayIsUnavailable() async throws {
        let server = try TestServer()
        var configuration = server.unix
        configuration.commandTimeout = .milliseconds(200)
        try await withClient(configuration) { client async throws in
            let store = RedisSessionStore(client: client)
            await #expect {
                try await store.load(uid, deadline: soon)
            } throws: { ($0 as? ConversationError)?.code == .unavailable }
            await #expect {
                try await store.commit(commit(turn: 1, of: fresh()), expected: nil, deadline: soon)
            } throws: { ($0 as? ConversationError)?.code == .unavailable }
        }
    }

    @Test func whatIsStoredButNotOursIsToldApart() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client)
                _ = try await client.send("HSET", "chat:{用户{1}}", "schema", "9", "id", "s", "version", "1", "state", "x")
                await #expect {
                    try await store.load(uid, deadline: soon)
                } throws: { error in
                    (error as? ConversationError)?.code == .internalError
                        && (error as? ConversationError)?.message.contains("schema 9") == true
                }
                _ = try await client.send("HSET", "chat:{用户{1}}", "schema", "1")
                await #expect {
                    try await store.load(uid, deadline: soon)
                } throws: { ($0 as? ConversationError)?.code == .internalError }
            }
        }
    }

    @Test func theSizeOfASessionIsFlat() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client)
                var version: SessionVersion?
                var session = fresh()
                func bytes() async throws -> Int64? { try await client.send("MEMORY", "USAGE", "chat:{用户{1}}", "SAMPLES", "0").integer }
                // 26 turns: the 16 replies kept are all of sessions with a full history.
                var young: Int64?
                for turn in UInt64(1)...2_000 {
                    var next = commit(turn: turn, of: session)
                    next.session.remember(
                        Turn(seq: turn, intent: "inform", confidence: 1, at: Timestamp(milliseconds: 1_700_000_000_000), source: .template))
                    #expect(try await store.commit(next, expected: version, deadline: soon) == .committed)
                    session = next.session
                    version = SessionVersion(sessionID: "s1", number: turn)
                    if turn == 26 { young = try await bytes() }
                }
                let old = try #require(try await bytes())
                let first = try #require(young)
                #expect(Double(old) <= Double(first) * 1.1, "\(old) bytes after \(first)")
            }
        }
    }
}
