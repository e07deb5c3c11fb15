internal import Conversation
internal import Glibc
internal import Tokenization

/// Makes intents and slots of one row of logits.
struct Decoder: Sendable {
    let intents: [String]
    let labels: SlotLabels
    let temperature: Float

    /// The likeliest intents by falling probability, `count` of them or as many as there are; equal ones in the order of the labels.
    func intents(_ logits: ArraySlice<Float>, count: Int) -> [Intent] {
        let probabilities = Self.softmax(logits.map { $0 / temperature })
        let order = probabilities.indices.sorted { probabilities[$0] > probabilities[$1] }
        return order.prefix(max(1, count)).map { Intent(name: intents[$0], confidence: probabilities[$0]) }
    }

    /// The spans of a row, and the probability of its least sure word's label: 1 without words.
    ///
    /// A word has the likeliest label of its first piece, `X` left out; its further pieces belong to it. Spans are found as conlleval finds them: `B-` begins
    /// one; `I-` goes on with a span of the same slot, and without one before it begins one. A span's confidence is the least probability among its words.
    ///
    /// - Parameter logits: One value a token and label, token by token; padding may follow.
    func spans(_ logits: ArraySlice<Float>, encoding: Encoding) -> (spans: [Span], labelConfidence: Float) {
        var spans: [Span] = []
        var least: Float = 1
        var isOpen = false
        // [CLS] and [SEP] are no words.
        for token in 1..<max(1, encoding.ids.count - 1) {
            if encoding.isContinuation[token] {
                if isOpen { spans[spans.count - 1].last = token }
                continue
            }
            let start = logits.startIndex + token * labels.labels.count
            let row = logits[start..<start + labels.labels.count]
            let best = likeliest(row)
            let confidence = probability(of: best, in: row)
            least = min(least, confidence)
            switch labels.labels[best] {
            case .inside(let slot) where isOpen && spans[spans.count - 1].slot == slot:
                spans[spans.count - 1].last = token
                spans[spans.count - 1].confidence = min(spans[spans.count - 1].confidence, confidence)
            case .begin(let slot), .inside(let slot):
                spans.append(Span(slot: slot, first: token, last: token, confidence: confidence))
                isOpen = true
            case .outside, .ignored: isOpen = false
            }
        }
        return (spans, least)
    }

    /// What fills the slots of a text by the spans of its row.
    func slots(_ spans: [Span], encoding: Encoding, text: String) -> [RecognizedSlot] {
        guard !spans.isEmpty else { return [] }
        let scalars = Array(text.unicodeScalars)
        return spans.map { span in
            let name = labels.slots[span.slot]
            var range = encoding.ranges[span.first].lowerBound..<encoding.ranges[span.last].upperBound
            if name == "amount" { range = ChineseNumeral.completingCapitals(range, in: scalars) }
            var value = String.UnicodeScalarView()
            value.append(contentsOf: scalars[range])
            let written = String(value)
            return RecognizedSlot(
                value: SlotValue(name: name, value: written, normalized: SlotNormalizer.normalize(written, slot: name)), range: range,
                confidence: span.confidence)
        }
    }

    /// Tokens that fill a slot.
    struct Span: Sendable, Hashable {
        var slot: Int
        /// The first and the last of its tokens.
        var first: Int
        var last: Int
        var confidence: Float
    }

    /// The index of the likeliest label but `X`; the first of equal ones.
    private func likeliest(_ logits: ArraySlice<Float>) -> Int {
        var best = -1
        for (index, label) in labels.labels.enumerated() where label != .ignored {
            if best < 0 || logits[logits.startIndex + index] > logits[logits.startIndex + best] { best = index }
        }
        return best
    }

    /// The probability of the likeliest label among all but `X`.
    private func probability(of best: Int, in logits: ArraySlice<Float>) -> Float {
        let greatest = logits[logits.startIndex + best]
        var sum: Float = 0
        for (index, label) in labels.labels.enumerated() where label != .ignored {
            sum += expf(logits[logits.startIndex + index] - greatest)
        }
        return 1 / sum
    }

    /// Probabilities of finite logits; stable for large ones.
    static func softmax(_ logits: [Float]) -> [Float] {
        guard let greatest = logits.max() else { return [] }
        let powers = logits.map { expf($0 - greatest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }
}
