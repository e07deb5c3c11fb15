import Conversation
import Dialogue
import Foundation
import Synchronization
import Testing

/// Recognises what it was told to, and counts how often it was asked.
private final class ScriptedRecognizer: Recognizer {
    let asked = Mutex(0)
    let answer: @Sendable (Utterance) -> Result<Recognition, ConversationError>

    init(_ answer: @escaping @Sendable (Utterance) -> Result<Recognition, ConversationError>) { self.answer = answer }

    func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        asked.withLock { $0 += 1 }
        return try answer(utterance).get()
    }
}

/// A memory store between whose load and commit another writer gets in, a set number of times.
private struct ContendedStore: SessionStore {
    let store: MemoryStore
    let intrude: @Sendable () async throws(ConversationError) -> Void

    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        try await store.load(uid, deadline: deadline)
    }
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply? {
        try await store.reply(uid, seq: seq, position: position, deadline: deadline)
    }
    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    {
        try await intrude()
        return try await store.commit(commit, expected: expected, deadline: deadline)
    }
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        try await store.timeLeft(uid, deadline: deadline)
    }
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await store.end(uid, deadline: deadline)
    }
}

/// A store that has lost the replies of a session.
private struct ForgetfulStore: SessionStore {
    let store: MemoryStore

    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        try await store.load(uid, deadline: deadline)
    }
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply? {
        nil
    }
    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    { try await store.commit(commit, expected: expected, deadline: deadline) }
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        try await store.timeLeft(uid, deadline: deadline)
    }
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await store.end(uid, deadline: deadline)
    }
}

/// A store that cannot be reached.
private struct AbsentStore: SessionStore {
    private var away: ConversationError { ConversationError(.unavailable, "away") }
    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? { throw away }
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply? {
        throw away
    }
    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    { throw away }
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? { throw away }
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool { throw away }
}

@Suite struct TurnTakerTests {
    private let uid: UserID
    private let domain: Domain

