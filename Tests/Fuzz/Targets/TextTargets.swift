import Conversation
import Tokenization

@testable import Dialogue
@testable import Understanding

extension FuzzTarget {
    static let text: [FuzzTarget] = [tokenizer, vocabulary, manifest, values, pattern, smallTalk]

    // MARK: Tokens

    private static let pieces =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + "我要改地址退款单号的两百三块件，。a1é#".map(String.init)
        + ["##a", "##1", "##地", "ab", "sf", "##sf", "2024", "##11", "##", "###", "##e", "e", "i", "##i", "σ", "##σ", "ss"]

    private static let tokenizers: [Tokenizer] = (0..<64).compactMap { bits in
        let options = Tokenizer.Options(
            fullWidthToHalfWidth: bits & 1 != 0, cleanText: bits & 2 != 0, chineseCharacters: bits & 4 != 0, stripAccents: bits & 8 != 0,
            lowercase: bits & 16 != 0, specialTokensAsText: bits & 32 != 0)
        return (try? Vocabulary(pieces: pieces)).map { Tokenizer(vocabulary: $0, options: options) }
    }

    /// Normalisation and WordPiece: tokens point into the text, in its order.
    private static let tokenizer = FuzzTarget("tokenizer", maximumLength: 512) { input in
        var parts = Parts(input)
        require(tokenizers.count == 64, "the vocabulary was refused")
        let tokenizer = tokenizers[parts.choice(64)]
        let limit = 2 + parts.choice(128)
        let text = parts.text
        let count = text.unicodeScalars.count
        let encoding = tokenizer.encode(text, maximumLength: limit)
        require(encoding.ids.count <= limit && encoding.ids.count >= 2, "\(encoding.ids.count) tokens, at most \(limit)")
        require(
            encoding.ids.count == encoding.ranges.count && encoding.ids.count == encoding.isContinuation.count, "arrays of unlike lengths")
        require(encoding.ids.allSatisfy { (0..<Int64(pieces.count)).contains($0) }, "an id is not of the vocabulary: \(encoding.ids)")
        require(
            encoding.ids.first == tokenizer.vocabulary.classifier && encoding.ids.last == tokenizer.vocabulary.separator,
            "no [CLS] or [SEP]")
        var last = 0
        for (token, range) in encoding.ranges.enumerated().dropFirst().dropLast() {
            require(!range.isEmpty && range.upperBound <= count, "\(range) is not in a text of \(count) scalars")
            // Pieces of one scalar that became several point to the same one.
            require(range.lowerBound >= last, "\(range) is before \(last)")
            require(token > 1 || !encoding.isContinuation[token], "the first token continues a word")
            last = range.lowerBound
        }
        // A cut changes nothing of what stands before it.
        let whole = tokenizer.encode(text, maximumLength: count * 4 + 8)
        require(!whole.truncated, "\(whole.ids.count) tokens of \(count) scalars")
        require(
            encoding.truncated == (whole.ids.count > limit), "truncated is \(encoding.truncated) with \(whole.ids.count) of \(limit) tokens"
        )
        require(encoding.ids.dropLast() == whole.ids.dropLast().prefix(limit - 1), "the cut changed the tokens")
        require(encoding.ranges.dropLast() == whole.ranges.dropLast().prefix(limit - 1), "the cut changed the offsets")
    }

