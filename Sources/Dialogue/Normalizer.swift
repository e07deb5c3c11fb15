/// Brings a value into standard form.
enum Normalizer: String, Sendable, CaseIterable {
    /// Half-width, upper case, without spaces and hyphens; Chinese digits as 0 to 9.
    case code
    /// As `code`, without the country code of a mobile number.
    case phone
    /// The number in digits; money in 元.
    case amount
    /// A date, a point in time or a span of time in ISO 8601, seen from the time of the turn; what is none of these stays as it is.
    case time
    /// Upper case where it is all letters and digits: XL, 256G.
    case attribute
    /// Half-width, without spaces at its ends.
    case text

    func normalize(_ value: some Collection<Unicode.Scalar>, clock: LocalClock) -> [Unicode.Scalar] {
        switch self {
        case .code: return Folded.code(value)
        case .phone:
            let digits = Folded.code(value).filter { $0 != "+" && $0 != "(" && $0 != ")" }
            for prefix in [2, 4] where digits.count == prefix + 11 && digits[prefix] == "1" {
                if digits[..<prefix].elementsEqual(prefix == 2 ? ["8", "6"] : ["0", "0", "8", "6"]) { return Array(digits[prefix...]) }
            }
            return digits
        case .amount: return SpokenAmount.normalize(Folded.plain(value))
        case .time:
            let plain = Folded.plain(value)
            return clock.resolve(plain).map { Array($0.text.unicodeScalars) } ?? plain
        case .attribute:
            let plain = Folded.plain(value)
            return plain.allSatisfy(Folded.isLetterOrDigit) ? plain.map(Folded.upper) : plain
        case .text: return Folded.plain(value)
        }
    }
}

/// Numbers as they are written in words: 一百九十九, 壹佰玖拾玖, 两千三, 一九九, 199.
enum SpokenNumber {
    private static let limit = 1_000_000_000_000

    /// The value of a Chinese digit.
    static func digit(_ scalar: Unicode.Scalar) -> Int? {
        switch scalar {
        case "零", "〇": 0
        case "一", "壹", "幺": 1
        case "二", "两", "贰": 2
        case "三", "叁": 3
        case "四", "肆": 4
        case "五", "伍": 5
        case "六", "陆": 6
        case "七", "柒": 7
        case "八", "捌": 8
        case "九", "玖": 9
        default: nil
        }
    }

    private static func unit(_ scalar: Unicode.Scalar) -> Int? {
        switch scalar {
        case "十", "拾": 10
        case "百", "佰": 100
        case "千", "仟": 1000
        case "万", "萬": 10_000
        default: nil
        }
    }

    static func isPart(_ scalar: Unicode.Scalar) -> Bool {
        (0x30...0x39).contains(scalar.value) || digit(scalar) != nil || unit(scalar) != nil
    }

    /// The number that begins at `start`, and where it ends; nil where none does, or it is no number.
    static func read(_ text: [Unicode.Scalar], from start: Int) -> (value: Int, end: Int)? {
        var end = start
        while end < text.count, isPart(text[end]) { end += 1 }
        guard end > start else { return nil }
        let number = text[start..<end]
        if !number.contains(where: { unit($0) != nil }) {
            guard number.count <= 12 else { return nil }
            return (number.reduce(0) { $0 * 10 + (digit($1) ?? Int($1.value) - 0x30) }, end)
        }
        var total = 0
        var section = 0
        var current: Int?
        var last = 1
        for scalar in number {
            if let unit = unit(scalar) {
                guard total + section + (current ?? 1) < limit / unit else { return nil }
                if unit == 10_000 {
                    total = (total + section + (current ?? 0)) * unit
                    section = 0
                } else {
                    section += (current ?? 1) * unit
                }
                last = unit
                current = nil
            } else {
                let value = digit(scalar) ?? Int(scalar.value) - 0x30
                if value == 0, current == nil { last = 1 }
                current = (current ?? 0) * 10 + value
                guard current ?? 0 < limit else { return nil }
            }
        }
        // 两千三 is 2300, 一百零三 is 103.
        let rest = current ?? 0
        return (total + section + (last >= 100 && rest < 10 ? rest * (last / 10) : rest), end)
    }
}

/// Sums of money and counts in digits: 一百九十九块五 as 199.5元, 壹佰玖拾玖元整 as 199元, 两件 as 2件.
enum SpokenAmount {
    private static let yuan = ["块钱", "元钱", "人民币", "元整", "圆整", "块", "元", "圆", "rmb"].map { Array($0.unicodeScalars) }

    static func normalize(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var out: [Unicode.Scalar] = []
        var position = 0
        var isMoney = false
        while position < text.count {
            if text[position] == "¥" || text[position] == "￥" {
                isMoney = true
                position += 1
                continue
            }
            guard SpokenNumber.isPart(text[position]), let (value, end) = SpokenNumber.read(text, from: position) else {
                out.append(text[position])
                position += 1
                continue
            }
            let written = text[position..<end]
            // 两三件 is not 23.
            let isRough = written.count == 2 && written.allSatisfy { SpokenNumber.digit($0) != nil }
            var number = isRough ? Array(written) : Array(String(value).unicodeScalars)
            position = end
            if position + 1 < text.count, text[position] == ".", let (_, end) = SpokenNumber.read(text, from: position + 1) {
                number += text[position..<end]
                position = end
            }
            if let unit = yuan.first(where: { text[position...].lazy.map(Folded.lower).starts(with: $0) }) {
                position += unit.count
                isMoney = true
                if let (cents, end) = fraction(text, from: position), !number.contains(".") {
                    number += Array((cents % 10 == 0 ? ".\(cents / 10)" : cents < 10 ? ".0\(cents)" : ".\(cents)").unicodeScalars)
                    position = end
                }
            }
            out += number
            if isMoney { out.append("元") }
            isMoney = false
        }
        return out
    }

    /// What follows 块 or 元 in hundredths: 五, 五毛, 五角二分.
    private static func fraction(_ text: [Unicode.Scalar], from start: Int) -> (cents: Int, end: Int)? {
        var position = start
        var cents = 0
        if position < text.count, let (tenths, end) = SpokenNumber.read(text, from: position), tenths < 10, tenths > 0 {
            if end == text.count { return (tenths * 10, end) }
            if text[end] == "分" { return (tenths, end + 1) }
            guard text[end] == "毛" || text[end] == "角" else { return nil }
            cents = tenths * 10
            position = end + 1
            if position < text.count, let (hundredths, end) = SpokenNumber.read(text, from: position), hundredths < 10 {
                cents += hundredths
                position = end
                if position < text.count, text[position] == "分" { position += 1 }
            }
        }
        return cents > 0 ? (cents, position) : nil
    }
}
