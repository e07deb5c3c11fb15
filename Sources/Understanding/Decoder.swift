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
    /// Of all ways to label the words that describe spans (`I-` comes after `B-` or `I-` of its own slot alone, `X` never), the likeliest is taken: that with
    /// the greatest sum of logits, each word's at its first piece; its further pieces belong to it. A span's confidence is the least probability among its words.
    ///
    /// - Parameter logits: One value a token and label, token by token, finite; padding may follow.
    func spans(_ logits: ArraySlice<Float>, encoding: Encoding) -> (spans: [Span], labelConfidence: Float) {
        var spans: [Span] = []
        var least: Float = 1
        var isOpen = false
        // [CLS] and [SEP] are no words.
        let tokens = 1..<max(1, encoding.ids.count - 1)
        let rows = tokens.filter { !encoding.isContinuation[$0] }.map { token in
            let start = logits.startIndex + token * labels.labels.count
            return logits[start..<start + labels.labels.count]
        }
        var chosen = zip(likeliest(rows), rows).makeIterator()
        for token in tokens {
            guard !encoding.isContinuation[token], let (label, row) = chosen.next() else {
                if isOpen { spans[spans.count - 1].last = token }
                continue
            }
            let confidence = probability(of: label, in: row)
            least = min(least, confidence)
            switch labels.labels[label] {
            case .inside:
                spans[spans.count - 1].last = token
                spans[spans.count - 1].confidence = min(spans[spans.count - 1].confidence, confidence)
            case .begin(let slot):
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

    /// The likeliest labels of words that describe spans, by their indices (Viterbi). Of equal ones a span goes on, and else the first label counts.
    ///
    /// - Parameter rows: For each word a logit a label.
    private func likeliest(_ rows: [ArraySlice<Float>]) -> [Int] {
        guard let first = rows.first else { return [] }
        // The greatest sum of a labelling that ends with each label; before the first word no span is open.
        var totals = zip(labels.labels, first).map { label, logit in
            switch label {
            case .ignored, .inside: -Float.infinity
            case .outside, .begin: logit
            }
        }
        var before: [[Int]] = []
        for row in rows.dropFirst() {
            let best = greatest(totals)
            let previous = labels.labels.map { label in
                guard case .inside(let slot) = label else { return best }
                let (begin, inside) = (labels.begins[slot], labels.insides[slot])
                return totals[begin] > totals[inside] ? begin : inside
            }
            totals = zip(zip(labels.labels, row), previous).map { ($0.0 == .ignored ? -.infinity : totals[$1] + $0.1) }
            before.append(previous)
        }
        var last = greatest(totals)
        var found = [last]
        for previous in before.reversed() {
            last = previous[last]
            found.append(last)
        }
        return found.reversed()
    }

    /// The index of the greatest value; the first of equal ones.
    private func greatest(_ values: [Float]) -> Int {
        var best = 0
        for index in values.indices where values[index] > values[best] { best = index }
        return best
    }

    /// The probability of a label among all but `X`.
    private func probability(of label: Int, in logits: ArraySlice<Float>) -> Float {
        let own = logits[logits.startIndex + label]
        var sum: Float = 0
        for (index, label) in labels.labels.enumerated() where label != .ignored {
            sum += expf(logits[logits.startIndex + index] - own)
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
