/// Numbers as shoppers write them: `199`, `1,299.5`, `一百九十九`, `两千三`, `1.2万`, `一九九`.
///
/// Values are in ten-thousandths, so that what has up to four decimal places is exact.
struct ChineseNumeral: Equatable {
    /// The number times ``scale``.
    var value: Int
    /// Written in Chinese digits alone, each one place: `一九九`, `两三`.
    var isDigitString = false

    static let scale = 10_000

    /// A number in ten-thousandths.
    init(value: Int) { self.value = value }
    /// Larger numbers are not read as such.
    private static let limit = 1_000_000_000_000_000_000 / 100

    private static let digits: [Unicode.Scalar: Int] = [
        "零": 0, "〇": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "两": 2, "壹": 1, "贰": 2, "叁": 3, "肆": 4,
        "伍": 5, "陆": 6, "柒": 7, "捌": 8, "玖": 9,
    ]
    private static let places: [Unicode.Scalar: Int] = ["十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000]
    private static let groups: [Unicode.Scalar: Int] = ["万": 10_000, "亿": 100_000_000]

    /// The value of one Chinese digit; nil: the scalar is none.
    static func digit(_ scalar: Unicode.Scalar) -> Int? { digits[scalar] }

    /// The numerals that contracts are written in. They are used for nothing but numbers.
    private static let capitals = Set("零壹贰叁肆伍陆柒捌玖拾佰仟".unicodeScalars)

    /// A span that begins or ends within a number in capital numerals, grown to the whole of it: 拾玖元 in 壹佰玖拾玖元 is another amount.
    static func completingCapitals(_ range: Range<Int>, in scalars: [Unicode.Scalar]) -> Range<Int> {
        guard let first = range.first, let last = range.last else { return range }
        var range = range
        if capitals.contains(scalars[first]) {
            while range.lowerBound > 0, capitals.contains(scalars[range.lowerBound - 1]) { range = range.lowerBound - 1..<range.upperBound }
        }
        if capitals.contains(scalars[last]) {
            while range.upperBound < scalars.count, capitals.contains(scalars[range.upperBound]) {
                range = range.lowerBound..<range.upperBound + 1
            }
        }
        return range
    }

    /// Whether a scalar can be part of a number; `.` and `,` can between digits only.
    private static func isPart(_ scalars: [Unicode.Scalar], _ position: Int) -> Bool {
        let scalar = scalars[position]
        if scalar.isDigit || digits[scalar] != nil || places[scalar] != nil || groups[scalar] != nil { return true }
        guard scalar == "." || scalar == ",", position > 0, scalars[position - 1].isDigit else { return false }
        return position + 1 < scalars.count && scalars[position + 1].isDigit
    }

    /// Where the number that begins at `start` ends; `start` where none does.
    static func end(of scalars: [Unicode.Scalar], from start: Int) -> Int {
        var end = start
        while end < scalars.count, isPart(scalars, end) { end += 1 }
        return end
    }

    /// Reads a whole number or decimal; nil where it is not one.
    init?(_ scalars: ArraySlice<Unicode.Scalar>) {
        guard !scalars.isEmpty else { return nil }
        if scalars.allSatisfy({ Self.digits[$0] != nil }) {
            guard scalars.count <= 12 else { return nil }
            value = scalars.reduce(0) { $0 * 10 + (Self.digits[$1] ?? 0) } * Self.scale
            isDigitString = scalars.count > 1
            return
        }
        var total = 0
        var section = 0
        var number: Int?
        /// What the digit after it counts in where nothing follows: the 5 of 二百五 is 50.
        var next = 0
        var place = Int.max
        var group = Int.max
        var position = scalars.startIndex
        while position < scalars.endIndex {
            let scalar = scalars[position]
            if scalar.isDigit {
                guard number == nil, let (read, end) = Self.decimal(scalars, position) else { return nil }
                // 1万2 is 12000, 1万2000 is 12000 too.
                if end - position > 1 { next = 0 }
                number = read
                position = end
                continue
            }
            position += 1
            if let digit = Self.digits[scalar] {
                guard number == nil || number == 0 else { return nil }
                if digit == 0 { next = 0 }
                number = digit * Self.scale
            } else if let unit = Self.places[scalar] {
                // 十五 stands for 一十五; 百 and 千 need their digit.
                if unit == 10, number == nil || number == 0 { number = Self.scale }
                guard unit < place, let count = number, count < Self.limit / unit else { return nil }
                section += count * unit
                number = nil
                place = unit
                next = unit / 10
            } else if let unit = Self.groups[scalar] {
                let sum = section + (number ?? 0)
                guard unit < group, sum > 0, sum < Self.limit / unit else { return nil }
                total += sum * unit
                section = 0
                number = nil
                place = Int.max
                group = unit
                next = unit / 10
            } else {
                return nil
            }
        }
        if let number { section += next > 1 && number < 10 * Self.scale && number % Self.scale == 0 ? number * next : number }
        value = total + section
    }

    /// Digits with thousands separators and a fraction of up to four places, from `start`; nil where they are not such a number.
    private static func decimal(_ scalars: ArraySlice<Unicode.Scalar>, _ start: Int) -> (value: Int, end: Int)? {
        var value = 0
        var count = 0
        var places: Int?
        var sinceSeparator: Int?
        var position = start
        while position < scalars.endIndex {
            let scalar = scalars[position]
            if scalar.isDigit {
                count += 1
                guard count <= 13 else { return nil }
                value = value * 10 + Int(scalar.value - 0x30)
                if let known = places { places = known + 1 }
                if let known = sinceSeparator { sinceSeparator = known + 1 }
            } else if scalar == "," {
                guard places == nil, sinceSeparator == nil ? count <= 3 : sinceSeparator == 3 else { return nil }
                sinceSeparator = 0
            } else if scalar == "." {
                guard places == nil, sinceSeparator == nil || sinceSeparator == 3 else { return nil }
                sinceSeparator = nil
                places = 0
            } else {
                break
            }
            position += 1
        }
        guard sinceSeparator == nil || sinceSeparator == 3, (places ?? 0) <= 4 else { return nil }
        for _ in (places ?? 0)..<4 { value *= 10 }
        return (value, position)
    }

    /// The number in digits, without needless zeros.
    var text: String {
        let fraction = value % Self.scale
        guard fraction != 0 else { return "\(value / Self.scale)" }
        var places = String(Self.scale + fraction).dropFirst()
        while places.last == "0" { places.removeLast() }
        return "\(value / Self.scale).\(places)"
    }
}

extension Unicode.Scalar {
    /// Whether this is one of 0 to 9.
    var isDigit: Bool { (0x30...0x39).contains(value) }
    /// Whether this is a letter of ASCII.
    var isLetter: Bool { (0x41...0x5A).contains(value) || (0x61...0x7A).contains(value) }
}
