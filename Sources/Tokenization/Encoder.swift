/// Encodes one text in one pass: normalises scalar by scalar, gathers words, and cuts each word into pieces as it ends.
///
/// Every normalised scalar comes from exactly one scalar of the text, its origin; a token reaches from the origin of its first scalar to that of its last.
struct Encoder {
    /// A word of more scalars is unknown, whatever its pieces.
    static let longestWord = 100

    private let vocabulary: Vocabulary
    private let options: Tokenizer.Options
    private let table = CharacterTable.shared
    private let scalars: [UInt32]
    private let maximumLength: Int

    private var result: Encoding
    /// The normalised word under way.
    private var word: [UInt32] = []
    private var origins: [Int] = []
    /// Nonstarters that canonical ordering may still move.
    private var pending: [Nonstarter] = []
    /// Origins of those of `pending` that did not come out of a decomposition, in the order of the text.
    private var pendingOrigins: [Int] = []
    /// The origin of the last scalar that did not come out of a decomposition.
    private var lastOrigin = 0

    private struct Nonstarter {
        var scalar: UInt32
        var combiningClass: UInt8
        /// Not the first scalar of a decomposition.
        var isInserted: Bool
    }

    init(_ tokenizer: Tokenizer, scalars: [UInt32], maximumLength: Int) {
        vocabulary = tokenizer.vocabulary
        options = tokenizer.options
        self.scalars = scalars
        self.maximumLength = maximumLength
        result = Encoding(ids: [], ranges: [], isContinuation: [], truncated: false)
        let capacity = min(scalars.count + 2, maximumLength)
        result.ids.reserveCapacity(capacity)
        result.ranges.reserveCapacity(capacity)
        result.isContinuation.reserveCapacity(capacity)
    }

    mutating func encode() -> Encoding {
        result.ids.append(vocabulary.classifier)
        result.ranges.append(0..<0)
        result.isContinuation.append(false)
        var start = 0
        if !options.specialTokensAsText {
            var position = 0
            while position < scalars.count, !result.truncated {
                guard scalars[position] == 0x5B, let special = special(at: position) else {
                    position += 1
                    continue
                }
                encode(start..<position)
                start = position + special.scalars.count
                append(special.id, position..<start, isContinuation: false)
                position = start
            }
        }
        encode(start..<scalars.count)
        result.ids.append(vocabulary.separator)
        result.ranges.append(0..<0)
        result.isContinuation.append(false)
        return result
    }

    private func special(at position: Int) -> (scalars: [UInt32], id: Int64)? {
        vocabulary.special.first { scalars[position...].starts(with: $0.scalars) }
    }

    /// Encodes a stretch of the text that no special token interrupts.
    private mutating func encode(_ range: Range<Int>) {
        for origin in range {
            guard !result.truncated else { return }
            let scalar = scalars[origin]
            let properties = table.properties(of: scalar)
            if properties.contains(.removed), options.cleanText { continue }
            if properties.contains(.whitespace) {
                endWord()
            } else if properties.contains(.ideograph), options.chineseCharacters {
                endWord()
                decompose(scalar, properties, origin)
                endWord()
            } else {
                decompose(scalar, properties, origin)
            }
        }
        endWord()
    }

    /// Canonical decomposition and ordering.
    @inline(__always)
    private mutating func decompose(_ scalar: UInt32, _ properties: CharacterTable.Properties, _ origin: Int) {
        guard options.stripAccents else { return lowercase(scalar, properties, origin) }
        if properties.isDisjoint(with: [.decomposes, .nonstarter]) {
            flushPending()
            lastOrigin = origin
            return strip(scalar, properties, origin)
        }
        let parts = properties.contains(.decomposes) ? table.decomposition(of: scalar) : [scalar]
        for (index, part) in parts.enumerated() {
            let properties = table.properties(of: part)
            if properties.contains(.nonstarter) {
                let combiningClass = Unicode.Scalar(part)?.properties.canonicalCombiningClass.rawValue ?? 0
                pending.append(Nonstarter(scalar: part, combiningClass: combiningClass, isInserted: index > 0))
                if index == 0 { pendingOrigins.append(origin) }
            } else {
                flushPending()
                if index == 0 { lastOrigin = origin }
                strip(part, properties, lastOrigin)
            }
        }
    }

