import Conversation

/// The bot's open question, as the flow under way asked it.
enum Question: Equatable {
    case none
    case slot(String)
    case confirmation
    /// What is to be changed, after a no at the confirmation.
    case correction
}

/// Names of what a flow asks for besides slots, as they stand in ``FlowInProgress/asked``.
enum Step {
    static let confirmation = "confirm"
    static let correction = "correction"
    /// How many of its questions a flow remembers.
    static let limit = 8
}

/// A message as it is to be taken in its place in the conversation.
struct Reading {
    /// What a message says to the bot's open question.
    enum Answer: Equatable {
        case value(SlotValue)
        /// An attempt that does not fit the slot; the value as it was written.
        case invalid(slot: String, value: String)
    }

    let text: Folded
    /// The likeliest intent; empty where there is none.
    var intent = ""
    var confidence: Float = 0
    /// The intent is one of the domain's, and likely enough.
    var understood = false
    /// What was recognised and fits, each slot once.
    var slots: [SlotValue] = []
    var answer: Answer?
    /// The message is nothing but a value that answers.
    var isBare = false
    /// The message says that something said before is wrong, or is to be another.
    var corrects = false
    /// The slots that it explicitly corrects.
    var corrected: Set<String> = []
    var isQuestion = false

    /// The answer's value, where it fits.
    var answeredValue: SlotValue? {
        if case .value(let value) = answer { value } else { nil }
    }

    func means(_ intent: String) -> Bool { understood && self.intent == intent }
}

/// Reads a message against the domain and what the bot asked for.
struct Reader {
    let domain: Domain
    let question: Question
    let flow: FlowDefinition?

    /// A recognised span that fits its slot.
    private struct Span {
        let value: SlotValue
        let range: Range<Int>
        let kind: SlotDefinition.Kind
    }

    func read(_ query: Utterance, _ recognition: Recognition?) -> Reading {
        var reading = Reading(text: Folded(query.text))
        guard let recognition else { return reading }
        if let intent = recognition.intents.first {
            reading.intent = intent.name
            reading.confidence = intent.confidence
            reading.understood = intent.confidence >= domain.thresholds.understood && domain.intents.contains(intent.name)
        }
        let words = domain.lexicon
        reading.isQuestion = words.question.contains(where: reading.text.contains)
        let replacement = words.replacement.compactMap { reading.text.position(of: $0) }.min()
        let corrects = reading.means("deny") || words.correction.contains(where: reading.text.contains)
        reading.corrects = corrects || replacement != nil

        var invalid: Reading.Answer?
        var spans = fittingSpans(recognition, in: reading.text, invalid: &invalid)
        if let (answer, range) = answer(in: reading, spans: spans) {
            reading.answer = .value(answer)
            reading.isBare = range == reading.text.trimmed(0..<reading.text.scalars.count)
            // A number that answers is nothing else; a free text may well hold other slots.
            if domain.codes.contains(answer.name) { spans.removeAll { $0.range.overlaps(range) && $0.value.name != answer.name } }
        } else {
            reading.answer = invalid ?? attempt(in: reading, spans: spans)
            if spans.isEmpty, let number = bareNumber(in: reading.text) { spans.append(number) }
        }
        reading.slots = once(spans, preferLast: reading.corrects)
        if let start = corrects ? 0 : replacement {
            reading.corrected = Set(spans.filter { $0.range.lowerBound >= start }.map(\.value.name))
        }
        return reading
    }

    // MARK: Recognised slots

    /// The spans that are likely enough and fit their slot. Where one is labelled as what was asked for and does not fit, `invalid` says so.
    private func fittingSpans(_ recognition: Recognition, in text: Folded, invalid: inout Reading.Answer?) -> [Span] {
        var spans: [Span] = []
        for slot in recognition.slots {
            guard slot.confidence >= domain.thresholds.slot, let definition = domain.slots[slot.value.name] else { continue }
            let range = slot.range.clamped(to: 0..<text.scalars.count)
            if let value = standard(slot.value, definition) {
                spans.append(Span(value: value, range: range, kind: definition.kind))
            } else if asked.contains(slot.value.name) {
                invalid = .invalid(slot: slot.value.name, value: slot.value.value)
            }
        }
        return spans
    }

    /// The value in standard form; nil where it does not fit the slot.
    private func standard(_ value: SlotValue, _ definition: SlotDefinition) -> SlotValue? {
        let text = value.normalized.isEmpty ? value.value : value.normalized
        guard !value.value.isEmpty else { return nil }
        switch definition.kind {
        case .code:
            let code = Folded.code(text.unicodeScalars)
            return definition.accepts(code) ? SlotValue(name: value.name, value: value.value, normalized: Folded.string(code)) : nil
        case .text:
            guard definition.accepts(Array(text.unicodeScalars)) else { return nil }
            return SlotValue(name: value.name, value: value.value, normalized: text)
        }
    }

