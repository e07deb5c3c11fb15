import Conversation
import Foundation
import Testing

@testable import Dialogue

/// What a domain can say beyond what the shipped one does: conditions, flows that follow, reasons in free text; and versions side by side.
@Suite struct DomainFeatureTests {
    /// The shipped domain with a change.
    static func domain(_ changes: [(file: String, old: String, new: String)]) throws -> Domain {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kefu-domain-\(UUID().uuidString)")
        try FileManager.default.copyItem(atPath: shippedDomain, toPath: folder.path)
        defer { try? FileManager.default.removeItem(at: folder) }
        for (file, old, new) in changes {
            let url = folder.appending(path: file)
            let text = try String(contentsOf: url, encoding: .utf8)
            let place = try #require(text.range(of: old), "'\(old)' is not in \(file)")
            try text.replacingCharacters(in: place, with: new).write(to: url, atomically: true, encoding: .utf8)
        }
        return try Domain.load(directory: folder.path)
    }

    /// A conversation of messages with their intents and slots.
    struct Talk {
        var domain: Domain
        var session: Session
        var now = Timestamp(milliseconds: 1_795_344_000_000)

        init(_ domain: Domain) throws {
            self.domain = domain
            session = domain.newSession(uid: try UserID("u"), id: "s", now: now)
        }

        mutating func say(
            _ text: String, _ intent: String, _ confidence: Float = 0.95, _ slots: [String: String] = [:], results: [ActionResult]? = nil
        ) throws -> Decision {
            let scalars = Array(text.unicodeScalars)
            let spans = slots.compactMap { name, value -> RecognizedSlot? in
                let span = Array(value.unicodeScalars)
                guard let start = (0...scalars.count - span.count).first(where: { scalars[$0...].starts(with: span) }) else { return nil }
                return RecognizedSlot(
                    value: SlotValue(name: name, value: value, normalized: ""), range: start..<start + span.count, confidence: 0.9)
            }
            let recognition = Recognition(intents: [Intent(name: intent, confidence: confidence)], slots: spans, model: "m@1")
            let decision = domain.decide(
                session, query: try Utterance(text), seq: session.lastSeq + 1, recognition: recognition, now: now, results: results)
            if decision.action == nil { session = decision.session }
            return decision
        }
    }

    static let reason = """
          reason:
            label: 原因
            type: text
            pattern: '.{1,100}'
            free_text: '.'
            ask: ['请问退款的原因是？']
            invalid: ['「{{value}}」太长了。']
          product:

        """

    @Test func `a condition asks for more, and any text is a reason`() throws {
        let domain = try Self.domain([
            ("slots.yaml", "  product:\n", Self.reason),
            (
                "flows.yaml", "    optional: [amount]\n",
                "    optional: [amount]\n    conditions: [{when: {filled: [amount], matches: {amount: '\\d{4,}.*'}}, require: [reason]}]\n"
            ),
        ])
        var talk = try Talk(domain)
        _ = try talk.say("退款199元，订单202411110001", "refund_request", 0.95, ["amount": "199元", "order_id": "202411110001"])
        #expect(talk.session.awaiting == .confirmation)
        var large = try Talk(domain)
        _ = try large.say("退款1999元，订单202411110001", "refund_request", 0.95, ["amount": "1999元", "order_id": "202411110001"])
        #expect(large.session.awaiting == .slot("reason"))
        _ = try large.say("屏幕有划痕，客服也同意了", "item_damaged", 0.4)
        #expect(large.session.slots["reason"]?.value == "屏幕有划痕，客服也同意了")
        #expect(large.session.awaiting == .confirmation)
    }

    @Test func `a flow leads to the next`() throws {
        let domain = try Self.domain([
            ("flows.yaml", "    action:\n      call: order.cancel", "    next: refund_progress\n    action:\n      call: order.cancel")
        ])
        var talk = try Talk(domain)
        _ = try talk.say("取消订单202411110001", "order_cancel", 0.95, ["order_id": "202411110001"])
        let decision = try talk.say("对", "affirm")
        #expect(decision.text.contains("取消申请") && decision.text.contains("退款进度"))
        #expect(talk.session.flows.isEmpty && talk.session.awaiting == .nothing)
    }

    @Test func `rules go by priority, confidence, repeats and slots`() throws {
        let rule = """
            rules:
              - {name: late, priority: 5, when: {intent: greeting, filled: [order_id], confidence_from: 0.9}, then: answer, reply: [优先]}
              - {name: unsure, when: {intent: greeting, confidence_from: 0.5, confidence_below: 0.6}, then: answer, reply: [不太确定]}
              - {name: again, when: {repeats: 3, intent: greeting}, then: answer, reply: [又见面了]}

            """
        let domain = try Self.domain([("rules.yaml", "rules:\n", rule)])
        var talk = try Talk(domain)
        #expect(try talk.say("你好", "greeting").source == .template)
        #expect(try talk.say("你好呀", "greeting", 0.55).text == "不太确定")
        _ = try talk.say("您好", "greeting")
        _ = try talk.say("您好", "greeting")
        #expect(try talk.say("您好", "greeting").text == "又见面了")
        _ = try talk.say("202411110001", "inform")
        #expect(try talk.say("您好", "greeting").text == "优先")
        #expect(try talk.say("您好", "greeting", 0.85).source == .template)
    }

