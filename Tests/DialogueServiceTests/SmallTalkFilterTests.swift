import Dialogue
import Foundation
import Testing

@Suite struct SmallTalkFilterTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    private let filter: SmallTalkFilter

    init() throws {
        filter = try Domain.load(directory: Self.root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false)).smallTalk
    }

    @Test(arguments: [
        "您的单号是SF1234567890", "电话13800138000", "给您便宜50元", "只要￥9.9哦", "打８折吧", "一二三四五", "编号 2 0 2 4 1", "20-24-11", "五十元", "１２３４",
        "已经为您退款啦", "我保证明天到", "包 邮 哦", "加微信聊", "HTTP://x", "", "  ", "好\u{1B}[31m", String(repeating: "好", count: 61),
    ])
    func whatLooksLikeTheShopIsNotSaid(_ text: String) {
        #expect(filter.objection(to: text) != nil)
    }

    @Test(arguments: ["您好呀～", "我们一起等雨停", "千万别着急", "十全十美", "3点钟喝茶正好", "万一下雨呢", "给您十个拥抱"])
    func harmlessWordsAreSaid(_ text: String) {
        #expect(filter.objection(to: text) == nil)
    }

    @Test func everyReplyOfTheModelMayBeSaid() throws {
        let pairs = try String(contentsOf: Self.root.appending(path: "Training/chitchat/pairs.tsv"), encoding: .utf8)
        let lines = pairs.split(separator: "\n")
        #expect(lines.count > 200)
        for line in lines {
            let fields = line.split(separator: "\t")
            let reply = try #require(fields.count > 1 ? String(fields[1]) : nil)
            #expect(filter.objection(to: reply) == nil, "\(reply)")
        }
    }
}