    private func once(_ spans: [Span], preferLast: Bool) -> [SlotValue] {
        var values: [SlotValue] = []
        for span in preferLast ? spans.reversed() : spans where !values.contains(where: { $0.name == span.value.name }) {
            values.append(span.value)
        }
        return values
    }

    /// A message that is nothing but a number which is typical of a slot, although the model saw none in it.
    private func bareNumber(in text: Folded) -> Span? {
        let whole = text.trimmed(0..<text.scalars.count)
        guard text.tokens() == [whole] else { return nil }
        let code = Folded.code(text.scalars[whole])
        // Sorted: what fits two slots must go to the same one in every process.
        let typical = domain.codes.sorted().first {
            domain.slots[$0]?.typical?.matches(code) ?? false && domain.slots[$0]?.accepts(code) ?? false
        }
        return typical.map {
            Span(value: SlotValue(name: $0, value: text.written(whole), normalized: Folded.string(code)), range: whole, kind: .code)
        }
    }

    // MARK: The answer to the open question

    /// The slots whose value answers the open question.
    private var asked: [String] {
        if case .slot(let name) = question { flow?.group(of: name) ?? [name] } else { [] }
    }

    /// The value that answers, and where it stands.
    private func answer(in reading: Reading, spans: [Span]) -> (SlotValue, Range<Int>)? {
        let labelled = reading.corrects ? spans.last { asked.contains($0.value.name) } : spans.first { asked.contains($0.value.name) }
        if let labelled { return (labelled.value, labelled.range) }
        if let code = code(in: reading.text, spans: spans) { return code }
        return freeText(in: reading)
    }

    /// A bare number or code that fits what was asked for, whatever the model took it for.
    private func code(in text: Folded, spans: [Span]) -> (SlotValue, Range<Int>)? {
        let open: Bool
        let names: [String]
        switch question {
        case .none: return nil
        case .slot: (open, names) = (true, asked)
        // Nothing is asked by name: only what is typical of one of the flow's slots is taken.
        case .confirmation, .correction: (open, names) = (false, flow?.slots ?? [])
        }
        let wanted = names.compactMap { domain.slots[$0] }.filter { $0.kind == .code }
        guard !wanted.isEmpty else { return nil }
        for range in text.tokens() {
            // Part of an address or of a product's name.
            if spans.contains(where: { $0.kind == .text && $0.range.overlaps(range) && $0.range.count > range.count }) { continue }
            let code = Folded.code(text.scalars[range])
            let typical = wanted.first { $0.typical?.matches(code) ?? false && $0.accepts(code) }
            let others =
                typical == nil
                && domain.slots.values.contains { other in
                    !names.contains(other.name) && other.kind == .code && other.typical?.matches(code) ?? false
                }
            guard let slot = typical ?? (open && !others ? wanted.first { $0.accepts(code) } : nil) else { continue }
            return (SlotValue(name: slot.name, value: text.written(range), normalized: Folded.string(code)), range)
        }
        return nil
    }

    /// The message itself as the value, where that is plausible: no question, no other business.
    private func freeText(in reading: Reading) -> (SlotValue, Range<Int>)? {
        guard case .slot(let name) = question, let slot = domain.slots[name], let pattern = slot.freeText else { return nil }
        guard !reading.isQuestion, !reading.understood || reading.intent == "inform" || reading.intent == flow?.name else { return nil }
        let text = reading.text
        let range = text.trimmed(start(of: slot, in: text)..<text.scalars.count)
        guard !range.isEmpty, pattern.occurs(in: text.scalars[range]), slot.accepts(Array(text.scalars[range])) else { return nil }
        return (SlotValue(name: name, value: text.written(range), normalized: Folded.string(text.scalars[range])), range)
    }

    /// Where the value begins in 「地址是…」「改成…」: after the slot's name and the words that link it to its value.
    private func start(of slot: SlotDefinition, in text: Folded) -> Int {
        var start = 0
        for name in slot.names {
            if let position = text.position(of: name), position <= 6 { start = max(start, position + name.count) }
        }
        var moved = true
        while moved {
            moved = false
            start = text.trimmed(start..<text.scalars.count).lowerBound
            for word in domain.lexicon.link where text.position(of: word, from: start) == start && !word.isEmpty {
                start += word.count
                moved = true
            }
        }
        return start
    }

    /// A number that was meant as the answer and does not fit.
    private func attempt(in reading: Reading, spans: [Span]) -> Reading.Answer? {
        guard case .slot(let name) = question, domain.slots[name]?.kind == .code else { return nil }
        let text = reading.text
        let whole = text.trimmed(0..<text.scalars.count)
        for range in text.tokens() where range == whole || !reading.understood || reading.intent == "inform" {
            if range != whole, spans.contains(where: { $0.range.overlaps(range) }) { continue }
            return .invalid(slot: name, value: text.written(range))
        }
        return nil
    }
}
