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
    /// The slots for which the message has more than one value, each with its values in their order; none of them is in ``slots``.
    var several: [Choice] = []
    /// What was recognised as a code and does not fit its slot.
    var misfits: [SlotValue] = []
    var answer: Answer?
    /// The message is nothing but a value that answers.
    var isBare = false
    /// The message says that something said before is wrong, or is to be another.
    var corrects = false
    /// The slots that it explicitly corrects.
    var corrected: Set<String> = []
    /// Where the message takes back what it said before: of one slot's values those behind count.
    var turningPoint: Int?
    var isQuestion = false
    /// The customer says not to know.
    var isUnknown = false

    /// The answer's value, where it fits.
    var answeredValue: SlotValue? {
        if case .value(let value) = answer { value } else { nil }
    }

    func means(_ intent: String) -> Bool { understood && self.intent == intent }
}

/// Different values of one slot of which one is to be chosen.
struct Choice {
    /// More than so many values of a message are not told apart.
    static let limit = 4

    let slot: String
    let values: [SlotValue]
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
        var value: SlotValue
        var range: Range<Int>
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
        reading.isQuestion = domain.lexicon.question.occurs(in: reading.text)
        reading.isUnknown = domain.lexicon.unknown.occurs(in: reading.text)
        let replacements = domain.lexicon.replacement.positions(in: reading.text)
        let replacement = (replacements + domain.lexicon.another.positions(in: reading.text)).min()
        let corrections = domain.lexicon.correction.filter { $0.parts.count == 1 || !reading.isQuestion }.compactMap {
            $0.position(in: reading.text)
        }
        let corrects = reading.means("deny") || !corrections.isEmpty
        let changes = domain.lexicon.change.all(in: reading.text)
        reading.corrects = corrects || replacement != nil || !changes.isEmpty
        reading.turningPoint = (corrections + replacements).max()

