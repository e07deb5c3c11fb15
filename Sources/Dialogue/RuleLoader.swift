// rules.yaml and replies.yaml: what refers to intents and slots.

extension DomainLoader {
    func loadRules(_ root: Element, intents: [String: Element], slots: [String: SlotDefinition]) -> [Rule] {
        var rules: [(rule: Rule, place: Element)] = []
        var names: Set<String> = []
        for item in root.items() ?? [] {
            let fields = item.fields(required: ["name", "when", "then"], optional: ["priority", "reply"])
            let name = fields["name"]?.string()
            if let name, !names.insert(name).inserted { fields["name"]?.report("a rule named '\(name)' stands above already") }
            let effect = fields["then"]?.choice("effect", Rule.Effect.self)
            let reply = fields["reply"].map { wordings($0, WordingScope(optional: Set(slots.keys))) }
            if effect == .notUnderstood {
                fields["reply"]?.report("this is never said: 'messages.not_understood' and what follows it are")
            } else if effect != nil, reply == nil {
                item.report("'\(item.path)' has no 'reply'")
            }
            guard let when = fields["when"] else { continue }
            let rule = Rule(
                name: name ?? "", priority: fields["priority"]?.integer(in: -1000...1000) ?? 0,
                when: condition(when, intents: intents, slots: slots), effect: effect ?? .answer, reply: reply ?? Wordings(templates: []))
            rules.append((rule, item))
        }
        // Stable: among equals the order of the file decides.
        let sorted = rules.enumerated().sorted { ($1.element.rule.priority, $0.offset) < ($0.element.rule.priority, $1.offset) }.map(
            \.element)
        for (index, (rule, place)) in sorted.enumerated() {
            if let earlier = sorted[..<index].first(where: { $0.rule.when.covers(rule.when) }) {
                place.report("this rule is never reached: '\(earlier.rule.name)' comes first and holds whenever it does")
            }
        }
        return sorted.map(\.rule)
    }

    /// A condition. Of a flow's conditions only what can be asked between messages is allowed.
    func condition(
        _ element: Element, intents: [String: Element], slots: [String: SlotDefinition], ofFlow: Bool = false
    ) -> Condition {
        let state = ["filled", "empty", "matches", "hours"]
        let message = ["intent", "confidence_from", "confidence_below", "times", "repeats", "words", "text"]
        let found = element.file.findings.diagnostics.count
        let fields = element.fields(required: [], optional: ofFlow ? state : message + state)
        var condition = Condition()
        if fields.isEmpty { element.report("'\(element.path)' names nothing; at least one condition was expected") }
        for (name, item) in fields["intent"]?.strings() ?? [] {
            if intents[name] == nil { item.reportUnknown("intent", name, among: intents.keys) }
            condition.intents.insert(name)
        }
        condition.confidenceFrom = fields["confidence_from"]?.probability()
        condition.confidenceBelow = fields["confidence_below"]?.probability()
        if let from = condition.confidenceFrom, let below = condition.confidenceBelow, from >= below {
            fields["confidence_below"]?.report("this is never so: a confidence from \(from) is not below \(below)")
        }
        condition.times = fields["times"].map { $0.integer(in: 1...100) ?? 1 } ?? 1
        condition.repeats = fields["repeats"].map { $0.integer(in: 1...100) ?? 1 } ?? 1
        condition.words = WordList(Self.words(fields["words"]))
        condition.text = fields["text"]?.pattern()
        condition.hours = fields["hours"]?.hours()
        condition.filled = slotNames(fields["filled"], slots)
        condition.empty = slotNames(fields["empty"], slots)
        if let slot = condition.empty.first(where: condition.filled.contains) {
            fields["empty"]?.report("this is never so: '\(slot)' cannot be filled and empty")
        }
        for (key, slot, value) in fields["matches"]?.entries() ?? [] {
            if slots[slot] == nil { key.reportUnknown("slot", slot, among: slots.keys) }
            if let pattern = value.pattern() { condition.matches.append((slot, pattern)) }
        }
        condition.isSound = element.file.findings.diagnostics.count == found
        return condition
    }

    private func slotNames(_ element: Element?, _ slots: [String: SlotDefinition]) -> [String] {
        (element?.strings() ?? []).compactMap { name, item in
            if slots[name] == nil { item.reportUnknown("slot", name, among: slots.keys) }
            return slots[name] == nil ? nil : name
        }
    }

    func loadReplies(
        _ root: Element, intents: [String: Element], slots: [String: SlotDefinition]
    ) -> (answers: [String: (wordings: Wordings, place: Element)], messages: [StandardReply: Wordings]) {
        let fields = root.fields(required: ["answers", "messages"])
        var answers: [String: (Wordings, Element)] = [:]
        for (key, name, value) in fields["answers"]?.entries() ?? [] {
            if intents[name] == nil { key.reportUnknown("intent", name, among: intents.keys) }
            answers[name] = (wordings(value, WordingScope(optional: Set(slots.keys))), key)
        }
        var messages: [StandardReply: Wordings] = [:]
        let values = fields["messages"]?.fields(required: StandardReply.allCases.map(\.rawValue)) ?? [:]
        for message in StandardReply.allCases {
            messages[message] = values[message.rawValue].map { wordings($0, WordingScope(always: message.variables)) }
        }
        return (answers, messages)
    }
}
