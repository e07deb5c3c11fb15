// slots.yaml

extension DomainLoader {
    func loadSlots(_ root: Element) -> [String: SlotDefinition] {
        var slots: [String: SlotDefinition] = [:]
        for (key, name, value) in root.entries() ?? [] {
            if Self.reservedNames.contains(name) { key.report("no slot may be named '\(name)': the bot has a meaning of its own for it") }
            slots[name] = loadSlot(name, value)
        }
        return slots
    }

    private func loadSlot(_ name: String, _ value: Element) -> SlotDefinition {
        let fields = value.fields(
            required: ["label", "type", "pattern"],
            optional: ["normalizer", "also_called", "typical", "free_text", "sensitive", "several", "ask", "ask_again", "invalid", "past"])
        let kind = fields["type"]?.choice("type", SlotDefinition.Kind.self)
        let normalizer = fields["normalizer"]?.choice("normalizer", Normalizer.self)
        let label = fields["label"]?.string()
        if kind?.isCode ?? false, let element = fields["free_text"] {
            element.report("'\(element.path)' is for slots whose type is not 'code' or 'phone'; those are found by 'pattern'")
        }
        if let kind, !kind.isCode, let element = fields["typical"] {
            element.report("'\(element.path)' is for slots of type 'code' or 'phone'")
        }
        if let kind, kind != .text, let element = fields["several"] { element.report("'\(element.path)' is for slots of type 'text'") }
        if let kind, kind != .time, let element = fields["past"] { element.report("'\(element.path)' is for slots of type 'time'") }
        let prompts = loadPrompts(ask: fields["ask"], again: fields["ask_again"], path: value)
        let invalid = fields["invalid"].map { wordings($0, WordingScope(always: ["value"])) }
        if prompts != nil, invalid == nil {
            value.report("'\(value.path)' is asked for, and has no 'invalid': what is said of a value that does not fit")
        }
        // A slot with a fault is kept, so that what refers to it is not reported as well.
        return SlotDefinition(
            name: name, kind: kind ?? .text, normalizer: normalizer ?? Self.normalizer(of: kind ?? .text),
            names: [Folded.lowered(label ?? name)] + Self.words(fields["also_called"]), label: label ?? name,
            pattern: fields["pattern"]?.pattern() ?? .anything, typical: fields["typical"]?.pattern(),
            freeText: fields["free_text"]?.pattern(), isSensitive: fields["sensitive"]?.boolean() ?? false,
            joinsSeveral: fields["several"]?.boolean() ?? false, prompts: prompts, invalid: invalid,
            past: fields["past"].map { wordings($0, WordingScope(always: ["value"])) })
    }

    private static func normalizer(of kind: SlotDefinition.Kind) -> Normalizer {
        switch kind {
        case .code: .code
        case .phone: .phone
        case .text: .text
        case .amount: .amount
        case .time: .time
        }
    }

    /// The prompts of a slot; nil where there are none.
    func loadPrompts(ask: Element?, again: Element?, path: Element) -> Prompts? {
        guard let ask else {
            again?.report("'\(path.path)' has 'ask_again' but no 'ask'")
            return nil
        }
        let scope = WordingScope()
        let first = wordings(ask, scope)
        let repeated = again.map { wordings($0, scope).templates } ?? []
        if repeated.count > 3 { again?.report("'\(again?.path ?? "")' has \(repeated.count) wordings; up to 3 are expected") }
        return Prompts(ask: first, again: repeated)
    }
}
