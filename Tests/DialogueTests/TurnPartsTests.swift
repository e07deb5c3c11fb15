import Conversation
import Dialogue
import Foundation
import Synchronization
import Testing

private struct FixedRecognizer: Recognizer {
    static let order = "202411110001"
    let intents: [String: String]

    func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        let slots =
            utterance.text.contains(Self.order)
            ? [RecognizedSlot(value: SlotValue(name: "order_id", value: Self.order, normalized: Self.order), range: 2..<14, confidence: 1)]
            : []
        return Recognition(intents: [Intent(name: intents[utterance.text] ?? "greeting", confidence: 0.99)], slots: slots, model: "fixed@1")
    }
}

private final class RecordingActions: Actions {
    let calls = Mutex<[ActionCall]>([])
    let answer: @Sendable (ActionCall) -> ActionResult

    init(_ answer: @escaping @Sendable (ActionCall) -> ActionResult) { self.answer = answer }

    func perform(_ call: ActionCall, uid: UserID, now: Timestamp, deadline: ContinuousClock.Instant?) async -> ActionResult {
        calls.withLock { $0.append(call) }
        return answer(call)
    }
}

private final class RecordingChitchat: Chitchat {
    let asked = Mutex<[[String]]>([])
    let reply: String?

    init(_ reply: String?) { self.reply = reply }

    func answer(_ query: String, recent: [String], deadline: ContinuousClock.Instant?) async -> String? {
        asked.withLock { $0.append(recent + [query]) }
        return reply
    }
}

/// A store whose commits conflict a number of times although nothing was changed.
private final class ConflictingStore: SessionStore {
    let store: MemoryStore
    let conflicts = Mutex(0)

    init(_ store: MemoryStore) { self.store = store }

    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        try await store.load(uid, deadline: deadline)
    }
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply? {
        try await store.reply(uid, seq: seq, position: position, deadline: deadline)
    }
    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    {
        let conflicts = conflicts.withLock { left in
            defer { left = max(0, left - 1) }
            return left > 0
        }
        if conflicts { return .conflict(try await store.load(commit.session.uid, deadline: deadline)) }
        return try await store.commit(commit, expected: expected, deadline: deadline)
    }
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        try await store.timeLeft(uid, deadline: deadline)
    }
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await store.end(uid, deadline: deadline)
    }
}

/// A store that is away whenever a reply is to be kept.
private final class FailingStore: SessionStore {
    let store: ConflictingStore
    let fails = Mutex(true)

    init(_ store: ConflictingStore) { self.store = store }

    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        try await store.load(uid, deadline: deadline)
    }
    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply? {
        try await store.reply(uid, seq: seq, position: position, deadline: deadline)
    }
    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    {
        if commit.reply != nil, fails.withLock({ $0 }) { throw ConversationError(.unavailable, "away") }
        return try await store.commit(commit, expected: expected, deadline: deadline)
    }
    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        try await store.timeLeft(uid, deadline: deadline)
    }
    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        try await store.end(uid, deadline: deadline)
    }
}

private final class RecordingIndex: WaitingIndex {
    let added = Mutex<[Bool]>([])
    let failure: ConversationError?

    init(failure: ConversationError? = nil) { self.failure = failure }

    func add(_ uid: UserID, since: Timestamp, isNew: Bool, deadline: ContinuousClock.Instant?) async throws(ConversationError) {
        if let failure { throw failure }
        added.withLock { $0.append(isNew) }
    }
}

/// The turn taker with the parts that it can do without.
@Suite struct TurnPartsTests {
    private let domain: Domain
    private let uid: UserID
    private let store = ConflictingStore(MemoryStore(now: { Timestamp(milliseconds: 1_000_000) }))
    private let intents = [
        "退款202411110001": "refund_request", "查单202411110001": "order_status", "对": "affirm", "天气": "chitchat", "转人工": "human_agent",
    ]

