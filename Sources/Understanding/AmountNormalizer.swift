/// Numbers of amounts in digits, money in 元.
enum AmountNormalizer {
    private static let yuan = ["块钱", "元钱", "人民币", "块", "元", "圆", "rmb", "RMB"].map { Array($0.unicodeScalars) }
    private static let signs = ["¥", "￥", "人民币", "RMB", "rmb"].map { Array($0.unicodeScalars) }
    private static let rough: Set<Unicode.Scalar> = ["多", "来", "几", "余"]
    /// 几十, 数百
    private static let someOf: Set<Unicode.Scalar> = ["几", "数"]

    /// Two digits side by side, such as 两三 or 三五, mean about so many.
    static func isRough(_ number: ChineseNumeral, _ written: ArraySlice<Unicode.Scalar>) -> Bool {
        let value = number.value / ChineseNumeral.scale
        return number.isDigitString && written.count == 2 && (value % 10 == value / 10 + 1 || value == 35)
    }

    static func normalize(_ written: [Unicode.Scalar]) -> String {
        let scalars = percent(written)
        var out: [Unicode.Scalar] = []
        var position = 0
        var hasSign = false
        while position < scalars.count {
            if let sign = signs.first(where: { scalars[position...].starts(with: $0) }),
                ChineseNumeral.end(of: scalars, from: position + sign.count) > position + sign.count
            {
                hasSign = true
                position += sign.count
            }
            if let count = ["俩": "2", "仨": "3"][scalars[position]] {
                out.append(contentsOf: "\(count)个".unicodeScalars)
                position += 1
                continue
            }
            let end = ChineseNumeral.end(of: scalars, from: position)
            guard end > position else {
                out.append(scalars[position])
                position += 1
                continue
            }
            let amount = Amount(scalars, position..<end, isRough: out.last.map { someOf.contains($0) } ?? false)
            out.append(contentsOf: amount.number)
            if amount.isMoney || hasSign { out.append("元") }
            hasSign = false
            position = amount.end
        }
        return SlotNormalizer.text(out)
    }

    /// 百分之二十 as 20%.
    private static func percent(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        let words = Array("百分之".unicodeScalars)
        guard let start = scalars.indices.first(where: { scalars[$0...].starts(with: words) }) else { return scalars }
        let end = ChineseNumeral.end(of: scalars, from: start + 3)
        guard let number = ChineseNumeral(scalars[(start + 3)..<end]) else { return scalars }
        return scalars[..<start] + Array("\(number.text)%".unicodeScalars) + scalars[end...]
    }

    /// A number and what belongs to it.
    private struct Amount {
        /// The number in standard form, with 多 or 几 where they follow it.
        var number: [Unicode.Scalar]
        /// Whether it is an amount of money.
        var isMoney = false
        /// Where it ends.
        var end: Int

        /// Reads the number at `range`; where it is known to be rough its numeral is kept.
        init(_ scalars: [Unicode.Scalar], _ range: Range<Int>, isRough: Bool) {
            let written = scalars[range]
            end = range.upperBound
            guard !isRough, let read = ChineseNumeral(written), !AmountNormalizer.isRough(read, written),
                !scalars[end...].starts(with: ["几"])
            else {
                number = Array(written)
                takeRough(scalars)
                isMoney = takeYuan(scalars)
                return
            }
            var value = read.value
            // 三点五
            if scalars[end...].starts(with: ["点"]) {
                let fractionEnd = ChineseNumeral.end(of: scalars, from: end + 1)
                let digits = scalars[(end + 1)..<fractionEnd].compactMap { ChineseNumeral.digit($0) }
                if !digits.isEmpty, digits.count == fractionEnd - end - 1, digits.count <= 4 {
                    var place = ChineseNumeral.scale
                    for digit in digits {
                        place /= 10
                        value += digit * place
                    }
                    end = fractionEnd
                }
            }
            number = []
            let isRough = takeRough(scalars)
            isMoney = takeYuan(scalars)
            if isMoney, !isRough {
                value += takeSmallMoney(scalars, following: true)
            } else if !isMoney, !isRough, let tenth = Self.jiao(scalars, end) {
                value /= 10
                end = tenth
                isMoney = true
                value += takeSmallMoney(scalars, following: false)
            } else if !isMoney, !isRough, end + 1 < scalars.count, scalars[end + 1] == "半", !scalars[end].isDigit {
                // 一斤半
                value += ChineseNumeral.scale / 2
                number = Array(Self.text(value)) + [scalars[end]]
                end += 2
                return
            }
            number = Array(Self.text(value)) + number
        }

        private static func text(_ value: Int) -> String.UnicodeScalarView { ChineseNumeral(value: value).text.unicodeScalars }

        /// Takes 多, 来, 几 or 余 where they follow.
        @discardableResult
        private mutating func takeRough(_ scalars: [Unicode.Scalar]) -> Bool {
            guard end < scalars.count, AmountNormalizer.rough.contains(scalars[end]) else { return false }
            number.append(scalars[end])
            end += 1
            return true
        }

        private mutating func takeYuan(_ scalars: [Unicode.Scalar]) -> Bool {
            guard let unit = AmountNormalizer.yuan.first(where: { scalars[end...].starts(with: $0) }) else { return false }
            end += unit.count
            return true
        }

        /// Where 毛 or 角 at a position ends.
        private static func jiao(_ scalars: [Unicode.Scalar], _ position: Int) -> Int? {
            guard position < scalars.count, scalars[position] == "毛" || scalars[position] == "角" else { return nil }
            return position + 1
        }

        /// What follows 块 (九, 九毛, 九毛五) or 毛 (五, 五分), in ten-thousandths of 元.
        private mutating func takeSmallMoney(_ scalars: [Unicode.Scalar], following yuan: Bool) -> Int {
            var sum = 0
            var place = yuan ? ChineseNumeral.scale / 10 : ChineseNumeral.scale / 100
            while place >= ChineseNumeral.scale / 100, end < scalars.count {
                let digitEnd = ChineseNumeral.end(of: scalars, from: end)
                guard digitEnd == end + 1, let digit = ChineseNumeral(scalars[end..<digitEnd]), digit.value < 10 * ChineseNumeral.scale
                else { break }
                let isTenth = place == ChineseNumeral.scale / 10
                let unitEnd =
                    isTenth ? Self.jiao(scalars, digitEnd) : digitEnd < scalars.count && scalars[digitEnd] == "分" ? digitEnd + 1 : nil
                // Without a unit it must be the last: 两块两件 is something else.
                guard unitEnd != nil || digitEnd == scalars.count || scalars[digitEnd] == "钱" else { break }
                sum += digit.value / ChineseNumeral.scale * place
                end = unitEnd ?? digitEnd
                place /= 10
            }
            if end < scalars.count, scalars[end] == "钱" { end += 1 }
            return sum
        }
    }
}
