import Conversation
import Dialogue
import DialogueService
import Foundation
import Redis
import RedisTestSupport
import Testing

/// The session store on a real Redis.
@Suite(.timeLimit(.minutes(2))) struct RedisSessionStoreTests {
    private let uid: UserID

    init() throws { uid = try UserID("用户{1}") }

    private func commit(turn: UInt64, of session: Session, ttl: Duration = .seconds(60), said: String? = nil) -> SessionCommit {
        let said = said ?? "\(turn)"
        var session = session
        session.turns = turn
        session.lastSeq = turn
        session.timeToLive = ttl
        session.slots["order_id"] = SlotValue(name: "order_id", value: said, normalized: said)
        session.remember(
            Turn(seq: turn, intent: "inform", confidence: 1, at: Timestamp(milliseconds: 1_700_000_000_000), source: .template))
        let position = session.answered.insert(turn)
        let reply = Reply(
            uid: uid, seq: turn, text: "第\(said)轮", source: .template, recognition: nil, session: SessionSnapshot(session, timeLeft: ttl))
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
                #expect(try await store.commit(first, expected: nil, deadline: soon).isCommitted)
                let loaded = try #require(try await store.load(uid, deadline: soon))
                #expect(loaded.session == first.session)
                #expect(loaded.version.sessionID == "s1" && loaded.version.number == 1 && !loaded.version.commit.isEmpty)
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
                guard case .committed(let version) = try await store.commit(first, expected: nil, deadline: soon) else {
                    Issue.record("there is no session yet")
                    return
                }
                #expect(try await store.load(uid, deadline: soon)?.version == version)
                let second = commit(turn: 2, of: first.session)
                #expect(try await store.commit(second, expected: version, deadline: soon).isCommitted)
                let now = try #require(try await store.load(uid, deadline: soon))
                #expect(now.session == second.session && now.version.number == 2)
                // Behind the version, without one, and of another session: each is shown what is stored.
                #expect(try await store.commit(commit(turn: 3, of: first.session), expected: version, deadline: soon) == .conflict(now))
                #expect(try await store.commit(commit(turn: 1, of: fresh("s2")), expected: nil, deadline: soon) == .conflict(now))
                let other = SessionVersion(sessionID: "s2", number: 2, commit: now.version.commit)
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
                #expect(try await store.commit(first, expected: nil, deadline: soon).isCommitted)
                #expect(try await store.commit(first, expected: nil, deadline: soon).isCommitted)
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
                #expect(try await store.commit(second, expected: loaded.version, deadline: soon).isCommitted)
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
            // Under a sanitizer, on a busy machine, one of ten thousand commits may take more than a second.
            var patient = server.unix
            patient.commandTimeout = .seconds(30)
            try await withClient(patient) { client async throws in
                let store = RedisSessionStore(client: client)
                var version: SessionVersion?
                var session = fresh()
                func bytes() async throws -> Int64 {
                    try #require(try await client.send("MEMORY", "USAGE", "chat:{用户{1}}", "SAMPLES", "0").integer)
                }
                var young: Int64 = 0
                for turn in UInt64(1)...10_000 {
                    // What is said has the same length in every turn.
                    let said = "\(1_000_000 + turn)"
                    var next = commit(turn: turn, of: session, said: said)
                    next.query = "我的订单号是\(said)"
                    next.recent = (0..<6).map { "第\($0)句\(said)" }
                    guard case .committed(let kept) = try await store.commit(next, expected: version, deadline: soon) else {
                        Issue.record("turn \(turn) is not kept")
                        return
                    }
                    session = next.session
                    version = kept
                    if turn == 20 { young = try await bytes() }
                }
                let old = try await bytes()
                #expect(Double(old) <= Double(young) * 1.1, "\(old) bytes after 10,000 turns, \(young) after 20")
            }
        }
    }

    /// A master that is cut off from its group goes on counting, and so does its successor: what was read from the one must not be written to the other.
    @Test func whatTwoMastersCommittedUnderOneNumberConflicts() async throws {
        try await TestServer.running { old async throws in
            try await TestServer.running { new async throws in
                try await withClient(old.unix) { oldClient async throws in
                    try await withClient(new.unix) { newClient async throws in
                        let first = commit(turn: 1, of: fresh())
                        // What was replicated before the cut.
                        let replicated = (
                            RedisSessionStore(client: oldClient, newToken: { 7 }), RedisSessionStore(client: newClient, newToken: { 7 })
                        )
                        _ = try await replicated.0.commit(first, expected: nil, deadline: soon)
                        _ = try await replicated.1.commit(first, expected: nil, deadline: soon)
                        let (oldStore, newStore) = (RedisSessionStore(client: oldClient), RedisSessionStore(client: newClient))
                        let common = try await oldStore.load(uid, deadline: soon)?.version
                        #expect(try await newStore.load(uid, deadline: soon)?.version == common)

                        let unknown = commit(turn: 2, of: first.session, said: "旧主上的")
                        #expect(try await oldStore.commit(unknown, expected: common, deadline: soon).isCommitted)
                        let acknowledged = commit(turn: 2, of: first.session, said: "新主上的")
                        #expect(try await newStore.commit(acknowledged, expected: common, deadline: soon).isCommitted)
                        let stale = try #require(try await oldStore.load(uid, deadline: soon))
                        let current = try #require(try await newStore.load(uid, deadline: soon))
                        #expect(stale.version.number == 2 && current.version.number == 2)

                        let third = commit(turn: 3, of: stale.session)
                        #expect(try await newStore.commit(third, expected: stale.version, deadline: soon) == .conflict(current))
                        #expect(try await newStore.reply(uid, seq: 2, position: 1, deadline: soon) == acknowledged.reply)
                    }
                }
            }
        }
    }

    @Test func readingDoesNotProlongASession() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client)
                let first = commit(turn: 1, of: fresh(), ttl: .seconds(7200))
                _ = try await store.commit(first, expected: nil, deadline: soon)
                let whole = try #require(try await store.timeLeft(uid, deadline: soon))
                #expect(whole > .seconds(7100) && whole <= .seconds(7200))
                _ = try await client.send("PEXPIRE", "chat:{用户{1}}", "60000")
                _ = try await store.load(uid, deadline: soon)
                _ = try await store.reply(uid, seq: 1, position: 0, deadline: soon)
                let left = try #require(try await store.timeLeft(uid, deadline: soon))
                #expect(left <= .seconds(60))
                let second = commit(turn: 2, of: first.session, ttl: .seconds(7200))
                _ = try await store.commit(second, expected: store.load(uid, deadline: soon)?.version, deadline: soon)
                #expect(try #require(try await store.timeLeft(uid, deadline: soon)) > .seconds(7100))
            }
        }
    }

    // MARK: Encryption

    private static let old = "old \(String(repeating: "A", count: 43))="
    private static let new = "2026-11 \(String(repeating: "B", count: 42))A="

    /// A session with a telephone number in all that is kept of it.
    private func sensitive(turn: UInt64 = 1, of session: Session? = nil) -> SessionCommit {
        var next = commit(turn: turn, of: session ?? fresh())
        next.session.slots["phone"] = SlotValue(name: "phone", value: "13812345678", normalized: "13812345678")
        next.query = "我的电话是13812345678"
        next.recent = [next.query]
        next.reply?.text = "记下了13812345678"
        return next
    }

    private func isReadable(_ text: String, in client: RedisClient) async throws -> Bool {
        let stored = try await client.send("HGETALL", "chat:{用户{1}}").array ?? []
        let needle = Array(text.utf8)
        return stored.contains { value in
            let bytes = value.bytes ?? []
            return bytes.indices.contains { bytes[$0...].starts(with: needle) }
        }
    }

    @Test func withKeysNothingThatWasSaidIsReadable() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let plain = RedisSessionStore(client: client)
                _ = try await plain.commit(sensitive(), expected: nil, deadline: soon)
                #expect(try await isReadable("13812345678", in: client))
                _ = try await plain.end(uid, deadline: soon)

                let store = RedisSessionStore(client: client, keys: try SessionKeyRing(text: Self.old))
                let first = sensitive()
                _ = try await store.commit(first, expected: nil, deadline: soon)
                #expect(try await !isReadable("13812345678", in: client))
                let loaded = try #require(try await store.load(uid, deadline: soon))
                #expect(loaded.session == first.session)
                #expect(loaded.recent == first.recent)
                #expect(try await store.reply(uid, seq: 1, position: 0, deadline: soon) == first.reply)

                // A new key comes first: the old value is read, the new one is written with the new key.
                let rotated = RedisSessionStore(client: client, keys: try SessionKeyRing(text: Self.new + "\n" + Self.old))
                #expect(try await rotated.load(uid, deadline: soon)?.session == first.session)
                let second = sensitive(turn: 2, of: first.session)
                _ = try await rotated.commit(second, expected: loaded.version, deadline: soon)
                #expect(try await rotated.reply(uid, seq: 1, position: 0, deadline: soon) == first.reply)
                let later = RedisSessionStore(client: client, keys: try SessionKeyRing(text: Self.new))
                #expect(try await later.load(uid, deadline: soon)?.session == second.session)
                // Who has not got the key is told which it is.
                for blind in [plain, store] {
                    await #expect {
                        try await blind.load(uid, deadline: soon)
                    } throws: { ($0 as? ConversationError)?.message.contains("'2026-11'") == true }
                }
            }
        }
    }

    @Test func anEncryptedValueIsGoodInItsPlaceOnly() async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client, keys: try SessionKeyRing(text: Self.old))
                _ = try await store.commit(sensitive(), expected: nil, deadline: soon)
                let fields = try #require(try await client.send("HGETALL", "chat:{用户{1}}").array).compactMap {
                    $0.bytes.map { RedisBytes($0) }
                }
                // Somebody with access to Redis gives one customer's session to another.
                _ = try await client.send(["HSET", "chat:{其他}"] + fields)
                let other = try UserID("其他")
                await #expect {
                    try await store.load(other, deadline: soon)
                } throws: { ($0 as? ConversationError)?.message.contains("cannot be decrypted") == true }
                var state = try #require(try await client.send("HGET", "chat:{用户{1}}", "state").bytes)
                state[state.count - 20] ^= 1
                _ = try await client.send("HSET", "chat:{用户{1}}", "state", RedisBytes(state))
                await #expect {
                    try await store.load(uid, deadline: soon)
                } throws: { ($0 as? ConversationError)?.message.contains("cannot be decrypted") == true }
            }
        }
    }

    /// What version 0.1 of the orchestrator stored (schema 1), byte by byte in base64.
    private static let schemaOne: KeyValuePairs<RedisBytes, String> = [
        "handed_off": "MA==",
        "state": "CgJzMRABGAEiEAoIb3JkZXJfaWQSATEaATEiIQoFcGhvbmUSCzEzODEyMzQ1Njc4GgsxMzgxMjM0NTY3OEgFUAVaAQF4kBw=",
        "commit": "Nw==",
        "query:0": "CAESGuaIkeeahOeUteivneaYrzEzODEyMzQ1Njc4",
        "schema": "MQ==",
        "version": "MQ==",
        "reply:0": "CgnnlKjmiLd7MX0QARoH56ysMei9riABMigKCeeUqOaIt3sxfRABGAEiEAoIb3JkZXJfaWQSATEaATFIBVAFWJAc",
        "id": "czE=",
        "recent": "ChrmiJHnmoTnlLXor53mmK8xMzgxMjM0NTY3OAoH56ysMei9rg==",
    ]

    @Test(arguments: [true, false]) func aSessionOfAnOlderSchemaGoesOn(withKeys: Bool) async throws {
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                for (field, value) in Self.schemaOne {
                    _ = try await client.send("HSET", "chat:{用户{1}}", field, RedisBytes(Array(try #require(Data(base64Encoded: value)))))
                }
                let store = RedisSessionStore(client: client, keys: withKeys ? try SessionKeyRing(text: Self.old) : nil)
                let loaded = try #require(try await store.load(uid, deadline: soon))
                #expect(loaded.session.turns == 1)
                #expect(loaded.session.slots["phone"]?.value == "13812345678")
                #expect(loaded.recent == ["我的电话是13812345678", "第1轮"])
                // What it writes anew has the form of today, beside a reply that has the old one.
                let second = sensitive(turn: 2, of: loaded.session)
                #expect(try await store.commit(second, expected: loaded.version, deadline: soon).isCommitted)
                #expect(try await client.send("HGET", "chat:{用户{1}}", "schema").string == (withKeys ? "2" : "1"))
                #expect(try await store.load(uid, deadline: soon)?.session == second.session)
                #expect(try await store.reply(uid, seq: 1, position: 0, deadline: soon)?.text == "第1轮")
                #expect(try await store.reply(uid, seq: 2, position: 1, deadline: soon) == second.reply)
                let state = try #require(try await client.send("HGET", "chat:{用户{1}}", "state").bytes)
                #expect((state.first == 0) == withKeys)
            }
        }
    }

    // MARK: Replicas and clusters

    @Test func aTurnIsAnsweredOnceReplicasHaveIt() async throws {
        try await TestServer.running(["--repl-diskless-sync-delay", "0"]) { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client, replication: .init(replicas: 1, timeout: .milliseconds(30)))
                let first = commit(turn: 1, of: fresh())
                await #expect {
                    try await store.commit(first, expected: nil, deadline: .now + .milliseconds(200))
                } throws: { ($0 as? ConversationError)?.code == .unavailable }
                // It was written; to give the reply again is to acknowledge it.
                #expect(try await store.load(uid, deadline: soon)?.session == first.session)
                await #expect {
                    try await store.reply(uid, seq: 1, position: 0, deadline: soon)
                } throws: { ($0 as? ConversationError)?.code == .unavailable }
                let replica = try TestServer(arguments: ["--replicaof", "127.0.0.1", "\(server.port)"])
                try replica.start()
                defer { replica.kill() }
                let second = commit(turn: 2, of: first.session)
                let version = try await store.load(uid, deadline: soon)?.version
                #expect(try await store.commit(second, expected: version, deadline: soon).isCommitted)
                #expect(try await store.reply(uid, seq: 1, position: 0, deadline: soon) == first.reply)
                #expect(try await replica.send("HGET", "chat:{用户{1}}", "version").string == "2")
            }
        }
    }

    @Test func sessionsAndTheDeskWorkOnACluster() async throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let domain = try Domain.load(directory: root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false))
        try await TestCluster.running { cluster async throws in
            try await withClient(cluster.configuration) { client async throws in
                let store = RedisSessionStore(client: client)
                let now = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
                let desk = HandOffDesk(store: store, domain: { domain }, now: { now }, newLease: { "lease" })
                for number in 0..<30 {
                    let uid = try UserID("u\(number)}{")
                    var session = Session(uid: uid, id: "s", startedAt: now, timeToLive: .seconds(60))
                    session.handedOff = true
                    let position = session.answered.insert(1)
                    let reply = Reply(
                        uid: uid, seq: 1, text: "好", source: .handoff, recognition: nil,
                        session: SessionSnapshot(session, timeLeft: .seconds(60)))
                    try await desk.add(uid, since: now, isNew: true, deadline: soon)
                    let commit = SessionCommit(session: session, reply: reply, position: position, handOff: .accepted)
                    #expect(try await store.commit(commit, expected: nil, deadline: soon).isCommitted)
                    #expect(try await store.load(uid, deadline: soon)?.session == session)
                    #expect(try await store.reply(uid, seq: 1, position: position, deadline: soon) == reply)
                }
                let waiting = try await desk.waiting(limit: 100, deadline: soon)
                #expect(waiting.conversations.count == 30)
                let uid = try UserID("u7}{")
                let lease = try await desk.claim(uid, agent: "小李", for: .seconds(60), deadline: soon)
                _ = try await desk.say("您好", to: uid, lease: lease.token, number: 1, deadline: soon)
                #expect(try await desk.unseen(uid, deadline: soon)?.map(\.text) == ["您好"])
                try await desk.giveBack(uid, lease: lease.token, endingFlows: true, deadline: soon)
                #expect(try await desk.waiting(limit: 100, deadline: soon).conversations.count == 29)
                #expect(try await store.end(uid, deadline: soon))
            }
        }
    }
}