    /// `vocab.txt` of a model bundle.
    private static let vocabulary = FuzzTarget("vocabulary", maximumLength: 512) { input in
        guard let vocabulary = try? Vocabulary(contentsOf: input) else { return }
        for (index, line) in input.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let piece = String(decoding: line.last == UInt8(ascii: "\r") ? line.dropLast() : line, as: UTF8.self)
            guard index < vocabulary.count else {
                require(piece.isEmpty, "line \(index + 1) was not read")
                break
            }
            require(
                vocabulary.id(of: piece) == Int64(index), "line \(index + 1) has the id \(String(describing: vocabulary.id(of: piece)))")
        }
        _ = Tokenizer(vocabulary: vocabulary).encode(String(decoding: input, as: UTF8.self), maximumLength: 64)
    }

    /// `manifest.json` of a model bundle.
    private static let manifest = FuzzTarget("manifest", maximumLength: 2048) { input in
        guard let manifest = try? ModelManifest(json: input, path: "manifest.json") else { return }
        require(manifest.version >= 1 && manifest.maximumLength >= 2 && !manifest.intents.isEmpty, "\(manifest)")
        require(manifest.temperature.isFinite && manifest.temperature > 0, "the temperature is \(manifest.temperature)")
        require(!manifest.files.keys.contains { $0.contains("/") || $0.hasPrefix(".") }, "\(manifest.files.keys)")
    }

    // MARK: Values

    /// Numbers, amounts, times, codes: as the intent server and as the domain's slots read them.
    private static let values = FuzzTarget("values", maximumLength: 192) { input in
        var parts = Parts(input)
        let choice = parts.choice(16)
        let text = parts.text
        let scalars = Array(text.unicodeScalars)
        switch choice {
        case 0...5:
            let slot = ["phone", "tracking_no", "order_id", "amount", "time", "attribute"][choice]
            let standard = SlotNormalizer.normalize(text, slot: slot)
            require(!standard.isEmpty || text.isEmpty || text.unicodeScalars.allSatisfy { !$0.isDigit }, "nothing is left of a number")
        case 6:
            for start in 0...min(2, scalars.count) {
                let end = ChineseNumeral.end(of: scalars, from: start)
                require((start...scalars.count).contains(end), "a number ends at \(end)")
                if let number = ChineseNumeral(scalars[start..<end]) {
                    let again = ChineseNumeral(Array(number.text.unicodeScalars)[...])
                    // Up to 13 digits are read.
                    require(
                        again?.value == number.value || number.value >= ChineseNumeral.scale * 1_000_000_000_000,
                        "\(number) is not \(number.text)")
                }
            }
            if !scalars.isEmpty {
                let range = scalars.count / 3..<max(scalars.count / 3 + 1, scalars.count / 2)
                let grown = ChineseNumeral.completingCapitals(range, in: scalars)
                require(
                    grown.lowerBound <= range.lowerBound && grown.upperBound >= range.upperBound && grown.upperBound <= scalars.count,
                    "\(grown)")
            }
        case 7:
            let end = SpokenNumber.read(scalars, from: 0)?.end ?? 0
            require(end <= scalars.count, "a number ends at \(end)")
        case 8...13:
            let normalizer = Normalizer.allCases[(choice - 8) % Normalizer.allCases.count]
            let standard = normalizer.normalize(scalars, clock: clock)
            // Standard forms are standard already. (A time is seen from now, and an amount may end as the number of another one.)
            if normalizer != .time, normalizer != .amount {
                require(
                    normalizer.normalize(standard, clock: clock) == standard, "\(normalizer) of \(Folded.string(standard)) changes it again"
                )
            }
        default:
            if let time = clock.resolve(scalars) {
                guard let read = ResolvedTime.parse(time.text) else {
                    // Years beyond 9998 are written, and not read.
                    return require(
                        (time.start ?? time.end ?? 0) > 4_222_000_000 || time == ResolvedTime(start: nil, end: nil),
                        "\(time.text) cannot be read")
                }
                require(
                    read.start == time.start || time.start == nil,
                    "\(time.text) begins at \(String(describing: read.start)), and not at \(String(describing: time.start))")
                _ = ResolvedTime.spoken(time.text)
                _ = clock.isOver(time.text)
            }
            _ = ResolvedTime.parse(text)
            _ = ResolvedTime.spoken(text)
            _ = clock.isOver(text)
            _ = Zone(text)
        }
    }

    private static let clock = LocalClock(now: Timestamp(milliseconds: 1_796_026_200_000), zone: .fixed(8 * 3600))

    /// A pattern of a slot or a rule, and a text: what it matches as a whole occurs in it.
    private static let pattern = FuzzTarget("pattern", maximumLength: 256) { input in
        var parts = Parts(input)
        let source = String(decoding: parts.part(), as: UTF8.self)
        guard let pattern = try? Pattern(source) else { return }
        let scalars = Array(parts.text.unicodeScalars)
        let matches = pattern.matches(scalars)
        let occurs = pattern.occurs(in: scalars)
        require(!matches || occurs, "'\(source)' matches what it does not occur in")
        // Any pattern occurs where it matches a part.
        for end in 0...min(scalars.count, 4) where pattern.matches(scalars[..<end]) {
            require(occurs, "'\(source)' matches the first \(end)")
        }
        if let repeated = try? Pattern("(\(source))?"), !source.isEmpty {
            require(repeated.matches([]), "'(\(source))?' does not match nothing")
            require(repeated.matches(scalars) == (matches || scalars.isEmpty), "'(\(source))?' and '\(source)' differ")
        }
    }

    private static let filter = SmallTalkFilter(longest: 80, banned: ["订单", "退款", "ok"].map { Folded.lowered($0) })

    /// What a model of small talk says, and messages as words are looked up in them.
    private static let smallTalk = FuzzTarget("smalltalk", maximumLength: 512) { input in
        let text = String(decoding: input, as: UTF8.self)
        if filter.objection(to: text) == nil {
            require((1...80).contains(text.unicodeScalars.count) && !text.contains("订单"), "'\(text)' may be said")
        }
        let folded = Folded(text)
        let count = folded.scalars.count
        require(folded.original.count == count && folded.lowered.count == count, "a folded text is longer or shorter")
        var last = 0
        for token in folded.tokens() {
            require(
                !token.isEmpty && token.lowerBound >= last && token.upperBound <= count,
                "the token \(token) of \(count) scalars, behind \(last)")
            last = token.upperBound
            let trimmed = folded.trimmed(token)
            require(trimmed.lowerBound >= token.lowerBound && trimmed.upperBound <= token.upperBound, "\(token) was trimmed to \(trimmed)")
        }
        for clause in folded.clauses { require(folded.contains(Array(clause)), "a clause is not in its text") }
    }
}
