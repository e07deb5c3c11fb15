import Foundation
import Testing

@testable import Dialogue

/// What is wrong with a domain is said with file, line, column and what was expected.
@Suite struct DomainLoadTests {
    private func replace(_ old: String, by new: String, in url: URL) throws {
        let text = try String(contentsOf: url, encoding: .utf8)
        let range = try #require(text.range(of: old), "'\(old)' is not in \(url.lastPathComponent)")
        try text.replacingCharacters(in: range, with: new).write(to: url, atomically: true, encoding: .utf8)
    }

    /// A finding in which `⟦text⟧` stands for the line on which `text` first is, and `⟦text⟧+1` for the next.
    private func placed(_ finding: String, in folder: URL) throws -> String {
        guard let open = finding.range(of: "⟦"), let close = finding.range(of: "⟧") else { return finding }
        let file = finding.prefix { $0 != ":" }
        let text = try String(contentsOf: folder.appending(path: String(file)), encoding: .utf8)
        let anchor = String(finding[open.upperBound..<close.lowerBound])
        let place = try #require(text.range(of: anchor), "'\(anchor)' is not in \(file)")
        let isNext = finding[close.upperBound...].hasPrefix("+1")
        let line = text[..<place.lowerBound].count { $0 == "\n" } + 1 + (isNext ? 1 : 0)
        return finding[..<open.lowerBound] + "\(line)" + finding[close.upperBound...].dropFirst(isNext ? 2 : 0)
    }

