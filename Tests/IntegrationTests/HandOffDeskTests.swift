import Conversation
import Dialogue
import DialogueService
import Foundation
import Redis
import RedisTestSupport
import Synchronization
import Testing

/// The agents' desk on a real Redis: what two orchestrators could do to each other.
@Suite(.timeLimit(.minutes(2))) struct HandOffDeskTests {
    private let uid: UserID
    private let domain: Domain

    init() throws {
        uid = try UserID("用户{2}")
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        domain = try Domain.load(directory: root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false))
    }

    private var soon: ContinuousClock.Instant { .now + .seconds(30) }

    private static func now() -> Timestamp { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }

    private func withDesk(keys: SessionKeyRing? = nil, _ body: (RedisSessionStore, HandOffDesk, RedisClient) async throws -> Void)
        async throws
    {
        let leases = Mutex(0)
        try await TestServer.running { server async throws in
            try await withClient(server.unix) { client async throws in
                let store = RedisSessionStore(client: client, keys: keys)
                let desk = HandOffDesk(
                    store: store, domain: { [domain] in domain }, now: Self.now,
                    newLease: {
                        leases.withLock {
                            $0 += 1
                            return "lease-\($0)"
                        }
                    })
                try await body(store, desk, client)
            }
        }
    }

    private func commit(_ session: Session, seq: UInt64, outboxLength: Int = 0, messages: [AgentMessage] = []) -> SessionCommit {
        var session = session
        session.turns = seq
        session.lastSeq = seq
        session.handedOff = true
        let position = session.answered.insert(seq)
        session.remember(Turn(seq: seq, intent: "inform", confidence: 1, at: session.updatedAt, source: .handoff))
        let reply = Reply(
            uid: uid, seq: seq, text: "第\(seq)轮", source: .handoff, recognition: nil,
            session: SessionSnapshot(session, timeLeft: .seconds(60)), agentMessages: messages)
        return SessionCommit(
            session: session, reply: reply, position: position, query: "消息\(seq)", handOff: seq == 1 ? .accepted : nil,
            outboxLength: outboxLength)
    }

    /// A session that was handed off, in the flow `refund_request`, asked for the order.
    private func handedOff(_ store: RedisSessionStore, _ desk: HandOffDesk) async throws -> Session {
        var session = Session(uid: uid, id: "s1", startedAt: Self.now(), timeToLive: .seconds(60))
        session.flows = [FlowInProgress(name: "refund_request", asked: ["order_id"])]
        let first = commit(session, seq: 1)
        try await desk.add(uid, since: Self.now(), isNew: true, deadline: soon)
        #expect(try await store.commit(first, expected: nil, deadline: soon).isCommitted)
        return first.session
    }

    private func rejection(_ body: () async throws -> Void) async -> ConversationError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? ConversationError)?.code
        }
    }

    @Test func aTurnUnderWayLosesNothingThatAnAgentSaysMeanwhile() async throws {
        try await withDesk { store, desk, _ in
            let session = try await handedOff(store, desk)
            let lease = try await desk.claim(uid, agent: "小王", for: .seconds(60), deadline: soon)
            _ = try await desk.say("第一句", to: uid, lease: lease.token, number: 1, deadline: soon)
            let loaded = try #require(try await store.load(uid, deadline: soon))
            #expect(loaded.outbox.messages.map(\.text) == ["第一句"] && loaded.isClaimed(at: Self.now()))
            // Between the turn's load and its commit:
            _ = try await desk.say("第二句", to: uid, lease: lease.token, number: 2, deadline: soon)
            let turn = commit(session, seq: 2, outboxLength: loaded.outbox.length, messages: loaded.outbox.messages)
            #expect(try await store.commit(turn, expected: loaded.version, deadline: soon).isCommitted)
            #expect(try await store.load(uid, deadline: soon)?.outbox.messages.map(\.text) == ["第二句"])
            let read = try #require(try await desk.read(uid, masked: false, soon))
            #expect(read.turns.map(\.query) == ["消息1", "消息2"] && read.turns.map(\.reply) == ["第1轮", "第2轮"])
            #expect(read.turns[1].agentMessages.map(\.text) == ["第一句"] && read.unseen.map(\.text) == ["第二句"])
            #expect(read.reason == "accepted" && read.flowTitle == domain.title(ofFlow: "refund_request"))
        }
    }

    @Test func aTurnThatWasUnderWayAtTheGiveBackIsDecidedAgain() async throws {
        try await withDesk { store, desk, _ in
            let session = try await handedOff(store, desk)
            let lease = try await desk.claim(uid, agent: "小王", for: .seconds(60), deadline: soon)
            let loaded = try #require(try await store.load(uid, deadline: soon))
            try await desk.giveBack(uid, lease: lease.token, endingFlows: false, deadline: soon)
            guard case .conflict(let now?) = try await store.commit(commit(session, seq: 2), expected: loaded.version, deadline: soon)
            else {
                Issue.record("a commit on the session before the give-back must conflict")
                return
            }
            #expect(!now.session.handedOff && now.claimedUntil == nil)
            // What the bot had asked for is open again.
            #expect(now.session.awaiting == .slot("order_id") && now.session.flows == session.flows)
            #expect(try await desk.waiting(limit: 10, deadline: soon).conversations.isEmpty)
        }
    }

    @Test func aGiveBackMeetsATurnThatWasCommittedMeanwhile() async throws {
        try await withDesk { store, desk, client in
            var session = try await handedOff(store, desk)
            let lease = try await desk.claim(uid, agent: "小王", for: .seconds(60), deadline: soon)
            // Turns and the give-back at once: each sees the others' work.
            async let givenBack: Void = desk.giveBack(uid, lease: lease.token, endingFlows: true, deadline: soon)
            for seq in UInt64(2)...30 {
                let loaded = try #require(try await store.load(uid, deadline: soon))
                session = loaded.session
                guard session.handedOff else { break }
                _ = try await store.commit(commit(session, seq: seq), expected: loaded.version, deadline: soon)
            }
            try await givenBack
            let last = try #require(try await store.load(uid, deadline: soon))
            #expect(!last.session.handedOff && last.session.flows.isEmpty)
            #expect(last.session.turns >= session.turns)
            #expect(try await client.send("HGET", RedisBytes("chat:{\(uid.string)}"), "lease") == .null)
        }
    }

    @Test func aLeaseThatRanOutIsWorthNothing() async throws {
        try await withDesk { store, desk, client in
            _ = try await handedOff(store, desk)
            let lease = try await desk.claim(uid, agent: "小王", for: .seconds(60), deadline: soon)
            #expect(try await desk.waiting(limit: 10, deadline: soon).conversations.isEmpty)
            _ = try await client.send("HSET", RedisBytes("chat:{\(uid.string)}"), "until", "1")
            #expect(try await desk.waiting(limit: 10, deadline: soon).conversations.map(\.uid) == [uid])
            #expect(await rejection { _ = try await desk.renew(uid, lease: lease.token, deadline: soon) } == .failedPrecondition)
            #expect(
                await rejection { _ = try await desk.say("好", to: uid, lease: lease.token, number: 1, deadline: soon) }
                    == .failedPrecondition)
            #expect(
                await rejection { try await desk.giveBack(uid, lease: lease.token, endingFlows: false, deadline: soon) }
                    == .failedPrecondition)
            let second = try await desk.claim(uid, agent: "小李", for: .seconds(60), deadline: soon)
            #expect(second.token != lease.token)
            #expect(await rejection { _ = try await desk.claim(uid, agent: "小王", for: .seconds(1), deadline: soon) } == .alreadyExists)
            // The new lease numbers its answers anew.
            #expect(try await !desk.say("我来", to: uid, lease: second.token, number: 1, deadline: soon).wasSaid)
        }
    }

    @Test func aClaimKeepsTheSessionAlive() async throws {
        try await withDesk { store, desk, client in
            _ = try await handedOff(store, desk)
            let key = RedisBytes("chat:{\(uid.string)}")
            _ = try await client.send("PEXPIRE", key, "5000")
            _ = try await desk.claim(uid, agent: "小王", for: .seconds(600), deadline: soon)
            let left = try #require(try await client.send("PTTL", key).integer)
            #expect(left > 3_000_000, "\(left)")
        }
    }

    @Test func whatWaitsForTheCustomerIsBounded() async throws {
        try await withDesk { store, desk, _ in
            _ = try await handedOff(store, desk)
            let lease = try await desk.claim(uid, agent: "小王", for: .seconds(60), deadline: soon)
            let text = String(repeating: "好", count: 2000)
            var said: UInt64 = 0
            let refused = await rejection {
                for number in UInt64(1)...50 {
                    _ = try await desk.say(text, to: uid, lease: lease.token, number: number, deadline: soon)
                    said = number
                }
            }
            #expect(refused == .resourceExhausted && said == 10)
            // What was said before is still known as said.
            #expect(try await desk.say(text, to: uid, lease: lease.token, number: said, deadline: soon).wasSaid)
        }
    }

    @Test func aNewHandOffIsNotTakenOutOfTheIndexByWhoSawTheOldOne() async throws {
        try await withDesk { store, desk, client in
            let old = Self.now().milliseconds - 600_000
            try await desk.add(uid, since: Timestamp(milliseconds: old), isNew: true, deadline: soon)
            // Another orchestrator hands the session off again between the listing's look at the session and its removal: the score differs.
            try await desk.add(uid, since: Self.now(), isNew: true, deadline: soon)
            _ = try await desk.waiting(limit: 10, deadline: soon)
            #expect(try await client.send("ZCARD", "handoff:waiting") == .integer(1))
            // A message of somebody who waits keeps the place.
            try await desk.add(uid, since: Timestamp(milliseconds: old), isNew: false, deadline: soon)
            let score = try #require(try await client.send("ZSCORE", "handoff:waiting", RedisBytes(uid.string)).string)
            #expect(Int64(score) ?? 0 > old)
        }
    }

    @Test func theIndexIsBoundedWhereNobodyListsIt() async throws {
        try await withDesk { store, desk, client in
            for days in 1...20 {
                let old = Self.now().milliseconds - Int64(days) * 24 * 3_600_000
                _ = try await client.send("ZADD", "handoff:waiting", RedisBytes(old), RedisBytes("nobody-\(days)"))
            }
            _ = try await handedOff(store, desk)
            #expect(try await client.send("ZCARD", "handoff:waiting") == .integer(7))
        }
    }

    @Test func manyEntriesThatDoNotWaitHideNobody() async throws {
        try await withDesk { store, desk, client in
            let old = Self.now().milliseconds - 600_000
            for number in 0..<350 {
                // Some old, which go; some young, which stay.
                let score = number % 2 == 0 ? old + Int64(number) : Self.now().milliseconds - 60_000
                _ = try await client.send("ZADD", "handoff:waiting", RedisBytes(score), RedisBytes("nobody-\(number)"))
            }
            _ = try await handedOff(store, desk)
            let (found, more) = try await desk.waiting(limit: 10, deadline: soon)
            #expect(found.map(\.uid) == [uid] && !more)
            #expect(try await client.send("ZCARD", "handoff:waiting") == .integer(176))
        }
    }

    @Test func withKeysWhatAgentsSayIsEncrypted() async throws {
        try await withDesk(keys: try SessionKeyRing(text: "k \(String(repeating: "A", count: 43))=")) { store, desk, client in
            _ = try await handedOff(store, desk)
            let lease = try await desk.claim(uid, agent: "小李", for: .seconds(60), deadline: soon)
            _ = try await desk.say("地址是长江路1号", to: uid, lease: lease.token, number: 1, deadline: soon)
            _ = try await desk.say("对吗", to: uid, lease: lease.token, number: 2, deadline: soon)
            let outbox = try #require(try await client.send("HGET", "chat:{用户{2}}", "outbox").bytes)
            #expect(!String(decoding: outbox, as: UTF8.self).contains("长江路"))
            #expect(try await desk.unseen(uid, deadline: soon)?.map(\.text) == ["地址是长江路1号", "对吗"])
            let seen = try #require(try await desk.read(uid, masked: false, soon))
            #expect(seen.unseen.map(\.text) == ["地址是长江路1号", "对吗"])
            #expect(seen.turns.map(\.query) == ["消息1"])
            try await desk.giveBack(uid, lease: lease.token, endingFlows: false, deadline: soon)
            #expect(try await store.load(uid, deadline: soon)?.session.handedOff == false)
        }
    }
}
