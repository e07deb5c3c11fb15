/// A message as words are looked up in it: half-width, scalar by scalar, so that offsets point into the message as it was sent.
struct Folded {
    /// The message's own scalars.
    let original: [Unicode.Scalar]
    /// Half-width.
    let scalars: [Unicode.Scalar]
    /// Half-width and lower case.
    let lowered: [Unicode.Scalar]
    /// ``lowered`` without spaces, punctuation and emoji.
    let compact: [Unicode.Scalar]
    /// A bit for every scalar of ``lowered``.
    private let present: UInt64

    init(_ text: String) {
        original = Array(text.unicodeScalars)
        scalars = original.map(Self.halfWidth)
        lowered = scalars.map(Self.lower)
        compact = lowered.filter(Self.isWord)
        present = Self.bits(of: lowered)
    }

    /// One of 64 bits for each scalar of a word; scalars may share one. (Knuth's multiplicative hash.)
    static func bits(of word: [Unicode.Scalar]) -> UInt64 { word.reduce(0) { $0 | 1 << UInt64(($1.value &* 2_654_435_769) >> 26) } }

    /// False: the message has no word of these ``bits(of:)``.
    func mayHold(_ bits: UInt64) -> Bool { present & bits == bits }

    /// `text` as words are compared: half-width, lower case.
    static func lowered(_ text: String) -> [Unicode.Scalar] { text.unicodeScalars.map { lower(halfWidth($0)) } }

    /// A code in standard form: half-width, upper case, without spaces and hyphens; Chinese digits as 0 to 9.
    static func code(_ scalars: some Collection<Unicode.Scalar>) -> [Unicode.Scalar] {
        var code: [Unicode.Scalar] = []
        code.reserveCapacity(scalars.count)
        for scalar in scalars {
            let half = upper(halfWidth(scalar))
            if half == " " || half == "-" || half == "\t" { continue }
            code.append(spokenDigit(half).map { Unicode.Scalar(UInt8(0x30 + $0)) } ?? half)
        }
        return code
    }

    /// Half-width, without spaces.
    static func plain(_ scalars: some Collection<Unicode.Scalar>) -> [Unicode.Scalar] {
        scalars.map(halfWidth).filter { $0 != " " && $0 != "\t" && $0 != "\n" && $0 != "\r" }
    }

    /// A digit as it is read out: 零 to 九, and 幺 for 1. (两 and 壹 are none: they are not said in numbers of orders and phones.)
    private static func spokenDigit(_ scalar: Unicode.Scalar) -> Int? {
        switch scalar {
        case "两", "壹", "贰", "叁", "肆", "伍", "陆", "柒", "捌", "玖": nil
        default: scalar.value < 0x3007 ? nil : SpokenNumber.digit(scalar)
        }
    }

    /// Whether `word` stands anywhere in the message.
    func contains(_ word: [Unicode.Scalar]) -> Bool { position(of: word) != nil }

    /// Where `word` first stands at or after `start`.
    func position(of word: [Unicode.Scalar], from start: Int = 0) -> Int? {
        guard let first = word.first, lowered.count >= word.count else { return nil }
        var index = start
        while index + word.count <= lowered.count {
            if lowered[index] == first, word.indices.allSatisfy({ lowered[index + $0] == word[$0] }) { return index }
            index += 1
        }
        return nil
    }

    /// Whether `word` stands at `start`.
    func stands(_ word: [Unicode.Scalar], at start: Int) -> Bool {
        !word.isEmpty && start >= 0 && start + word.count <= lowered.count && word.indices.allSatisfy { lowered[start + $0] == word[$0] }
    }

    /// The parts between punctuation and spaces, without symbols, in lower case; none is empty.
    var clauses: [ArraySlice<Unicode.Scalar>] { lowered.split { !Self.isWord($0) } }

    /// `range` without the spaces and punctuation at its ends.
    func trimmed(_ range: Range<Int>) -> Range<Int> {
        var (lower, upper) = (range.lowerBound, range.upperBound)
        while lower < upper, !Self.isWord(scalars[lower]) { lower += 1 }
        while lower < upper, !Self.isWord(scalars[upper - 1]), scalars[upper - 1] != ")" { upper -= 1 }
        return lower..<upper
    }

    /// The part of the message in `range`, as it was written.
    func written(_ range: Range<Int>) -> String { Self.string(original[range]) }

    static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars)
        return String(text)
    }

    /// The runs of ASCII letters and digits, hyphens inside them included, that hold a digit, and the runs of seven and more digits that are
    /// read out. Short groups of digits with spaces between them are one run: 138 0013 8000.
    func tokens() -> [Range<Int>] {
        var tokens: [Range<Int>] = []
        var index = 0
        while index < scalars.count {
            if let end = spokenRun(from: index) {
                tokens.append(index..<end)
                index = end
                continue
            }
            guard Self.isLetterOrDigit(scalars[index]) else {
                index += 1
                continue
            }
            let start = index
            var hasDigit = false
            while index < scalars.count {
                if Self.isDigit(scalars[index]) { hasDigit = true }
                let goesOn = index + 1 < scalars.count && Self.isLetterOrDigit(scalars[index + 1])
                guard Self.isLetterOrDigit(scalars[index]) || scalars[index] == "-" && goesOn else { break }
                index += 1
            }
            if hasDigit { tokens.append(start..<index) }
        }
        return tokens.count > 1 ? joined(tokens) : tokens
    }

    /// Where a run of at least seven digits, Chinese ones among them, ends; nil where none begins.
    private func spokenRun(from start: Int) -> Int? {
        guard Self.spokenDigit(scalars[start]) != nil else { return nil }
        var end = start
        while end < scalars.count, Self.isDigit(scalars[end]) || Self.spokenDigit(scalars[end]) != nil { end += 1 }
        return end - start >= 7 ? end : nil
    }

    private func joined(_ tokens: [Range<Int>]) -> [Range<Int>] {
        func isGroup(_ range: Range<Int>) -> Bool { range.count < 8 && scalars[range].allSatisfy(Self.isDigit) }
        var result: [Range<Int>] = []
        var last: Range<Int>?
        for token in tokens {
            if let previous = last, let run = result.last, isGroup(previous), isGroup(token),
                scalars[previous.upperBound..<token.lowerBound].allSatisfy({ $0 == " " }), token.upperBound - run.lowerBound <= 30
            {
                result[result.count - 1] = run.lowerBound..<token.upperBound
            } else {
                result.append(token)
            }
            last = token
        }
        return result
    }

    static func halfWidth(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        switch scalar.value {
        case 0xFF01...0xFF5E: Unicode.Scalar(scalar.value - 0xFEE0) ?? scalar
        case 0x3000: " "
        default: scalar
        }
    }

    static func lower(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        (0x41...0x5A).contains(scalar.value) ? Unicode.Scalar(scalar.value + 0x20) ?? scalar : scalar
    }

    static func isDigit(_ scalar: Unicode.Scalar) -> Bool { (0x30...0x39).contains(scalar.value) }

    static func upper(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        (0x61...0x7A).contains(scalar.value) ? Unicode.Scalar(scalar.value - 0x20) ?? scalar : scalar
    }

    static func isLetterOrDigit(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: false
        }
    }

    /// No space, punctuation, symbol or emoji.
    static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x80: isLetterOrDigit(scalar)
        case 0x80...0xBF, 0x2000...0x2BFF, 0x3000...0x303F, 0xFE00...0xFE6F, 0xFF00...0xFFEF, 0x1F000...0x1FAFF, 0xE0000...0xE0FFF: false
        default: true
        }
    }
}