    /// What is wrong with a copy of the shipped domain in which something was changed.
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
        ("domain.yaml", "language: zh-CN", "langage: zh-CN", "domain.yaml:⟦name: ecommerce⟧:1: the file has no 'language'"),
        (
            "domain.yaml", "time_to_live: 1h ", "time_to_live: soon ",
            "domain.yaml:⟦time_to_live⟧:17: 'session.time_to_live' must be a time such as 90s, 30m, 24h or 7d, and is 'soon'"
        ),
        (
            "domain.yaml", "understood: 0.5 ", "understood: 50% ",
            "domain.yaml:⟦understood:⟧:15: 'thresholds.understood' must be a number from 0 to 1, and is '50%'"
        ),
        (
            "domain.yaml", "interruption: 0.8", "interruption: 0.1",
            "domain.yaml:⟦interruption:⟧:17: 'thresholds.interruption' must not be below 'thresholds.understood'"
        ),
        (
            "domain.yaml", "misunderstood: 3", "misunderstood: 99",
            "domain.yaml:⟦misunderstood:⟧:18: 'hand_off.misunderstood' must be a whole number from 1 to 10, and is '99'"
        ),
        ("intents.yaml", "  thanks:\n", "  thanx:\n", "replies.yaml:⟦  thanks:⟧:3: unknown intent 'thanks'; did you mean 'thanx'?"),
        (
            "intents.yaml", "  deny:\n", "  denial:\n",
            "intents.yaml:⟦  order_status:⟧:3: 'intents' has no 'deny'; every domain has 'inform', 'affirm', 'deny'"
        ),
        (
            "slots.yaml", "    type: code", "    type: number",
            "slots.yaml:⟦type: number⟧:11: unknown type 'number'; one of 'amount', 'code', 'phone', 'text', 'time' was expected"
        ),
        (
            "slots.yaml", "pattern: '[A-Za-z0-9]{8,24}'", "pattern: '[A-Za-z0-9{8,24}'",
            "slots.yaml:⟦[A-Za-z0-9{8⟧:14: 'slots.order_id.pattern' is not a pattern: '[' is not closed by ']'"
        ),
        (
            "slots.yaml", "  product:\n", "  confirm:\n",
            "slots.yaml:⟦  confirm:⟧:3: no slot may be named 'confirm': the bot has a meaning of its own for it"
        ),
        (
            "flows.yaml", "required: [order_id, address]", "required: [order_id, adress]",
            "flows.yaml:⟦adress⟧:26: unknown slot 'adress'; did you mean 'address'?"
        ),
        (
            "flows.yaml", "required: [order_id, time]", "required: [order_id, product]",
            "flows.yaml:⟦order_id, product⟧:26: nobody asks for 'product': 'slots.product.ask' or 'flows.delivery_reschedule.prompts.product' was expected"
        ),
        (
            "flows.yaml", "optional: [recipient, phone]", "optional: [recipient, address]",
            "flows.yaml:⟦recipient, address⟧:27: 'address' is in 'flows.address_change' twice"
        ),
        (
            "flows.yaml", "  refund_request:\n", "  refund_reqest:\n",
            "flows.yaml:⟦refund_reqest⟧:3: unknown intent 'refund_reqest'; did you mean 'refund_request'?"
        ),
        (
            "flows.yaml", "    title: 查询订单状态\n", "    titel: 查询订单状态\n",
            "flows.yaml:⟦titel⟧:5: unknown key 'titel'; did you mean 'title'?"
        ),
        (
            "flows.yaml", "    required: [order_id]\n    cancel_words: [不查了", "    required: order_id: x\n    cancel_words: [不查了",
            "flows.yaml:⟦order_id: x⟧:23: this is not YAML: mapping values are not allowed in this context"
        ),
        (
            "flows.yaml", "订单 {{order_id}} 的状态查询", "订单 {{orderid}} 的状态查询",
            "flows.yaml:⟦orderid⟧:12: nothing provides 'orderid'; here there are 'order_id'"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "，联系电话 {{phone}}",
            "flows.yaml:⟦，联系电话 {{phone}}。⟧:102: 'phone' may be empty here; {{#phone}}…{{/phone}} around it was expected"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "",
            "flows.yaml:⟦收件人{{recipient}}{{/recipient}}。确认无误⟧:9: this wording must name {{phone}}: the customer confirms what it says"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "{{#phone}}，联系电话 {{phone}}",
            "flows.yaml:⟦联系电话 {{phone}}。确认⟧:9: the section {{#phone}} is not closed by {{/phone}}"
        ),
        (
            "flows.yaml", "{{#phone}}，联系电话 {{phone}}{{/phone}}", "{{>phone}}{{#phone}}{{.}}{{/phone}}",
            "flows.yaml:⟦{{>phone}}⟧:96: '{{>phone}}' is not used in replies; {{name}}, {{#name}}…{{/name}} and {{^name}}…{{/name}} are"
        ),
        (
            "rules.yaml", "    then: hand_off", "    then: handoff",
            "rules.yaml:⟦then: handoff⟧:11: unknown effect 'handoff'; did you mean 'hand_off'?"
        ),
        (
            "rules.yaml", "times: 2}", "times: 1}",
            "rules.yaml:⟦name: complaint\n⟧:5: this rule is never reached: 'complaint_repeated' comes first and holds whenever it does"
        ),
        (
            "rules.yaml", "intent: goodbye", "intent: good_bye",
            "rules.yaml:⟦good_bye⟧:20: unknown intent 'good_bye'; did you mean 'goodbye'?"
        ),
        (
            "rules.yaml", "    then: not_understood\n", "    then: not_understood\n    reply: [嗯]\n",
            "rules.yaml:⟦reply: [嗯]⟧:12: this is never said: 'messages.not_understood' and what follows it are"
        ),
        ("rules.yaml", "    then: not_understood\n", "    then: answer\n", "rules.yaml:⟦name: sounds⟧:5: 'rules' has no 'reply'"),
        (
            "slots.yaml", "    sensitive: true", "    several: true",
            "slots.yaml:⟦several: true⟧:14: 'slots.phone.several' is for slots of type 'text'"
        ),
        (
            "replies.yaml", "  coupon_query:\n", "  coupon_qery:\n",
            "replies.yaml:⟦coupon_qery⟧:3: unknown intent 'coupon_qery'; did you mean 'coupon_query'?"
        ),
        (
            "replies.yaml", "  offer_declined:\n", "  offer_refused:\n",
            "replies.yaml:⟦  # Before the next question or⟧+1:3: 'messages' has no 'offer_declined'"
        ),
        (
            "replies.yaml", "  gave_way:\n", "  received:\n",
            "replies.yaml:⟦  # Before the next question or⟧+1:3: 'received' appears more than once in this mapping; a key may appear once"
        ),
        (
            "domain.yaml", "time_zone: Asia/Shanghai", "time_zone: China",
            "domain.yaml:⟦time_zone⟧:12: 'time_zone' must be a time zone such as +08:00 or Asia/Shanghai, and is 'China'"
        ),
        (
            "domain.yaml", "alternative: 0.15", "alternative: 0.9",
            "domain.yaml:⟦alternative:⟧:16: 'thresholds.alternative' must not be above 'thresholds.understood'"
        ),
        (
            "domain.yaml", "failed_action: true", "failed_action: yes",
            "domain.yaml:⟦failed_action⟧:18: 'hand_off.failed_action' must be true or false, and is 'yes'"
        ),
        (
            "slots.yaml", "    normalizer: attribute", "    normalizer: atribute",
            "slots.yaml:⟦atribute⟧:17: unknown normalizer 'atribute'; did you mean 'attribute'?"
        ),
        (
            "slots.yaml", "    past:\n", "    passed:\n",
            "flows.yaml:⟦future: [time]⟧:14: 'slots.time' has no 'past': what is said of a time that is over"
        ),
        (
            "flows.yaml", "future: [time]", "future: [order_id]",
            "flows.yaml:⟦future: [order_id]⟧:14: 'order_id' must be of type 'time' to be in 'flows.delivery_reschedule.future'"
        ),
        (
            "flows.yaml", "    action:\n      call: order.get", "    next: order_statos\n    action:\n      call: order.get",
            "flows.yaml:⟦order_statos⟧:11: unknown flow 'order_statos'; did you mean 'order_status'?"
        ),
        (
            "flows.yaml", "    action:\n      call: order.get", "    next: order_status\n    action:\n      call: order.get",
            "flows.yaml:⟦next: order_status⟧:11: 'order_status' leads to itself: order_status → order_status; a flow must come to an end"
        ),
        (
            "flows.yaml", "          ask: order_id", "          ask: phone",
            "flows.yaml:⟦ask: phone⟧:16: 'phone' is not one of the slots of 'flows.order_status'"
        ),
        (
            "flows.yaml", "          gives: [status]\n", "",
            "flows.yaml:⟦{{#status}}⟧:38: nothing provides 'status'; here there are 'order_id'"
        ),
        (
            "flows.yaml", "        not_found:\n", "        unavailable:\n",
            "flows.yaml:⟦        unavailable:⟧:9: 'unavailable' is what a backend never says: 'hand_off.failed_action' and 'messages.action_failed' decide what follows"
        ),
        (
            "flows.yaml", "    required: [order_id]\n", "    required: [order_id]\n    affirm_words: [好]\n",
            "flows.yaml:⟦affirm_words: [好]⟧:19: 'flows.order_status.affirm_words' is never reached: the flow has no 'confirm'"
        ),
        (
            "flows.yaml", "    required: [order_id]\n",
            "    required: [order_id]\n    conditions: [{when: {filled: [phone]}, require: [phone]}]\n",
            "flows.yaml:⟦conditions: [{⟧:18: this is never reached: it asks for 'phone' only where 'phone' is filled"
        ),
        (
            "flows.yaml", "    required: [order_id]\n",
            "    required: [order_id]\n    conditions: [{when: {intent: thanks}, require: [phone]}]\n",
            "flows.yaml:⟦conditions: [{⟧:26: unknown key 'intent'; one of 'filled', 'empty', 'matches', 'hours' was expected"
        ),
        (
            "rules.yaml", "hours: '22:00-08:00'", "hours: '22:00-8'",
            "rules.yaml:⟦22:00-8⟧:40: 'rules.when.hours' must be a part of the day such as 09:00-18:00 or 22:00-08:00, and is '22:00-8'"
        ),
        (
            "rules.yaml", "when: {intent: goodbye}", "when: {}",
            "rules.yaml:⟦when: {}⟧:11: 'rules.when' names nothing; at least one condition was expected"
        ),
        (
            "rules.yaml", "when: {intent: goodbye}", "when: {intent: goodbye, filled: [phone], empty: [phone]}",
            "rules.yaml:⟦empty: [phone]⟧:53: this is never so: 'phone' cannot be filled and empty"
        ),
        (
            "rules.yaml", "when: {intent: goodbye}", "when: {intent: goodbye, confidence_from: 0.8, confidence_below: 0.6}",
            "rules.yaml:⟦confidence_from: 0.8⟧:69: this is never so: a confidence from 0.8 is not below 0.6"
        ),
        (
            "replies.yaml", "  thanks:\n", "  goodbye: [再见]\n  thanks:\n",
            "replies.yaml:⟦  goodbye:⟧:3: this answer is never said: the rule 'goodbye' handles the intent"
        ),
        (
            "replies.yaml", "  thanks:\n", "  refund_request: [好的]\n  thanks:\n",
            "replies.yaml:⟦  refund_request:⟧:3: this answer is never said: the flow 'refund_request' handles the intent"
        ),
        ("replies.yaml", "labels}}记下了", "label}}记下了", "replies.yaml:⟦{label}}记下了⟧:10: nothing provides 'label'; here there are 'labels'"),
        (
            "replies.yaml", "  thanks:\n    - 不客气，能帮到您我很开心～\n    - 应该的，有需要随时找我。\n    - 您太客气了，祝您购物愉快！\n", "  thanks: {}\n",
            "replies.yaml:⟦  thanks: {}⟧:11: 'answers.thanks' must be a list, and is a mapping"
        ),
        (
            "replies.yaml", "  thanks:\n    - 不客气，能帮到您我很开心～\n    - 应该的，有需要随时找我。\n    - 您太客气了，祝您购物愉快！\n", "",
            "intents.yaml:⟦  thanks:⟧:3: nothing handles the intent 'thanks'; a flow, a rule or an answer of this name was expected"
        ),
    ]

    @Test(arguments: faults.indices) func `a fault is found at its place`(_ index: Int) throws {
        let fault = Self.faults[index]
        var expected = ""
        let found = try diagnostics { folder in
            try replace(fault.old, by: fault.new, in: folder.appending(path: fault.file))
            expected = try placed(fault.finding, in: folder)
        }
        #expect(found.contains(expected), "'\(expected)' was expected, and found was\n\(found.joined(separator: "\n"))")
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
        for file in ["domain.yaml:", "flows.yaml:", "rules.yaml:", "replies.yaml:"] {
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
        #expect(
            found == [
                try placed(
                    "flows.yaml:⟦订单 {{order_id}} 的状态查询⟧:12: nothing provides 'orderid'; here there are 'order_id'",
                    in: URL(filePath: shippedDomain))
            ])
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
