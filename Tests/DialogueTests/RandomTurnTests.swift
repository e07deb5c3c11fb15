import Conversation
import Testing

@testable import Dialogue

/// A small generator with a fixed sequence, so that a failure repeats.
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Whatever comes in, a session keeps its bounds and a reply is said.
@Suite struct RandomTurnTests {
    static let texts = [
        "我要改地址", "202411110001", "202411110002", "13800138000", "SF1234567890", "1", "中关村大街1号", "嗯", "不对", "算了", "不改了", "算了，直接退款吧", "地址写错了",
        "改成黑色", "明天下午", "运费谁出？", "🙂🙂", "   ", "。", "\u{0}", "a\u{301}\u{200D}", "２０２４１１１１０００３", "不对，应该是北京市海淀区中关村大街2号",
        "202411110001和202411110002都要退", "13800138000或者13900139000", "第二个",
        "不是202411110001，是202411110002", "黑色 XL", "好的谢谢",
        String(repeating: "1", count: 512), String(repeating: "地", count: 512), "<b>&amp;{{order_id}}</b>",
    ]

    static func recognition(_ text: String, _ domain: Domain, using random: inout SplitMix64) -> Recognition? {
        if Int.random(in: 0..<20, using: &random) == 0 { return nil }
        let intents = domain.intentNames.sorted() + ["unheard_of"]
        let length = text.unicodeScalars.count
        var slots: [RecognizedSlot] = []
        for _ in 0..<Int.random(in: 0..<4, using: &random) {
            // Spans may lie outside of the text, as those of a faulty server would.
            let start = Int.random(in: -2..<length + 2, using: &random)
            let end = start + Int.random(in: 0..<max(1, length + 2), using: &random)
            let scalars = Array(text.unicodeScalars)
            let value = String(String.UnicodeScalarView(scalars[(start..<end).clamped(to: 0..<length)]))
            let name = (domain.slotNames + ["unheard_of"]).randomElement(using: &random) ?? ""
            slots.append(
                .init(
                    value: .init(name: name, value: value, normalized: Bool.random(using: &random) ? value : ""), range: start..<end,
                    confidence: Float.random(in: 0...1, using: &random)))
        }
        let confidence = Float.random(in: 0...1, using: &random)
        let named = intents.randomElement(using: &random).map { [Intent(name: $0, confidence: confidence)] } ?? []
        return Recognition(intents: Int.random(in: 0..<50, using: &random) == 0 ? [] : named, slots: slots, model: "random@1")
    }

    /// The first bound that a session breaks; a session has them whatever its age.
    static func brokenBound(_ session: Session, text: String, _ domain: Domain) -> String? {
        let flow = session.flows.last.flatMap { domain.flows[$0.name] }
        if text.isEmpty || text.unicodeScalars.count > 4000 { return "the reply's length" }
        if session.flows.count > domain.limits.suspendedFlows + 1 { return "flows at once" }
        if Set(session.flows.map(\.name)).count != session.flows.count { return "a flow is under way twice" }
        if session.flows.contains(where: { $0.asked.count > Step.limit }) { return "questions remembered" }
        if session.history.count > Session.historyLimit { return "history" }
        if session.rivals.count > Choice.limit { return "values to choose from" }
        for rival in session.rivals where domain.slots[rival.name]?.accepts(Array(rival.normalized.unicodeScalars)) != true {
            return "\(rival.name) to choose from does not fit"
        }
        if session.slots.count > domain.slots.count || session.ruleCounts.count > domain.counted.count { return "slots or counts" }
        for (name, slot) in session.slots {
            if slot.value.unicodeScalars.count > 150 { return "the length of \(name)" }
            if domain.slots[name]?.accepts(Array(slot.normalized.unicodeScalars)) != true { return "\(name) does not fit" }
        }
        // What the bot waits for is the flow's; without a flow it is a slot with two values.
        switch session.awaiting {
        case .slot(let name): return (flow?.slots.contains(name) ?? (domain.slots[name] != nil)) ? nil : "awaiting \(name)"
        case .confirmation: return flow?.confirm == nil ? "awaiting a confirmation" : nil
        case .nothing, .handoff: return nil
        }
    }

    @Test func `six thousand random turns keep every bound`() throws {
        let domain = try ConversationTests.domain.get()
        var random = SplitMix64(state: 20_241_111)
        let uid = try UserID("u1")
        var session = domain.newSession(uid: uid, id: "s0", now: Timestamp(milliseconds: 0))
        var handOffs = 0
        var deepest = 0
        var ended = 0
        for turn in 0..<6_000 {
            let text = Self.texts.randomElement(using: &random) ?? ""
            let recognition = Self.recognition(text, domain, using: &random)
            let query = try Utterance(text)
            let now = Timestamp(milliseconds: Int64(turn))
            let decision = domain.decide(session, query: query, seq: UInt64(turn + 1), recognition: recognition, now: now)
            if turn % 10 == 0 {
                // The same again gives the same.
                try #require(decision == domain.decide(session, query: query, seq: UInt64(turn + 1), recognition: recognition, now: now))
            }
            let after = decision.session
            let broken = Self.brokenBound(after, text: decision.text, domain)
            try #require(broken == nil, "turn \(turn): \(text)")
            deepest = max(deepest, after.flows.count)
            if after.flows.count < session.flows.count { ended += 1 }
            session = after
            if session.handedOff, Int.random(in: 0..<4, using: &random) == 0 {
                handOffs += 1
                session = domain.newSession(uid: uid, id: "s\(handOffs)", now: now)
            }
        }
        // The walk went everywhere it should.
        #expect(deepest == domain.limits.suspendedFlows + 1)
        #expect(handOffs > 30 && ended > 150)
    }

    @Test func `a session of another domain is taken as far as it is known`() throws {
        let domain = try ConversationTests.domain.get()
        var session = domain.newSession(uid: try UserID("u1"), id: "s", now: Timestamp(milliseconds: 0))
        session.flows = [.init(name: "gone", asked: ["x"]), .init(name: "address_change", asked: ["vanished"])]
        session.awaiting = .slot("vanished")
        session.slots["vanished"] = SlotValue(name: "vanished", value: "v", normalized: "v")
        let recognition = Recognition(intents: [Intent(name: "affirm", confidence: 0.9)], model: "recorded@1")
        let decision = domain.decide(session, query: try Utterance("好"), seq: 1, recognition: recognition, now: Timestamp(milliseconds: 1))
        #expect(decision.session.flows.map(\.name) == ["address_change"])
        #expect(decision.session.awaiting == .slot("order_id"))
    }

    @Test func `wordings change from turn to turn and repeat for the same turn`() throws {
        let domain = try ConversationTests.domain.get()
        var session = domain.newSession(uid: try UserID("u1"), id: "s", now: Timestamp(milliseconds: 0))
        let greeting = Recognition(intents: [Intent(name: "greeting", confidence: 0.9)], model: "recorded@1")
        var texts: [String] = []
        for seq in 1...3 {
            let decision = domain.decide(
                session, query: try Utterance("你好"), seq: UInt64(seq), recognition: greeting, now: Timestamp(milliseconds: 1))
            texts.append(decision.text)
            session = decision.session
        }
        #expect(Set(texts).count == 3)
    }
}
