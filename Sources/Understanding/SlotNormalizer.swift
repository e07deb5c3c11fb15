internal import Tokenization

/// Slot values in standard form. A pure function of the slot's name and what was written.
///
/// Of every value: full-width forms become half-width, white space, control and format characters are dropped. Then, by slot:
/// - `phone`: digits only, Chinese ones as 0 to 9; a leading `+` and `转` before an extension stay; the country code of a Chinese mobile number is dropped.
/// - `tracking_no`: upper-case letters and digits only. `order_id`: the same, but hyphens stay.
/// - `amount`: numbers in digits, money in 元; words such as 以内 or 多 stay. What is only roughly a number (两三件, 十几块) keeps its numeral.
/// - `time`: numbers before 年, 月, 日, 点 and the like in digits; weekdays, 双十一 and 这两天 stay.
/// - `attribute`: upper case where it is all letters and digits (xl, 256g).
/// - any other: nothing more. The same goes for a value of which nothing would be left.
public enum SlotNormalizer {
    /// The standard form of a value.
    public static func normalize(_ value: String, slot: String) -> String {
        let scalars = plain(value)
        let standard = normalize(scalars, slot: slot)
        return standard.isEmpty ? text(scalars) : standard
    }

    private static func normalize(_ scalars: [Unicode.Scalar], slot: String) -> String {
        switch slot {
        case "phone": return phone(scalars)
        case "tracking_no": return text(uppercase(digits(scalars)).filter { $0.isDigit || $0.isLetter })
        case "order_id": return text(uppercase(digits(scalars)).filter { $0.isDigit || $0.isLetter || $0 == "-" })
        case "amount": return AmountNormalizer.normalize(scalars)
        case "time": return TimeNormalizer.normalize(scalars)
        case "attribute" where scalars.allSatisfy({ $0.isDigit || $0.isLetter }): return text(uppercase(scalars))
        default: return text(scalars)
        }
    }

    /// Half-width, without white space, control and format characters.
    private static func plain(_ value: String) -> [Unicode.Scalar] {
        value.unicodeScalars.map { HalfWidth.scalar($0) }.filter { scalar in
            guard !scalar.properties.isWhitespace else { return false }
            switch scalar.properties.generalCategory {
            case .control, .format: return false
            default: return true
            }
        }
    }

    /// Chinese digits, 幺 among them, as 0 to 9.
    private static func digits(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        scalars.map { scalar in
            guard let digit = scalar == "幺" ? 1 : ChineseNumeral.digit(scalar) else { return scalar }
            return Unicode.Scalar(UInt8(0x30 + digit))
        }
    }

    private static func uppercase(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        scalars.map { (0x61...0x7A).contains($0.value) ? Unicode.Scalar(UInt8($0.value - 0x20)) : $0 }
    }

    private static func phone(_ scalars: [Unicode.Scalar]) -> String {
        let kept = digits(scalars)
        var number = text(kept.filter { $0.isDigit || $0 == "转" })
        if number.hasPrefix("转") { number.removeFirst() }
        for prefix in ["86", "0086"] where number.hasPrefix(prefix) && number.count == prefix.count + 11 {
            let mobile = number.dropFirst(prefix.count)
            if mobile.hasPrefix("1") { return String(mobile) }
        }
        return kept.first == "+" ? "+" + number : number
    }

    static func text(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }
}