    @Test func `an action is called with the filled slots and one key a call`() throws {
        let domain = try ConversationTests.domain.get()
        var talk = try Talk(domain)
        _ = try talk.say(
            "订单202411110001改到北京市海淀区中关村大街1号", "address_change", 0.95, ["order_id": "202411110001", "address": "北京市海淀区中关村大街1号"])
        let asked = try talk.say("对", "affirm", results: [])
        let call = try #require(asked.action)
        #expect(call.name == "order.change_address" && call.flow == "address_change" && call.idempotencyKey == "u:s:2")
        #expect(call.arguments.map(\.name) == ["order_id", "address"])
        // Nothing was kept of the decision that asks for the action.
        #expect(talk.session.turns == 1 && talk.session.awaiting == .confirmation)
        let done = try talk.say("对", "affirm", results: [ActionResult(code: "ok")])
        #expect(done.action == nil && done.text.contains("改好了") && talk.session.flows.isEmpty && talk.session.turns == 2)
    }

    @Test func `a failed action brings a person only where the domain says so`() throws {
        let domain = try Self.domain([("domain.yaml", "failed_action: true", "failed_action: false")])
        var talk = try Talk(domain)
        _ = try talk.say("取消订单202411110001", "order_cancel", 0.95, ["order_id": "202411110001"])
        let decision = try talk.say("对", "affirm", results: [.unavailable])
        #expect(decision.degradedParts == ["action"] && !decision.session.handedOff && decision.session.flows.isEmpty)
        var other = try Talk(try ConversationTests.domain.get())
        _ = try other.say("取消订单202411110001", "order_cancel", 0.95, ["order_id": "202411110001"])
        let failed = try other.say("对", "affirm", results: [.unavailable])
        #expect(failed.handOff == .failedAction("order.cancel") && failed.source == .handoff)
    }

    @Test func `small talk is asked of a model, whose words stand before the open question`() throws {
        var talk = try Talk(try ConversationTests.domain.get())
        _ = try talk.say("我要改地址", "address_change")
        var decision = try talk.say("讲个笑话", "chitchat")
        #expect(decision.chitchat == ChitchatRequest(query: "讲个笑话", paragraph: 0) && decision.source == .template)
        var silent = decision
        decision.answerChitchat(with: "从前有座山。")
        #expect(decision.text.hasPrefix("从前有座山。\n") && decision.text.contains("订单号"))
        #expect(decision.source == .chitchat && decision.session.history.last?.source == .chitchat && decision.degradedParts.isEmpty)
        let standIn = silent.text
        silent.answerChitchat(with: nil)
        #expect(silent.text == standIn && silent.source == .template && silent.degradedParts == ["chitchat"])
    }

    @Test func `a person who takes over is told why`() throws {
        var talk = try Talk(try ConversationTests.domain.get())
        #expect(try talk.say("转人工", "human_agent").handOff == .rule("person_wanted"))
        #expect(try talk.say("在吗", "greeting").handOff == nil)
    }

    @Test func `sensitive values are masked`() throws {
        let domain = try ConversationTests.domain.get()
        func masked(_ name: String, _ value: String) -> String { domain.masked(SlotValue(name: name, value: value, normalized: value)) }
        #expect(masked("phone", "13800138000") == "138***00")
        #expect(masked("recipient", "张三") == "张***")
        #expect(masked("order_id", "202411110001") == "202411110001")
    }

    @Test func `dialogues under way keep their version until their flows end`() throws {
        let old = try ConversationTests.domain.get()
        let new = try Self.domain([
            ("flows.yaml", "    optional: [amount]\n", "    optional: [amount, recipient]\n"),
            ("flows.yaml", "为订单 {{order_id}} 申请退款", "为{{#recipient}}{{recipient}}{{/recipient}}的订单 {{order_id}} 申请退款"),
            ("flows.yaml", "我将为订单 {{order_id}} 提交退款申请", "我将为{{#recipient}}{{recipient}}{{/recipient}}的订单 {{order_id}} 提交退款申请"),
        ])
        #expect(old.version != new.version)
        #expect(Domain.version(directory: shippedDomain) == old.version)
        let catalog = DomainCatalog(old)
        var talk = try Talk(old)
        _ = try talk.say("我要退款", "refund_request")
        #expect(talk.session.domainVersion == old.version)
        catalog.add(new)
        #expect(catalog.current.version == new.version)
        #expect(catalog.domain(for: talk.session).version == old.version)
        talk.domain = catalog.domain(for: talk.session)
        _ = try talk.say("算了", "deny")
        #expect(catalog.domain(for: talk.session).version == new.version)
        talk.domain = catalog.domain(for: talk.session)
        _ = try talk.say("我要退款", "refund_request")
        #expect(talk.session.domainVersion == new.version)
        // A version that is gone, such as that of another process, gives way to the current one.
        talk.session.domainVersion = "gone"
        #expect(catalog.domain(for: talk.session).version == new.version)
        for number in 0..<DomainCatalog.limit { catalog.add(try Self.domain([("domain.yaml", "name: ecommerce", "name: shop\(number)")])) }
        talk.session.domainVersion = old.version
        #expect(catalog.domain(for: talk.session).version == catalog.current.version)
    }
}