    /// Puts the pending nonstarters into canonical order. Origins keep the order of the text; what a decomposition added has the origin of what it follows.
    private mutating func flushPending() {
        guard !pending.isEmpty else { return }
        var ordered = pending
        if ordered.count > 1 {
            // Insertion keeps the order of equal classes.
            for index in 1..<ordered.count {
                var position = index
                while position > 0, ordered[position - 1].combiningClass > ordered[position].combiningClass {
                    ordered.swapAt(position - 1, position)
                    position -= 1
                }
            }
        }
        var next = 0
        for nonstarter in ordered {
            if !nonstarter.isInserted {
                lastOrigin = pendingOrigins[next]
                next += 1
            }
            strip(nonstarter.scalar, table.properties(of: nonstarter.scalar), lastOrigin)
        }
        pending.removeAll(keepingCapacity: true)
        pendingOrigins.removeAll(keepingCapacity: true)
    }

    @inline(__always)
    private mutating func strip(_ scalar: UInt32, _ properties: CharacterTable.Properties, _ origin: Int) {
        if properties.contains(.nonspacingMark) { return }
        lowercase(scalar, properties, origin)
    }

    @inline(__always)
    private mutating func lowercase(_ scalar: UInt32, _ properties: CharacterTable.Properties, _ origin: Int) {
        guard options.lowercase, properties.contains(.hasLowercase) else { return gather(scalar, properties, origin) }
        for lower in table.lowercase(of: scalar) { gather(lower, table.properties(of: lower), origin) }
    }

    /// Adds a normalised scalar to the word under way; punctuation is a word by itself.
    @inline(__always)
    private mutating func gather(_ scalar: UInt32, _ properties: CharacterTable.Properties, _ origin: Int) {
        if properties.contains(.punctuation) {
            cutWord()
            word.append(scalar)
            origins.append(origin)
            cutWord()
        } else {
            word.append(scalar)
            origins.append(origin)
        }
    }

    @inline(__always)
    private mutating func endWord() {
        flushPending()
        cutWord()
    }

    /// Cuts the word under way into the longest pieces from the left; a word that cannot be cut so, or is too long, is unknown as a whole.
    private mutating func cutWord() {
        guard !word.isEmpty, !result.truncated else { return }
        let before = result.ids.count
        var start = 0
        while start < word.count, word.count <= Self.longestWord {
            var node = start == 0 ? Vocabulary.start : Vocabulary.continuation
            var id: Int32 = -1
            var end = start
            var position = start
            while position < word.count, let next = vocabulary.next(node, word[position]) {
                node = next
                position += 1
                if vocabulary.id(at: node) >= 0 {
                    id = vocabulary.id(at: node)
                    end = position
                }
            }
            guard id >= 0 else { break }
            append(Int64(id), origins[start]..<(origins[end - 1] + 1), isContinuation: start > 0)
            start = end
        }
        if start < word.count {
            result.ids.removeSubrange(before...)
            result.ranges.removeSubrange(before...)
            result.isContinuation.removeSubrange(before...)
            result.truncated = false
            append(vocabulary.unknown, origins[0]..<(origins[origins.count - 1] + 1), isContinuation: false)
        }
        word.removeAll(keepingCapacity: true)
        origins.removeAll(keepingCapacity: true)
    }

    /// Adds a token where there is room.
    @inline(__always)
    private mutating func append(_ id: Int64, _ range: Range<Int>, isContinuation: Bool) {
        guard result.ids.count < maximumLength - 1 else {
            result.truncated = true
            return
        }
        result.ids.append(id)
        result.ranges.append(range)
        result.isContinuation.append(isContinuation)
    }
}
