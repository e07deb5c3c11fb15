/// What BERT's normalisation needs to know of a Unicode scalar, in one look-up.
struct CharacterTable: Sendable {
    /// Properties of one scalar.
    struct Properties: OptionSet, Hashable, Sendable {
        let rawValue: UInt8

        /// Dropped by cleaning.
        static let removed = Properties(rawValue: 1)
        /// Separates words.
        static let whitespace = Properties(rawValue: 2)
        /// A word by itself.
        static let punctuation = Properties(rawValue: 4)
        /// A word by itself where Chinese characters are split.
        static let ideograph = Properties(rawValue: 8)
        /// Dropped by stripping accents.
        static let nonspacingMark = Properties(rawValue: 16)
        /// Has a canonical decomposition.
        static let decomposes = Properties(rawValue: 32)
        /// Has another lower case.
        static let hasLowercase = Properties(rawValue: 64)
        /// Its canonical combining class is not 0.
        static let nonstarter = Properties(rawValue: 128)
    }

    /// Made once, at first use.
    static let shared = CharacterTable()

    /// For each block of 256 scalars, where its properties begin in `properties`.
    private var blocks: [UInt16]
    private var properties: [Properties]
    private var lowercase: [UInt32: [UInt32]] = [:]
    private var decompositions: [UInt32: [UInt32]] = [:]

    private init() {
        var flat = [Properties](repeating: [], count: 0x110000)
        func mark(_ text: StaticString, _ property: Properties) {
            for entry in Self.entries(of: text) {
                for scalar in entry.first...entry.last { flat[Int(scalar)].insert(property) }
            }
        }
        mark(CharacterData.removed, .removed)
        mark(CharacterData.whitespace, .whitespace)
        mark(CharacterData.punctuation, .punctuation)
        mark(CharacterData.ideographs, .ideograph)
        mark(CharacterData.nonspacingMarks, .nonspacingMark)
        mark(CharacterData.nonstarters, .nonstarter)
        for entry in Self.entries(of: CharacterData.decompositions) {
            flat[Int(entry.first)].insert(.decomposes)
            decompositions[entry.first] = entry.values
        }
        for scalar in Hangul.syllables { flat[Int(scalar)].insert(.decomposes) }
        for entry in Self.entries(of: CharacterData.lowercase) {
            for scalar in stride(from: entry.first, through: entry.last, by: Int(entry.step)) {
                flat[Int(scalar)].insert(.hasLowercase)
                lowercase[scalar] = entry.first == entry.last ? entry.values : [entry.values[0] + (scalar - entry.first)]
            }
        }

        var positions: [ArraySlice<Properties>: UInt16] = [:]
        blocks = []
        properties = []
        for start in stride(from: 0, to: flat.count, by: 256) {
            let block = flat[start..<start + 256]
            if let position = positions[block] {
                blocks.append(position)
            } else {
                let position = UInt16(properties.count / 256)
                positions[block] = position
                blocks.append(position)
                properties.append(contentsOf: block)
            }
        }
    }

    /// The properties of a scalar's value.
    @inline(__always)
    func properties(of scalar: UInt32) -> Properties {
        properties[Int(blocks[Int(scalar >> 8)]) << 8 | Int(scalar & 255)]
    }

    /// The lower case of a scalar that has one of its own.
    func lowercase(of scalar: UInt32) -> [UInt32] { lowercase[scalar] ?? [scalar] }

    /// The full canonical decomposition of a scalar that has one.
    func decomposition(of scalar: UInt32) -> [UInt32] { Hangul.decomposition(of: scalar) ?? decompositions[scalar] ?? [scalar] }

    /// One entry of ``CharacterData``: `first-last/step=value,value`, of which all but `first` may be absent.
    private struct Entry {
        var first: UInt32
        var last: UInt32
        var step: UInt32
        var values: [UInt32]
    }

    private static func entries(of text: StaticString) -> [Entry] {
        text.withUTF8Buffer { bytes in
            bytes.split(whereSeparator: { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }).map { word in
                let sides = word.split(separator: UInt8(ascii: "="))
                let stepped = sides[0].split(separator: UInt8(ascii: "/"))
                let ends = stepped[0].split(separator: UInt8(ascii: "-")).map(hexadecimal)
                return Entry(
                    first: ends[0], last: ends[ends.count - 1], step: stepped.count > 1 ? hexadecimal(stepped[1]) : 1,
                    values: sides.count > 1 ? sides[1].split(separator: UInt8(ascii: ",")).map(hexadecimal) : [])
            }
        }
    }

    private static func hexadecimal(_ digits: Slice<UnsafeBufferPointer<UInt8>>) -> UInt32 {
        digits.reduce(0) { $0 << 4 | UInt32($1 <= UInt8(ascii: "9") ? $1 - UInt8(ascii: "0") : $1 - UInt8(ascii: "A") + 10) }
    }
}

/// Hangul syllables decompose by arithmetic (The Unicode Standard, section 3.12).
private enum Hangul {
    static let syllables: ClosedRange<UInt32> = 0xAC00...0xD7A3

    static func decomposition(of scalar: UInt32) -> [UInt32]? {
        guard syllables.contains(scalar) else { return nil }
        let index = scalar - syllables.lowerBound
        let jamo = [0x1100 + index / 588, 0x1161 + index % 588 / 28]
        return index % 28 == 0 ? jamo : jamo + [0x11A7 + index % 28]
    }
}