        let tokens = reading.text.tokens()
        var invalid: Reading.Answer?
        let whole = reading.text.trimmed(0..<reading.text.scalars.count)
        var spans = meant(fittingSpans(recognition, &reading, tokens: tokens, invalid: &invalid), reading)
        let answers = answers(in: reading, tokens: tokens, spans: spans)
        if let answer = answers.first {
            // A number that answers is nothing else; a free text may well hold other slots.
            if domain.slots[answer.value.name]?.kind.isCode ?? false {
                spans.removeAll { span in span.value.name != answer.value.name && answers.contains { $0.range.overlaps(span.range) } }
            }
            spans.removeAll { $0.value.name == answer.value.name }
            let rest = tokens.filter { token in !answers.contains { $0.range.overlaps(token) } }
            spans += answers + typicalCodes(in: reading.text, tokens: rest, spans: spans)
        } else {
            spans += typicalCodes(in: reading.text, tokens: tokens, spans: spans)
            reading.answer = invalid ?? attempt(in: reading, tokens: tokens, spans: spans)
            if reading.answer != nil, tokens == [whole] {
                reading.isBare = true
                spans = []
            }
        }
        spans = settled(meant(spans, reading), &reading)
        if let answer = answers.first, let span = spans.first(where: { $0.value.name == answer.value.name }) {
            reading.answer = .value(span.value)
            reading.isBare = span.range == whole
        }
        reading.slots = spans.map(\.value)
        if let start = corrects ? 0 : replacement {
            reading.corrected = Set(spans.filter { $0.range.lowerBound >= start }.map(\.value.name))
            if corrects { reading.corrected.formUnion(reading.several.map(\.slot)) }
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
            let definition = relabelled(slot.value, labelled, at: range, in: reading.text)
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
    private func relabelled(_ value: SlotValue, _ labelled: SlotDefinition, at range: Range<Int>, in text: Folded) -> SlotDefinition {
        guard labelled.kind.isCode, let typical = labelled.typical else { return labelled }
        if named(before: range, in: text)?.name == labelled.name { return labelled }
        let code = Folded.code(value.value.unicodeScalars)
        guard !typical.matches(code) else { return labelled }
        let other = domain.codes.first { $0.name != labelled.name && $0.typical?.matches(code) ?? false && $0.accepts(code) }
        guard let other, other.kind == .phone || !asked.contains(labelled.name) || asked.contains(other.name) else { return labelled }
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

    /// The spans without those that the message itself takes back: 「不是张三」, 「202411110001，不对，是202411110002」.
    private func meant(_ spans: [Span], _ reading: Reading) -> [Span] {
        var spans = spans
        let negations = reading.isQuestion || spans.isEmpty ? [] : domain.lexicon.negation.all(in: reading.text)
        if !negations.isEmpty { spans.removeAll { isNegated($0, by: negations, in: reading.text) } }
        guard let point = reading.turningPoint else { return spans }
        let renewed = Set(spans.filter { $0.range.lowerBound >= point }.map(\.value.name))
        return spans.filter { $0.range.lowerBound >= point || !renewed.contains($0.value.name) }
    }

    /// Whether a word such as 不是 stands before the value, or before the slot's name before it; 「是不是」 is a question.
    private func isNegated(_ span: Span, by words: [[Unicode.Scalar]], in text: Folded) -> Bool {
        let names = domain.slots[span.value.name]?.names ?? []
        return words.contains { word in
            ([[]] + names).contains { name in
                let start = span.range.lowerBound - name.count - word.count
                guard text.stands(word, at: start), name.isEmpty || text.stands(name, at: start + word.count) else { return false }
                return start == 0 || text.lowered[start - 1] != word.last
            }
        }
    }

    /// One span a slot. Several values become one where the slot joins them; else which of them is meant is left open.
    private func settled(_ spans: [Span], _ reading: inout Reading) -> [Span] {
        guard spans.count > 1 else { return spans }
        var settled: [Span] = []
        for name in spans.map(\.value.name) where !settled.contains(where: { $0.value.name == name }) {
            guard let slot = domain.slots[name], !reading.several.contains(where: { $0.slot == name }) else { continue }
            var own: [Span] = []
            for span in spans where span.value.name == name && !own.contains(where: { $0.value.normalized == span.value.normalized }) {
                own.append(span)
            }
            // A time that is over stands beside one to come: 「昨天买的，明天送」.
            if own.count > 1, slot.past != nil, case let coming = own.filter({ !clock.isOver($0.value.normalized) }), !coming.isEmpty {
                own = coming
            }
            if own.count == 1 {
                settled.append(own[0])
                continue
            }
            own.sort { $0.range.lowerBound < $1.range.lowerBound }
            if !slot.joinsSeveral {
                reading.several.append(Choice(slot: name, values: own.prefix(Choice.limit).map(\.value)))
            } else if let whole = joined(own, slot, reading.text) {
                settled.append(whole)
            }
        }
        return settled
    }

    /// Values as one: as they are written where nothing but spaces and punctuation is between them. Where that does not fit the slot, the first.
    private func joined(_ spans: [Span], _ slot: SlotDefinition, _ text: Folded) -> Span? {
        var whole = spans[0]
        for span in spans.dropFirst() {
            let isAdjacent =
                whole.range.upperBound <= span.range.lowerBound
                && !text.scalars[whole.range.upperBound..<span.range.lowerBound].contains(where: Folded.isWord)
            whole.value.value += (isAdjacent ? text.written(whole.range.upperBound..<span.range.lowerBound) : "、") + span.value.value
            whole.range = whole.range.lowerBound..<max(whole.range.upperBound, span.range.upperBound)
        }
        let normalized = slot.normalizer.normalize(Array(whole.value.value.unicodeScalars), clock: clock)
        guard slot.accepts(normalized) else { return spans.first }
        whole.value.normalized = Folded.string(normalized)
        return whole
    }

    /// Numbers that are typical of a slot, although the model saw none in them. The name of a slot before a number says more than its look.
    private func typicalCodes(in text: Folded, tokens: [Range<Int>], spans: [Span]) -> [Span] {
        var found: [Span] = []
        for range in tokens where !spans.contains(where: { $0.range.overlaps(range) }) {
            let code = Folded.code(text.scalars[range])
            guard let typical = domain.codes.first(where: { $0.typical?.matches(code) ?? false && $0.accepts(code) }) else { continue }
            let slot = named(before: range, in: text).flatMap { $0.accepts(code) ? $0 : nil } ?? typical
            found.append(span(of: slot, code, at: range, in: text))
        }
        return found
    }

    private func span(of slot: SlotDefinition, _ code: [Unicode.Scalar], at range: Range<Int>, in text: Folded) -> Span {
        let normalized = slot.normalizer.normalize(code, clock: clock)
        let value = SlotValue(name: slot.name, value: text.written(range), normalized: Folded.string(normalized))
        return Span(value: value, range: range, isCode: slot.kind.isCode)
    }

    /// The slot of codes whose name stands right before a number: 「快递单号：77…」; of 快递单号 and 单号 the longer counts.
    private func named(before range: Range<Int>, in text: Folded) -> SlotDefinition? {
        let end = text.trimmed(0..<range.lowerBound).upperBound
        var best: (slot: SlotDefinition, length: Int)?
        for slot in domain.codes {
            for name in slot.names {
                let isThere = [0, 1].contains { text.stands(name, at: end - name.count - $0) && ($0 == 0 || text.lowered[end - 1] == "是") }
                if isThere, name.count > best?.length ?? 0 { best = (slot, name.count) }
            }
        }
        return best?.slot
    }

    // MARK: The answer to the open question

    /// The slots whose value answers the open question.
    private var asked: [String] {
        if case .slot(let name) = question { flow?.group(of: name) ?? [name] } else { [] }
    }

    /// The value that answers, and where it stands; more than one where the message has several of the slot.
    private func answers(in reading: Reading, tokens: [Range<Int>], spans: [Span]) -> [Span] {
        if let picked = picked(reading.text) {
            let whole = reading.text.trimmed(0..<reading.text.scalars.count)
            return [Span(value: picked, range: whole, isCode: domain.slots[picked.name]?.kind.isCode ?? false)]
        }
        if let first = spans.first(where: { asked.contains($0.value.name) }) { return spans.filter { $0.value.name == first.value.name } }
        let codes = meant(codes(in: reading.text, tokens: tokens, spans: spans), reading)
        if let first = codes.first { return codes.filter { $0.value.name == first.value.name } }
        return freeText(in: reading).map { [$0] } ?? []
    }

    /// One of the values between which the bot asked to choose: 「后面那个」.
    private func picked(_ text: Folded) -> SlotValue? {
        guard case .slot(let name) = question, session.rivals.first?.name == name else { return nil }
        let values = (session.slots[name].map { [$0] } ?? []) + session.rivals
        guard let choice = domain.lexicon.choice(in: text), values.indices.contains(choice) else { return nil }
        return values[choice]
    }

    /// Bare numbers or codes that fit what was asked for, whatever the model took them for.
    private func codes(in text: Folded, tokens: [Range<Int>], spans: [Span]) -> [Span] {
        let open: Bool
        let names: [String]
        switch question {
        // At a confirmation nothing was asked for: a number is a new one, and may not replace another unsaid.
        case .none, .confirmation: return []
        case .slot: (open, names) = (true, asked)
        // Nothing is asked by name: only what is typical of one of the flow's slots is taken.
        case .correction: (open, names) = (false, flow?.slots ?? [])
        }
        guard !tokens.isEmpty else { return [] }
        let wanted = names.compactMap { domain.slots[$0] }.filter(\.kind.isCode)
        guard !wanted.isEmpty else { return [] }
        var found: [Span] = []
        for range in tokens {
            // Part of an address or of a product's name.
            if spans.contains(where: { !$0.isCode && $0.range.overlaps(range) && $0.range.count > range.count }) { continue }
            let code = Folded.code(text.scalars[range])
            let typical = wanted.first { $0.typical?.matches(code) ?? false && $0.accepts(code) }
            let isOther =
                typical == nil && domain.codes.contains { !names.contains($0.name) && $0.typical?.matches(code) ?? false }
            guard let slot = typical ?? (open && !isOther ? wanted.first { $0.accepts(code) } : nil) else { continue }
            found.append(span(of: slot, code, at: range, in: text))
        }
        return found
    }

    /// The message itself as the value, where that is plausible: no question, no other business.
    private func freeText(in reading: Reading) -> Span? {
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
        let value = SlotValue(name: name, value: text.written(range), normalized: Folded.string(normalized))
        return Span(value: value, range: range, isCode: false)
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
