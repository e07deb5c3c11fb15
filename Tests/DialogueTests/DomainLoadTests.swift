import Foundation
import Testing

@testable import Dialogue

/// What is wrong with a domain is said with file, line, column and what was expected.
@Suite struct DomainLoadTests {
    /// Loads a copy of the shipped domain in which `old` was replaced by `new` (once) in one file.
    private func diagnostics(in file: String, replacing old: String, by new: String) throws -> [String] {
        try diagnostics { folder in
            let url = folder.appending(path: file)
            let text = try String(contentsOf: url, encoding: .utf8)
            let range = try #require(text.range(of: old), "'\(old)' is not in \(file)")
            try text.replacingCharacters(in: range, with: new).write(to: url, atomically: true, encoding: .utf8)
        }
    }

    private func diagnostics(after change: (URL) throws -> Void) throws -> [String] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kefu-domain-\(UUID().uuidString)")
        try FileManager.default.copyItem(atPath: shippedDomain, toPath: folder.path)
        defer { try? FileManager.default.removeItem(at: folder) }
        try change(folder)
        do throws(DomainError) {
            _ = try Domain.load(directory: folder.path)
            return []
        } catch {
            #expect(!error.diagnostics.isEmpty)
            return error.description.split(separator: "\n").map { String($0.replacing(folder.path + "/", with: "")) }
        }
    }

    /// One fault each: file, what is replaced, by what, and the one finding.
    static let faults: [(file: String, old: String, new: String, finding: String)] = [
        ("domain.yaml", "language: zh-CN", "langage: zh-CN", "domain.yaml:2:1: the file has no 'language'"),
        (
            "domain.yaml", "time_to_live: 1h ", "time_to_live: soon ",
            "domain.yaml:5:17: 'session.time_to_live' must be a time such as 90s, 30m, 24h or 7d, and is 'soon'"
        ),
        (
            "domain.yaml", "understood: 0.5 ", "understood: 50% ",
            "domain.yaml:7:15: 'thresholds.understood' must be a number from 0 to 1, and is '50%'"
        ),
        (
            "domain.yaml", "interruption: 0.8", "interruption: 0.1",
            "domain.yaml:8:17: 'thresholds.interruption' must not be below 'thresholds.understood'"
        ),
        (
            "domain.yaml", "misunderstood: 3", "misunderstood: 99",
            "domain.yaml:11:18: 'limits.misunderstood' must be a whole number from 1 to 10, and is '99'"
        ),
        ("intents.yaml", "  thanks:  ", "  thanx:  ", "replies.yaml:40:3: unknown intent 'thanks'; did you mean 'thanx'?"),
        (
            "intents.yaml", "  deny:  ", "  denial:  ",
            "intents.yaml:4:3: 'intents' has no 'deny'; every domain has 'inform', 'affirm', 'deny'"
        ),
        (
            "slots.yaml", "    type: code", "    type: number",
            "slots.yaml:8:11: 'slots.order_id.type' must be 'code' or 'text', and is 'number'"
        ),
        (
            "slots.yaml", "pattern: '[A-Za-z0-9]{8,24}'", "pattern: '[A-Za-z0-9{8,24}'",
            "slots.yaml:9:14: 'slots.order_id.pattern' is not a pattern: '[' is not closed by ']'"
        ),
        (
            "slots.yaml", "  product:\n", "  confirm:\n",
            "slots.yaml:76:3: no slot may be named 'confirm': the bot has a meaning of its own for it"
        ),
        (
            "flows.yaml", "required: [order_id, address]", "required: [order_id, adress]",
            "flows.yaml:93:26: unknown slot 'adress'; did you mean 'address'?"
        ),
        (
            "flows.yaml", "required: [order_id, time]", "required: [order_id, product]",
            "flows.yaml:108:26: nobody asks for 'product': 'slots.product.ask' or 'flows.delivery_reschedule.prompts.product' was expected"
        ),
        (
            "flows.yaml", "optional: [recipient, phone]", "optional: [recipient, address]",
            "flows.yaml:94:27: 'address' is in 'flows.address_change' twice"
        ),
        (
            "flows.yaml", "  refund_request:\n", "  refund_reqest:\n",
            "flows.yaml:121:3: unknown intent 'refund_reqest'; did you mean 'refund_request'?"
        ),
        (
            "flows.yaml", "    title: 查询订单状态\n", "    titel: 查询订单状态\n",
            "flows.yaml:8:5: unknown key 'titel'; did you mean 'title'?"
        ),
        (
            "flows.yaml", "    required: [order_id]\n    cancel_words: [不查了", "    required: order_id: x\n    cancel_words: [不查了",
            "flows.yaml:9:23: this is not YAML: mapping values are not allowed in this context"
        ),
        (
            "flows.yaml", "订单 {{order_id}} 的状态查询", "订单 {{orderid}} 的状态查询",
            "flows.yaml:15:12: nothing provides 'orderid'; here there are 'order_id'"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "，联系电话 {{phone}}",
            "flows.yaml:101:102: 'phone' may be empty here; {{#phone}}…{{/phone}} around it was expected"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "",
            "flows.yaml:101:9: this wording must name {{phone}}: the customer confirms what it says"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "{{#phone}}，联系电话 {{phone}}",
            "flows.yaml:101:9: the section {{#phone}} is not closed by {{/phone}}"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "{{>phone}}{{#phone}}{{.}}{{/phone}}",
            "flows.yaml:101:96: '{{>phone}}' is not used in replies; {{name}}, {{#name}}…{{/name}} and {{^name}}…{{/name}} are"
        ),
        ("rules.yaml", "    then: hand_off", "    then: handoff", "rules.yaml:7:11: unknown effect 'handoff'; did you mean 'hand_off'?"),
        (
            "rules.yaml", "    times: 2\n", "    times: 1\n",
            "rules.yaml:19:5: this rule is never reached: 'complaint_repeated' above holds whenever it does"
        ),
        ("rules.yaml", "intent: goodbye", "intent: good_bye", "rules.yaml:27:13: unknown intent 'good_bye'; did you mean 'goodbye'?"),
        (
            "replies.yaml", "  coupon_query:\n", "  coupon_qery:\n",
            "replies.yaml:21:3: unknown intent 'coupon_qery'; did you mean 'coupon_query'?"
        ),
        ("replies.yaml", "  offer_declined:\n", "  offer_refused:\n", "replies.yaml:52:3: 'messages' has no 'offer_declined'"),
        (
            "replies.yaml", "  gave_way:\n", "  received:\n",
            "replies.yaml:52:3: 'received' appears more than once in this mapping; a key may appear once"
        ),
        ("replies.yaml", "labels}}记下了", "label}}记下了", "replies.yaml:88:10: nothing provides 'label'; here there are 'labels'"),
        (
            "replies.yaml", "  thanks:\n    - 不客气，能帮到您我很开心～\n    - 应该的，有需要随时找我。\n    - 您太客气了，祝您购物愉快！\n", "  thanks: {}\n",
            "replies.yaml:40:11: 'answers.thanks' must be a list, and is a mapping"
        ),
        (
            "replies.yaml", "  thanks:\n    - 不客气，能帮到您我很开心～\n    - 应该的，有需要随时找我。\n    - 您太客气了，祝您购物愉快！\n", "",
            "intents.yaml:42:3: nothing handles the intent 'thanks'; a flow, a rule or an answer of this name was expected"
        ),
    ]

    @Test(arguments: faults.indices) func `a fault is found at its place`(_ index: Int) throws {
        let fault = Self.faults[index]
        let found = try diagnostics(in: fault.file, replacing: fault.old, by: fault.new)
        #expect(found.contains(fault.finding), "found instead:\n\(found.joined(separator: "\n"))")
    }

    @Test func `all faults of all files are reported at once`() throws {
        let found = try diagnostics { folder in
            for (file, old, new) in [
                ("domain.yaml", "misunderstood: 3", "misunderstood: many"),
                ("flows.yaml", "required: [order_id, address]", "required: [order, address]"),
                ("rules.yaml", "times: 2", "times: x"), ("replies.yaml", "  back_to:\n", "  backto:\n"),
            ] {
                let url = folder.appending(path: file)
                try String(contentsOf: url, encoding: .utf8).replacing(old, with: new).write(to: url, atomically: true, encoding: .utf8)
            }
        }
        for file in ["domain.yaml:11:", "flows.yaml:93:", "rules.yaml:", "replies.yaml:"] {
            #expect(found.contains { $0.hasPrefix(file) }, "\(file) is not among\n\(found.joined(separator: "\n"))")
        }
        #expect(found == found.sorted { $0.prefix { $0 != ":" } < $1.prefix { $0 != ":" } })
    }

    @Test func `places are the same where lines end in CR LF`() throws {
        let found = try diagnostics { folder in
            let url = folder.appending(path: "flows.yaml")
            let text = try String(contentsOf: url, encoding: .utf8).replacing("订单 {{order_id}} 的状态查询", with: "订单 {{orderid}} 的状态查询")
            try text.replacing("\n", with: "\r\n").write(to: url, atomically: true, encoding: .utf8)
        }
        #expect(found == ["flows.yaml:15:12: nothing provides 'orderid'; here there are 'order_id'"])
    }

    @Test func `a missing, an empty and a broken file are faults of their own`() throws {
        #expect(
            try diagnostics { try FileManager.default.removeItem(at: $0.appending(path: "rules.yaml")) } == [
                "rules.yaml:1:1: the file cannot be read; a domain's folder must have it"
            ])
        #expect(
            try diagnostics { try Data().write(to: $0.appending(path: "rules.yaml")) } == [
                "rules.yaml:1:1: the file is empty; a mapping was expected"
            ])
        #expect(
            try diagnostics { try Data([0xFF, 0xFE, 0x00]).write(to: $0.appending(path: "rules.yaml")) } == [
                "rules.yaml:1:1: the file is not valid UTF-8"
            ])
    }

    @Test func `a folder that is not there has every file missing`() throws {
        let error = try #require(throws: DomainError.self) { () throws(DomainError) in try Domain.load(directory: "/nowhere") }
        #expect(error.diagnostics.count == 6)
        #expect(error.diagnostics.first?.file == "/nowhere/domain.yaml")
    }
}