    init() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        domain = try Domain.load(directory: root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false))
        uid = try UserID("u1")
    }

    private func turns(_ parts: OptionalParts) -> TurnTaker {
        TurnTaker(
            domain: domain, store: store, recognizer: FixedRecognizer(intents: intents), parts: parts,
            environment: TurnEnvironment(now: { Timestamp(milliseconds: 1_000_000) }, newSessionID: { "s" }))
    }

    private func say(_ text: String, _ seq: UInt64, _ turns: TurnTaker) async throws -> Reply {
        try await turns.reply(to: Message(uid: uid, query: Utterance(text), seq: seq), deadline: nil)
    }

    @Test func anActionIsDoneOnceHoweverOftenTheTurnIsDecided() async throws {
        let actions = RecordingActions { _ in ActionResult(code: "ok", values: ["refund_amount": "8.00 元"]) }
        let turns = turns(OptionalParts(actions: actions))
        _ = try await say("退款202411110001", 1, turns)
        #expect(actions.calls.withLock { $0 }.isEmpty)
        store.conflicts.withLock { $0 = 3 }
        let reply = try await say("对", 2, turns)
        #expect(reply.text.contains("8.00 元") && reply.degradedParts.isEmpty && reply.session.flow == nil)
        #expect(actions.calls.withLock { $0.map(\.idempotencyKey) } == ["u1:s:2"])
        #expect(try await say("对", 2, turns).replayed)
        #expect(actions.calls.withLock { $0.count } == 1)
    }

    @Test func anActionInTheFirstTurnHasTheSameKeyWhenTheMessageIsSentAgain() async throws {
        let actions = RecordingActions { _ in ActionResult(code: "ok", values: ["status": "待发货"]) }
        let ids = Mutex(0)
        let failing = FailingStore(store)
        let turns = TurnTaker(
            domain: domain, store: failing, recognizer: FixedRecognizer(intents: intents), parts: OptionalParts(actions: actions),
            environment: TurnEnvironment(
                now: { Timestamp(milliseconds: 1_000_000) },
                newSessionID: {
                    ids.withLock {
                        $0 += 1
                        return "s\($0)"
                    }
                }))
        await #expect { try await say("查单202411110001", 1, turns) } throws: { ($0 as? ConversationError)?.code == .unavailable }
        failing.fails.withLock { $0 = false }
        let reply = try await say("查单202411110001", 1, turns)
        #expect(reply.text.contains("待发货") && reply.session.turns == 1 && !reply.replayed)
        #expect(actions.calls.withLock { $0.map(\.idempotencyKey) } == ["u1:s1:1", "u1:s1:1"])
    }

    @Test func aBackendOutOfReachIsDegraded() async throws {
        let index = RecordingIndex()
        let turns = turns(OptionalParts(actions: RecordingActions { _ in .unavailable }, waiting: index))
        _ = try await say("退款202411110001", 1, turns)
        let reply = try await say("对", 2, turns)
        #expect(reply.degradedParts == ["action"] && reply.session.handedOff && !reply.text.isEmpty)
        #expect(index.added.withLock { $0 } == [true])
    }

    @Test func withoutABackendFlowsEndAsBefore() async throws {
        let turns = turns(OptionalParts())
        _ = try await say("退款202411110001", 1, turns)
        let reply = try await say("对", 2, turns)
        #expect(reply.degradedParts.isEmpty && reply.session.flow == nil && !reply.session.handedOff)
    }

    @Test func smallTalkIsAskedOnceWithTheRecentLines() async throws {
        let chitchat = RecordingChitchat("您好呀～")
        let turns = turns(OptionalParts(chitchat: chitchat))
        let first = try await say("在吗", 1, turns)
        store.conflicts.withLock { $0 = 2 }
        let reply = try await say("天气", 2, turns)
        #expect(reply.text == "您好呀～" && reply.source == .chitchat && reply.degradedParts.isEmpty)
        #expect(reply.session.history.last?.source == .chitchat)
        #expect(chitchat.asked.withLock { $0 } == [["在吗", String(first.text.prefix(40)), "天气"]])
        for seq in UInt64(3)...8 { _ = try await say("天气", seq, turns) }
        #expect(chitchat.asked.withLock { $0.last?.count } == 5)
    }

    @Test func smallTalkThatCannotAnswerHasATemplate() async throws {
        let reply = try await say("天气", 1, turns(OptionalParts(chitchat: RecordingChitchat(nil))))
        #expect(reply.degradedParts == ["chitchat"] && reply.source != .chitchat && !reply.text.isEmpty)
        let without = try await say("天气", 2, turns(OptionalParts()))
        #expect(without.degradedParts.isEmpty && !without.text.isEmpty)
    }

    @Test func aTurnThatCannotNameWhoWaitsChangesNothing() async throws {
        let turns = turns(OptionalParts(waiting: RecordingIndex(failure: ConversationError(.unavailable, "away"))))
        await #expect { try await say("转人工", 1, turns) } throws: { ($0 as? ConversationError)?.code == .unavailable }
        #expect(try await store.load(uid, deadline: nil) == nil)
    }

    @Test func whoWaitsIsNamedAtTheHandOffAndMendedLater() async throws {
        let index = RecordingIndex()
        let turns = turns(OptionalParts(waiting: index))
        _ = try await say("在吗", 1, turns)
        #expect(try await say("转人工", 2, turns).session.handedOff)
        _ = try await say("在吗", 3, turns)
        #expect(index.added.withLock { $0 } == [true, false])
    }
}
