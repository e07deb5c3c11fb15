// flows.yaml, rules.yaml and replies.yaml: what refers to intents and slots.

extension DomainLoader {
    func loadFlows(_ root: Element, intents: [String: Element], slots: [String: SlotDefinition]) -> [String: FlowDefinition] {
        var flows: [String: FlowDefinition] = [:]
        for (key, name, value) in root.entries() ?? [] {
            if intents[name] == nil { key.reportUnknown("intent", name, among: intents.keys) }
            let fields = value.fields(
                required: ["title", "begin", "done"], optional: ["required", "any", "optional", "confirm", "prompts", "cancel_words"])
            let title = fields["title"]?.string() ?? name
            let prompts = fields["prompts"].map { loadFlowPrompts($0, slots: slots) } ?? [:]

            var used: Set<String> = []
            func names(_ key: String) -> [String] {
                var names: [String] = []
                for (slot, element) in fields[key]?.strings() ?? [] {
                    if slots[slot] == nil {
                        element.reportUnknown("slot", slot, among: slots.keys)
                    } else if !used.insert(slot).inserted {
                        element.report("'\(slot)' is in '\(value.path)' twice")
                    } else if slots[slot]?.prompts == nil, prompts[slot] == nil {
                        element.report("nobody asks for '\(slot)': 'slots.\(slot).ask' or '\(value.path).prompts.\(slot)' was expected")
                    } else {
                        names.append(slot)
                    }
                }
                return names
            }
            let required = names("required")
            let any = names("any")
            let optional = names("optional")
            if used.isEmpty, fields["required"] == nil, fields["any"] == nil {
                value.report(
                    "'\(value.path)' has neither 'required' nor 'any': a flow asks for something; without a question it is an answer")
            }
            for (key, slot, _) in fields["prompts"]?.entries() ?? [] where slots[slot] != nil && !used.contains(slot) {
                key.report("'\(value.path)' has prompts for '\(slot)', which is not one of its slots")
            }

            // Where a slot's name is wrong already, its templates are not blamed for it.
            let known = used.count == ["required", "any", "optional"].reduce(0) { $0 + (fields[$1]?.strings().count ?? 0) }
            let always = Set(required).union(any.isEmpty ? [] : [Self.reference]).union(known ? [] : Array(slots.keys))
            let ended = WordingScope(always: always, optional: Set(any + optional).subtracting(known ? [] : Array(slots.keys)))
            flows[name] = FlowDefinition(
                name: name, title: title, required: required, any: any, optional: optional, prompts: prompts,
                cancelWords: Self.words(fields["cancel_words"]),
                begin: fields["begin"].map { wordings($0, WordingScope(optional: used)) } ?? Wordings(templates: []),
                confirm: fields["confirm"].map {
                    wordings($0, WordingScope(always: always, optional: ended.optional, mustName: known ? required + optional : []))
                },
                done: fields["done"].map { wordings($0, ended) } ?? Wordings(templates: []))
        }
        return flows
    }

    /// The name by which a flow's replies call the slot of `any` that the customer gave, with its label.
    static let reference = "reference"

    private func loadFlowPrompts(_ root: Element, slots: [String: SlotDefinition]) -> [String: Prompts] {
        var prompts: [String: Prompts] = [:]
        for (key, slot, value) in root.entries() ?? [] {
            if slots[slot] == nil { key.reportUnknown("slot", slot, among: slots.keys) }
            let fields = value.fields(required: ["ask"], optional: ["ask_again"])
            prompts[slot] = loadPrompts(ask: fields["ask"], again: fields["ask_again"], path: value)
        }
        return prompts
    }

    func loadRules(_ root: Element, intents: [String: Element], slots: [String: SlotDefinition]) -> [Rule] {
        var rules: [Rule] = []
        var names: Set<String> = []
        for item in root.items() ?? [] {
            let fields = item.fields(required: ["name", "intent", "then", "reply"], optional: ["times"])
            let name = fields["name"]?.string()
            if let name, !names.insert(name).inserted { fields["name"]?.report("a rule named '\(name)' stands above already") }
            let intent = fields["intent"]?.string()
            if let intent, intents[intent] == nil { fields["intent"]?.reportUnknown("intent", intent, among: intents.keys) }
            let times = fields["times"].map { $0.integer(in: 1...100) ?? 1 } ?? 1
            let effects = Rule.Effect.allCases.map(\.rawValue)
            let then = fields["then"]?.string()
            let effect = then.flatMap(Rule.Effect.init)
            if let then, effect == nil { fields["then"]?.reportUnknown("effect", then, among: effects) }
            let reply = fields["reply"].map { wordings($0, WordingScope(optional: Set(slots.keys))) }
            guard let intent else { continue }
            if let earlier = rules.first(where: { $0.intent == intent && $0.times <= times }) {
                item.report("this rule is never reached: '\(earlier.name)' above holds whenever it does")
            }
            rules.append(
                Rule(name: name ?? intent, intent: intent, times: times, effect: effect ?? .answer, reply: reply ?? Wordings(templates: []))
            )
        }
        return rules
    }

    func loadReplies(
        _ root: Element, intents: [String: Element], slots: [String: SlotDefinition]
    ) -> (answers: [String: Wordings], messages: [StandardReply: Wordings]) {
        let fields = root.fields(required: ["answers", "messages"])
        var answers: [String: Wordings] = [:]
        for (key, name, value) in fields["answers"]?.entries() ?? [] {
            if intents[name] == nil { key.reportUnknown("intent", name, among: intents.keys) }
            answers[name] = wordings(value, WordingScope(optional: Set(slots.keys)))
        }
        var messages: [StandardReply: Wordings] = [:]
        let values = fields["messages"]?.fields(required: StandardReply.allCases.map(\.rawValue)) ?? [:]
        for message in StandardReply.allCases {
            messages[message] = values[message.rawValue].map { wordings($0, WordingScope(always: message.variables)) }
        }
        return (answers, messages)
    }
}
