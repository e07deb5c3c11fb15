/// What a model of small talk may say to a customer. It must not sound like the shop: no facts about orders, and no promises.
public struct SmallTalkFilter: Sendable {
    /// The most Unicode scalars it may say.
    let longest: Int
    /// What must not occur, in lower case and half-width.
    let banned: [[Unicode.Scalar]]

    /// The bounds of a domain that sets none.
    static let standard = SmallTalkFilter(longest: 80, banned: [])
    /// More digits in a row, or a number beside a currency, look like an order, a telephone number or an amount.
    static let digits = 3

    /// Why a text must not be said; nil: it may.
    public func objection(to text: String) -> String? {
        let count = text.unicodeScalars.count
        if text.unicodeScalars.allSatisfy(\.properties.isWhitespace) { return "it is empty" }
        if count > longest { return "it has \(count) characters; at most \(longest) are allowed" }
        if text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control && $0 != "\n" }) {
            return "it has control characters in it"
        }
        // Spaces and punctuation hide neither a word nor a number.
        let said = Folded(Folded.string(Folded(text).compact))
        for word in banned where said.contains(word) { return "it says 「\(Folded.string(word))」" }
        if Self.hasNumber(Folded.lowered(text)) { return "it has a number in it that looks like an order or an amount" }
        return nil
    }

    private static func hasNumber(_ scalars: [Unicode.Scalar]) -> Bool {
        let scalars = scalars.filter { !separators.contains($0) }
        var run = 0
        for (index, scalar) in scalars.enumerated() {
            guard isNumeral(scalar) else {
                if run > 0, currencies.contains(scalar) { return true }
                run = 0
                continue
            }
            run += 1
            if run > digits || run == 1 && index > 0 && currencies.contains(scalars[index - 1]) { return true }
        }
        return false
    }

    private static func isNumeral(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.generalCategory == .decimalNumber || numerals.contains(scalar)
    }

    private static let separators: Set<Unicode.Scalar> = [" ", "-", ".", ",", "·", "_"]
    private static let currencies: Set<Unicode.Scalar> = ["元", "¥", "￥", "$", "€", "£", "%", "折"]
    private static let numerals: Set<Unicode.Scalar> = [
        "零", "〇", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "百", "千", "万", "亿", "两", "幺", "壹", "贰", "叁", "肆", "伍", "陆", "柒", "捌",
        "玖",
        "拾", "佰", "仟",
    ]
}

extension DomainLoader {
    /// `small_talk: {longest: 60, banned: [...]}`.
    func loadSmallTalk(_ element: Element) -> SmallTalkFilter? {
        let fields = element.fields(required: ["longest", "banned"])
        guard let longest = fields["longest"]?.integer(in: 1...500) else { return nil }
        return SmallTalkFilter(longest: longest, banned: Self.words(fields["banned"]))
    }
}
