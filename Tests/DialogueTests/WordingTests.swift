import Conversation
import Mustache
import Testing

@testable import Dialogue

@Suite struct WordingTests {
    @Test(arguments: [
        "好的。", "订单{{order_id}}将退款{{amount}}。", "{{order_id}}", "{{ order_id }}和{{order_id}}", "没有{{nothing}}的", "{{label}}“{{value}}”<&>",
        "{{#amount}}金额{{amount}}，{{/amount}}好", "{{^nothing}}没有{{/nothing}}{{order_id}}", "{{#order_id}}{{.}}{{/order_id}}",
        "{{{order_id}}}", "a}}b{c",
        "第一行\n{{order_id}}\n第三行\n", "",
    ]) func `is filled in as Mustache does it`(_ source: String) throws {
        let slots = [
            "order_id": SlotValue(name: "order_id", value: "2024 1111 0001", normalized: "202411110001"),
            "amount": SlotValue(name: "amount", value: "两百块", normalized: "200元"),
        ]
        let variables = Variables(slots: slots, definitions: [:], extra: [("label", "订单号"), ("value", "<b>&"), ("nothing", "")])
        let mustache = try MustacheTemplate(string: "{{% CONTENT_TYPE:TEXT}}" + source)
        #expect(try Template(source).render(variables) == mustache.render(variables))
    }

    @Test func `words are found as a search of each of them finds them`() {
        let words = ["退", "退款", "不要了", "改", "改一下", "ok", "wifi 6", "了", "不是"].map { Folded.lowered($0) }
        let list = WordList(words)
        for message in ["", "我要退款", "ＯＫ，不要了", "改一下地址", "了了了", "是不是", "WiFi 6 路由器", "今天天气", "款退"] {
            let text = Folded(message)
            let expected = words.filter { word in
                text.lowered.indices.contains { text.lowered[$0...].starts(with: word) }
            }
            #expect(list.all(in: text) == expected, "\(message)")
            #expect(list.first(in: text) == expected.first && list.occurs(in: text) == !expected.isEmpty, "\(message)")
            #expect(list.positions(in: text) == expected.compactMap { text.position(of: $0) }, "\(message)")
        }
    }
}
