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
    /// The intents that come next, by falling confidence.
    var others: ArraySlice<Intent> = []
    /// What was recognised and fits, each slot once.
    var slots: [SlotValue] = []
    /// What was recognised as a code and does not fit its slot.
    var misfits: [SlotValue] = []
    var answer: Answer?
    /// The message is nothing but a value that answers.
    var isBare = false
    /// The message says that something said before is wrong, or is to be another.
    var corrects = false
    /// The slots that it explicitly corrects.
    var corrected: Set<String> = []
    var isQuestion = false
    /// The customer says not to know.
    var isUnknown = false

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
    let session: Session
    let clock: LocalClock

    /// A recognised span that fits its slot.
    private struct Span {
        let value: SlotValue
        let range: Range<Int>
        let isCode: Bool
    }

    func read(_ query: Utterance, _ recognition: Recognition?) -> Reading {
        var reading = Reading(text: Folded(query.text))
        guard let recognition else { return reading }
        if let intent = recognition.intents.first {
            reading.intent = intent.name
            reading.confidence = intent.confidence
            reading.understood = intent.confidence >= domain.thresholds.understood && domain.intents[intent.name] != nil
            reading.others = recognition.intents.dropFirst()
            // Emoji and punctuation say nothing that could be relied on.
            if reading.text.compact.isEmpty { reading.understood = false }
        }
        let words = domain.lexicon
        reading.isQuestion = words.question.contains(where: reading.text.contains)
        reading.isUnknown = words.unknown.contains(where: reading.text.contains)
        let replacement = words.replacement.compactMap { reading.text.position(of: $0) }.min()
        let isQuestion = reading.isQuestion
        let corrects =
            reading.means("deny")
            || words.correction.contains { ($0.parts.count == 1 || !isQuestion) && $0.occurs(in: reading.text) }
        let changes = words.change.filter(reading.text.contains)
        reading.corrects = corrects || replacement != nil || !changes.isEmpty

        let tokens = reading.text.tokens()
        var invalid: Reading.Answer?
        var spans = fittingSpans(recognition, &reading, tokens: tokens, invalid: &invalid)
        if let (answer, range) = answer(in: reading, tokens: tokens, spans: spans) {
            reading.answer = .value(answer)
            reading.isBare = range == reading.text.trimmed(0..<reading.text.scalars.count)
            // A number that answers is nothing else; a free text may well hold other slots.
            if domain.slots[answer.name]?.kind.isCode ?? false {
                spans.removeAll { $0.range.overlaps(range) && $0.value.name != answer.name }
            }
            spans += typicalCodes(in: reading.text, tokens: tokens.filter { !$0.overlaps(range) }, spans: spans)
        } else {
            spans += typicalCodes(in: reading.text, tokens: tokens, spans: spans)
            reading.answer = invalid ?? attempt(in: reading, tokens: tokens, spans: spans)
            if reading.answer != nil, tokens == [reading.text.trimmed(0..<reading.text.scalars.count)] {
                reading.isBare = true
                spans = []
            }
        }
        reading.slots = once(spans, preferLast: reading.corrects)
        if let start = corrects ? 0 : replacement {
            reading.corrected = Set(spans.filter { $0.range.lowerBound >= start }.map(\.value.name))
        }
        for word in changes {
            for span in spans where isNamed(span.value.name, beside: word, in: reading.text) { reading.corrected.insert(span.value.name) }
        }
        return reading
    }

    /// Whether a slot is what is to be changed: 「换个地址」, 「电话改一下」, and not the order in 「改一下地址，订单…」.
    private func isNamed(_ slot: String, beside word: [Unicode.Scalar], in text: Folded) -> Bool {
        guard let place = text.position(of: word), let names = domain.slots[slot]?.names else { return false }
        return names.contains { name in
            guard let named = text.position(of: name) else { return false }
            return named >= place ? named - place - word.count <= 3 : place - named - name.count <= 3
        }
    }

    // MARK: Recognised slots

    /// The spans that are likely enough and fit their slot. Where one is labelled as what was asked for and does not fit, `invalid` says so.
    private func fittingSpans(
        _ recognition: Recognition, _ reading: inout Reading, tokens: [Range<Int>], invalid: inout Reading.Answer?
    ) -> [Span] {
        var spans: [Span] = []
        for slot in recognition.slots {
            guard slot.confidence >= domain.thresholds.slot, let labelled = domain.slots[slot.value.name] else { continue }
            let range = slot.range.clamped(to: 0..<reading.text.scalars.count)
            // Two numbers that were heard as one are read one by one.
            if labelled.kind.isCode, tokens.count > 1,
                tokens.count(where: { range.lowerBound <= $0.lowerBound && $0.upperBound <= range.upperBound }) > 1
            {
                continue
            }
            let definition = relabelled(slot.value, labelled)
            if let value = standard(slot.value, definition) {
                spans.append(Span(value: value, range: range, isCode: definition.kind.isCode))
                continue
            }
            if asked.contains(labelled.name), labelled.name == definition.name {
                invalid = .invalid(slot: labelled.name, value: slot.value.value)
            }
            if labelled.kind.isCode, !slot.value.value.isEmpty { reading.misfits.append(slot.value) }
        }
        return spans
    }

    /// The slot of which a value is typical, where it is not typical of the one it was recognised as: a mobile number is no order number.
    private func relabelled(_ value: SlotValue, _ labelled: SlotDefinition) -> SlotDefinition {
        guard labelled.kind.isCode, let typical = labelled.typical else { return labelled }
        let code = Folded.code(value.value.unicodeScalars)
        guard !typical.matches(code) else { return labelled }
        let other = domain.codes.first { $0.name != labelled.name && $0.typical?.matches(code) ?? false && $0.accepts(code) }
        guard let other, other.kind == .phone || !asked.contains(labelled.name) else { return labelled }
        return other
    }

    /// The value in standard form; nil where it does not fit the slot.
    private func standard(_ value: SlotValue, _ definition: SlotDefinition) -> SlotValue? {
        guard !value.value.isEmpty else { return nil }
        let text = value.normalized.isEmpty ? value.value : value.normalized
        let normalized = definition.normalizer.normalize(Array(text.unicodeScalars), clock: clock)
        guard definition.accepts(normalized) else { return nil }
        return SlotValue(name: definition.name, value: value.value, normalized: Folded.string(normalized))
    }

    private func once(_ spans: [Span], preferLast: Bool) -> [SlotValue] {
        var values: [SlotValue] = []
        for span in preferLast ? spans.reversed() : spans where !values.contains(where: { $0.name == span.value.name }) {
            values.append(span.value)
        }
        return values
    }

    /// Numbers that are typical of a slot, although the model saw none in them.
    private func typicalCodes(in text: Folded, tokens: [Range<Int>], spans: [Span]) -> [Span] {
        var found: [Span] = []
        for range in tokens where !spans.contains(where: { $0.range.overlaps(range) }) {
            let code = Folded.code(text.scalars[range])
            guard let slot = domain.codes.first(where: { $0.typical?.matches(code) ?? false && $0.accepts(code) }),
                !spans.contains(where: { $0.value.name == slot.name })
            else { continue }
            let normalized = slot.normalizer.normalize(code, clock: clock)
            found.append(
                Span(
                    value: SlotValue(name: slot.name, value: text.written(range), normalized: Folded.string(normalized)), range: range,
                    isCode: true))
        }
        return found
    }

    // MARK: The answer to the open question

    /// The slots whose value answers the open question.
    private var asked: [String] {
        if case .slot(let name) = question { flow?.group(of: name) ?? [name] } else { [] }
    }

    /// The value that answers, and where it stands.
    private func answer(in reading: Reading, tokens: [Range<Int>], spans: [Span]) -> (SlotValue, Range<Int>)? {
        if let picked = picked(reading.text) { return (picked, reading.text.trimmed(0..<reading.text.scalars.count)) }
        let labelled = reading.corrects ? spans.last { asked.contains($0.value.name) } : spans.first { asked.contains($0.value.name) }
        if let labelled { return (labelled.value, labelled.range) }
        if let code = code(in: reading.text, tokens: tokens, spans: spans) { return code }
        return freeText(in: reading)
    }

    /// One of the two values between which the bot asked to choose: 「后面那个」.
    private func picked(_ text: Folded) -> SlotValue? {
        guard case .slot(let name) = question, let rival = session.rival, rival.name == name else { return nil }
        guard let choice = domain.lexicon.choice(in: text) else { return nil }
        return choice == 0 ? session.slots[name] : rival
    }

    /// A bare number or code that fits what was asked for, whatever the model took it for.
    private func code(in text: Folded, tokens: [Range<Int>], spans: [Span]) -> (SlotValue, Range<Int>)? {
        let open: Bool
        let names: [String]
        switch question {
        // At a confirmation nothing was asked for: a number is a new one, and may not replace another unsaid.
        case .none, .confirmation: return nil
        case .slot: (open, names) = (true, asked)
        // Nothing is asked by name: only what is typical of one of the flow's slots is taken.
        case .correction: (open, names) = (false, flow?.slots ?? [])
        }
        guard !tokens.isEmpty else { return nil }
        let wanted = names.compactMap { domain.slots[$0] }.filter(\.kind.isCode)
        guard !wanted.isEmpty else { return nil }
        for range in tokens {
            // Part of an address or of a product's name.
            if spans.contains(where: { !$0.isCode && $0.range.overlaps(range) && $0.range.count > range.count }) { continue }
            let code = Folded.code(text.scalars[range])
            let typical = wanted.first { $0.typical?.matches(code) ?? false && $0.accepts(code) }
            let isOther =
                typical == nil && domain.codes.contains { !names.contains($0.name) && $0.typical?.matches(code) ?? false }
            guard let slot = typical ?? (open && !isOther ? wanted.first { $0.accepts(code) } : nil) else { continue }
            let normalized = slot.normalizer.normalize(code, clock: clock)
            return (SlotValue(name: slot.name, value: text.written(range), normalized: Folded.string(normalized)), range)
        }
        return nil
    }

    /// The message itself as the value, where that is plausible: no question, no other business.
    private func freeText(in reading: Reading) -> (SlotValue, Range<Int>)? {
        guard case .slot(let name) = question, let slot = domain.slots[name], let pattern = slot.freeText else { return nil }
        guard !reading.isQuestion, !reading.isUnknown, !domain.lexicon.affirm.contains(reading.text.compact),
            !domain.lexicon.decline.contains(reading.text.compact),
            !reading.understood || reading.intent == "inform" || reading.intent == flow?.name || corrects(reading)
        else { return nil }
        let text = reading.text
        var range = text.trimmed(start(of: slot, in: text)..<text.scalars.count)
        if slot.kind != .text || !slot.pattern.matches(text.scalars[range]) || slot.normalizer == .attribute {
            range = withoutTrail(range, in: text)
        }
        guard !range.isEmpty, pattern.occurs(in: text.scalars[range]) else { return nil }
        let normalized = slot.normalizer.normalize(text.scalars[range], clock: clock)
        guard slot.accepts(normalized) else { return nil }
        return (SlotValue(name: name, value: text.written(range), normalized: Folded.string(normalized)), range)
    }

    /// 「不是，是张三」 where a name was asked for.
    private func corrects(_ reading: Reading) -> Bool { reading.corrects && reading.intent == "deny" }

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
            for word in domain.lexicon.link where text.stands(word, at: start) {
                start += word.count
                moved = true
            }
        }
        return start
    }

    /// The range without the words that stand behind a value: 「明天下午吧」「大一码的」.
    private func withoutTrail(_ range: Range<Int>, in text: Folded) -> Range<Int> {
        var range = range
        var moved = true
        while moved {
            moved = false
            for word in domain.lexicon.trail where range.count > word.count && text.stands(word, at: range.upperBound - word.count) {
                range = text.trimmed(range.lowerBound..<range.upperBound - word.count)
                moved = true
            }
        }
        return range
    }

    /// A number that was meant as the answer and does not fit.
    private func attempt(in reading: Reading, tokens: [Range<Int>], spans: [Span]) -> Reading.Answer? {
        guard case .slot(let name) = question, domain.slots[name]?.kind.isCode ?? false else { return nil }
        let whole = reading.text.trimmed(0..<reading.text.scalars.count)
        for range in tokens where range == whole || !reading.understood || reading.intent == "inform" {
            if spans.contains(where: { $0.range.overlaps(range) && ($0.isCode || range != whole) }) { continue }
            return .invalid(slot: name, value: reading.text.written(range))
        }
        return nil
    }
}