    init() throws {
        uid = try UserID("u1")
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        domain = try Domain.load(directory: root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false))
    }

    private static func greeting(_ utterance: Utterance) -> Result<Recognition, ConversationError> {
        .success(Recognition(intents: [Intent(name: "greeting", confidence: 0.99)], model: "fake@1"))
    }

    private var environment: TurnEnvironment {
        let counter = IDs()
        return TurnEnvironment(now: { Timestamp(milliseconds: 1_000_000) }, newSessionID: { counter.next() })
    }

    private final class IDs: Sendable {
        private let last = Mutex(0)
        func next() -> String {
            last.withLock {
                $0 += 1
                return "s\($0)"
            }
        }
    }

    private func message(_ text: String, _ seq: UInt64?) throws -> Message {
        Message(uid: uid, query: try Utterance(text), seq: seq)
    }

    @Test func aSeqIsAnsweredOnce() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let turns = TurnTaker(
            domain: domain, store: store, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        let first = try await turns.reply(to: message("你好", 1), deadline: nil)
        #expect(!first.replayed && first.session.turns == 1 && first.source == .template)
        var again = try await turns.reply(to: message("你好", 1), deadline: nil)
        #expect(again.replayed)
        again.replayed = false
        #expect(again == first)
        #expect(try await turns.session(of: uid, deadline: nil).turns == 1)
    }

    @Test func theServerNumbersWhatHasNoSeq() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let turns = TurnTaker(
            domain: domain, store: store, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        #expect(try await turns.reply(to: message("你好", nil), deadline: nil).seq == 1)
        #expect(try await turns.reply(to: message("你好", 7), deadline: nil).seq == 7)
        #expect(try await turns.reply(to: message("你好", nil), deadline: nil).seq == 8)
        // Late, and never answered: a turn of its own.
        #expect(try await turns.reply(to: message("你好", 3), deadline: nil).replayed == false)
        #expect(try await turns.session(of: uid, deadline: nil).lastSeq == 8)
    }

    @Test func aForgottenSeqIsAborted() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let turns = TurnTaker(
            domain: domain, store: store, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        for seq in UInt64(1)...17 { _ = try await turns.reply(to: message("你好", seq), deadline: nil) }
        await #expect {
            try await turns.reply(to: message("你好", 1), deadline: nil)
        } throws: { ($0 as? ConversationError)?.code == .aborted }
        #expect(try await turns.reply(to: message("你好", 2), deadline: nil).replayed)
    }

    @Test func anAnsweredSeqWhoseReplyIsGoneIsAborted() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let turns = TurnTaker(
            domain: domain, store: ForgetfulStore(store: store), recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        _ = try await turns.reply(to: message("你好", 1), deadline: nil)
        await #expect {
            try await turns.reply(to: message("你好", 1), deadline: nil)
        } throws: { ($0 as? ConversationError)?.code == .aborted }
        #expect(try await turns.reply(to: message("你好", 2), deadline: nil).session.turns == 2)
    }

    @Test func aConflictDecidesAgainWithoutAskingTheModelTwice() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let environment = environment
        let other = TurnTaker(
            domain: domain, store: store, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        let intrusions = IDs()
        let uid = uid
        let contended = ContendedStore(store: store) { () throws(ConversationError) in
            guard let number = UInt64(intrusions.next().dropFirst()), number <= 3 else { return }
            _ = try await other.reply(to: Message(uid: uid, query: try Utterance("在吗"), seq: 100 + number), deadline: nil)
        }
        let recognizer = ScriptedRecognizer(Self.greeting)
        let turns = TurnTaker(domain: domain, store: contended, recognizer: recognizer, environment: environment)
        let reply = try await turns.reply(to: message("你好", 1), deadline: nil)
        #expect(reply.session.turns == 4)
        #expect(recognizer.asked.withLock { $0 } == 1)
        #expect(try await store.load(uid, deadline: nil)?.version.number == 4)
    }

    @Test func theSameMessageOnTwoPathsIsOneTurn() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let environment = environment
        let other = TurnTaker(
            domain: domain, store: store, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        let same = try message("你好", 1)
        let contended = ContendedStore(store: store) { () throws(ConversationError) in _ = try await other.reply(to: same, deadline: nil) }
        let turns = TurnTaker(
            domain: domain, store: contended, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        let reply = try await turns.reply(to: same, deadline: nil)
        #expect(reply.replayed && reply.session.turns == 1)
    }

    @Test func manyWritersOfOneSessionLoseNothing() async throws {
        let store = MemoryStore(now: { Timestamp(milliseconds: 1_000_000) })
        let turns = TurnTaker(
            domain: domain, store: store, recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        let uid = uid
        let replies = try await withThrowingTaskGroup(of: Reply.self) { group in
            for _ in 1...200 {
                group.addTask { try await turns.reply(to: Message(uid: uid, query: try Utterance("你好"), seq: nil), deadline: nil) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(replies.map(\.session.turns).sorted() == Array(1...200))
        #expect(replies.map(\.seq).sorted() == Array(1...200))
    }

    @Test(arguments: [ConversationError.Code.unavailable, .deadlineExceeded, .resourceExhausted, .internalError])
    func aRecogniserThatCannotAnswerHasAStandIn(_ code: ConversationError.Code) async throws {
        let turns = TurnTaker(
            domain: domain, store: MemoryStore(now: { Timestamp(milliseconds: 1_000_000) }),
            recognizer: ScriptedRecognizer { _ in .failure(ConversationError(code, "no")) }, environment: environment)
        let reply = try await turns.reply(to: message("我要改地址", 1), deadline: nil)
        #expect(reply.degradedParts == ["understanding"] && reply.recognition == nil && !reply.text.isEmpty)
    }

    @Test func aStoreThatIsAwayIsUnavailable() async throws {
        let turns = TurnTaker(
            domain: domain, store: AbsentStore(), recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        await #expect {
            try await turns.reply(to: message("你好", 1), deadline: nil)
        } throws: { ($0 as? ConversationError)?.code == .unavailable }
    }

    @Test func anEndedSessionBeginsAnew() async throws {
        let turns = TurnTaker(
            domain: domain, store: MemoryStore(now: { Timestamp(milliseconds: 1_000_000) }),
            recognizer: ScriptedRecognizer(Self.greeting), environment: environment)
        await #expect {
            try await turns.session(of: uid, deadline: nil)
        } throws: { ($0 as? ConversationError)?.code == .notFound }
        _ = try await turns.reply(to: message("你好", 5), deadline: nil)
        #expect(try await turns.end(uid, deadline: nil))
        #expect(try await !turns.end(uid, deadline: nil))
        let reply = try await turns.reply(to: message("你好", 5), deadline: nil)
        #expect(!reply.replayed && reply.session.turns == 1)
    }
}

@Suite struct MemoryStoreTests {
    private final class Clock: Sendable {
        let now = Mutex(Timestamp(milliseconds: 0))
    }

    @Test func sessionsExpire() async throws {
        let clock = Clock()
        let store = MemoryStore(now: { clock.now.withLock { $0 } })
        let uid = try UserID("u")
        let session = Session(uid: uid, id: "s", startedAt: Timestamp(milliseconds: 0), timeToLive: .seconds(10))
        let reply = Reply(
            uid: uid, seq: 1, text: "好", source: .template, recognition: nil, session: SessionSnapshot(session, timeLeft: .seconds(10)))
        let commit = SessionCommit(session: session, reply: reply, position: 0)
        #expect(try await store.commit(commit, expected: nil, deadline: nil).isCommitted)
        clock.now.withLock { $0 = Timestamp(milliseconds: 4_000) }
        #expect(try await store.timeLeft(uid, deadline: nil) == .seconds(6))
        #expect(try await store.reply(uid, seq: 1, position: 0, deadline: nil) == reply)
        #expect(try await store.reply(uid, seq: 2, position: 0, deadline: nil) == nil)
        #expect(try await !store.commit(commit, expected: nil, deadline: nil).isCommitted)
        clock.now.withLock { $0 = Timestamp(milliseconds: 10_000) }
        #expect(try await store.load(uid, deadline: nil) == nil)
        #expect(try await store.commit(commit, expected: nil, deadline: nil).isCommitted)
    }
}
