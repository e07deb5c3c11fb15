// flows.yaml: what the flows refer to must be there, and what they say must be known.

extension DomainLoader {
    /// The name by which a flow's replies call the slot of `any` that the customer gave, with its label.
    static let reference = "reference"

    func loadFlows(_ root: Element, intents: [String: Element], slots: [String: SlotDefinition]) -> [String: FlowDefinition] {
        var flows: [String: FlowDefinition] = [:]
        var steps: [FlowStep] = []
        let entries = root.entries() ?? []
        let names = entries.map(\.name)
        for (_, name, value) in entries {
            let loader = FlowLoader(loader: self, name: name, value: value, slots: slots, flows: names)
            flows[name] = loader.load(&steps)
        }
        let reached = Set(steps.map(\.to))
        for (key, name, _) in entries where intents[name] == nil && !reached.contains(name) {
            key.reportUnknown("intent", name, among: intents.keys)
        }
        reportCycles(steps)
        return flows
    }

    /// A flow that leads to itself, over one step or many, would never end.
    private func reportCycles(_ steps: [FlowStep]) {
        for step in steps {
            var path = [step.from]
            var name: String? = step.to
            while let next = name, !path.contains(next) {
                path.append(next)
                name = steps.first { $0.from == next }?.to
            }
            // Each cycle is reported once, at the first of its steps.
            guard name == step.from, path.min() == step.from else { continue }
            step.place.report(
                "'\(step.from)' leads to itself: \((path + [step.from]).joined(separator: " → ")); a flow must come to an end")
        }
    }
}

/// One flow leads to another.
struct FlowStep {
    let from: String
    let to: String
    let place: Element
}

/// Reads one flow.
private struct FlowLoader {
    let loader: DomainLoader
    let name: String
    let value: Element
    let slots: [String: SlotDefinition]
    let flows: [String]

    func load(_ steps: inout [FlowStep]) -> FlowDefinition {
        let fields = value.fields(
            required: ["title", "begin", "done"],
            optional: [
                "required", "any", "optional", "conditions", "future", "confirm", "prompts", "cancel_words", "affirm_words", "action",
                "next",
            ])
        let title = fields["title"]?.string() ?? name
        let prompts = fields["prompts"].map(loadPrompts) ?? [:]
        var used: Set<String> = []
        let required = slotNames(fields["required"], prompts, &used)
        let any = slotNames(fields["any"], prompts, &used)
        let optional = slotNames(fields["optional"], prompts, &used)
        let conditions = fields["conditions"].map { loadConditions($0, prompts, &used) } ?? []
        if used.isEmpty, fields["required"] == nil, fields["any"] == nil {
            value.report(
                "'\(value.path)' has neither 'required' nor 'any': a flow asks for something; without a question it is an answer")
        }
        for (key, slot, _) in fields["prompts"]?.entries() ?? [] where slots[slot] != nil && !used.contains(slot) {
            key.report("'\(value.path)' has prompts for '\(slot)', which is not one of its slots")
        }
        if let element = fields["affirm_words"], fields["confirm"] == nil {
            element.report("'\(element.path)' is never reached: the flow has no 'confirm'")
        }

        // Where a slot's name is wrong already, its templates are not blamed for it.
        let listed = ["required", "any", "optional"].reduce(0) { $0 + (fields[$1]?.strings().count ?? 0) }
        let known = required.count + any.count + optional.count == listed
        let always = Set(required).union(any.isEmpty ? [] : [DomainLoader.reference]).union(known ? [] : Array(slots.keys))
        let optionally = Set(any + optional + conditions.flatMap(\.require)).subtracting(known ? [] : Array(slots.keys))
        let ended = WordingScope(always: always, optional: optionally)
        let confirmed = WordingScope(always: always, optional: optionally, mustName: known ? required + optional : [])
        return FlowDefinition(
            name: name, title: title, required: required, any: any, optional: optional, conditions: conditions,
            future: fields["future"].map { times($0, used) } ?? [], prompts: prompts,
            cancelWords: WordList(DomainLoader.words(fields["cancel_words"])), affirmWords: Set(DomainLoader.words(fields["affirm_words"])),
            begin: fields["begin"].map { loader.wordings($0, WordingScope(optional: used)) } ?? Wordings(templates: []),
            confirm: fields["confirm"].map { loader.wordings($0, confirmed) },
            action: fields["action"].flatMap { loadAction($0, ended, used, &steps) },
            done: fields["done"].map { loader.wordings($0, ended) } ?? Wordings(templates: []),
            next: fields["next"].flatMap { step(to: $0, &steps) })
    }

    /// The slots that an element lists; each must be known, new, and asked for by somebody.
    private func slotNames(_ element: Element?, _ prompts: [String: Prompts], _ used: inout Set<String>) -> [String] {
        var names: [String] = []
        for (slot, element) in element?.strings() ?? [] {
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

    private func loadPrompts(_ root: Element) -> [String: Prompts] {
        var prompts: [String: Prompts] = [:]
        for (key, slot, value) in root.entries() ?? [] {
            if slots[slot] == nil { key.reportUnknown("slot", slot, among: slots.keys) }
            let fields = value.fields(required: ["ask"], optional: ["ask_again"])
            prompts[slot] = loader.loadPrompts(ask: fields["ask"], again: fields["ask_again"], path: value)
        }
        return prompts
    }

    private func loadConditions(_ root: Element, _ prompts: [String: Prompts], _ used: inout Set<String>) -> [FlowCondition] {
        var conditions: [FlowCondition] = []
        for item in root.items() ?? [] {
            let fields = item.fields(required: ["when", "require"])
            let when = fields["when"].map { loader.condition($0, intents: [:], slots: slots, ofFlow: true) } ?? Condition()
            let require = slotNames(fields["require"], prompts, &used)
            if let slot = require.first(where: when.filled.contains) {
                item.report("this is never reached: it asks for '\(slot)' only where '\(slot)' is filled")
            }
            conditions.append(FlowCondition(when: when, require: require))
        }
        return conditions
    }

    /// Slots of type `time` that are the flow's.
    private func times(_ element: Element, _ used: Set<String>) -> Set<String> {
        var names: Set<String> = []
        for (slot, item) in element.strings() {
            if slots[slot] == nil {
                item.reportUnknown("slot", slot, among: slots.keys)
            } else if !used.contains(slot) {
                item.report("'\(slot)' is not one of the slots of '\(value.path)'")
            } else if slots[slot]?.kind != .time {
                item.report("'\(slot)' must be of type 'time' to be in '\(element.path)'")
            } else if slots[slot]?.past == nil {
                item.report("'slots.\(slot)' has no 'past': what is said of a time that is over")
            } else {
                names.insert(slot)
            }
        }
        return names
    }

    private func step(to element: Element, _ steps: inout [FlowStep]) -> String? {
        guard let next = element.string() else { return nil }
        guard flows.contains(next) else {
            element.reportUnknown("flow", next, among: flows)
            return nil
        }
        steps.append(FlowStep(from: name, to: next, place: element))
        return next
    }

    private func loadAction(_ root: Element, _ scope: WordingScope, _ used: Set<String>, _ steps: inout [FlowStep]) -> FlowAction? {
        let fields = root.fields(required: ["call", "results"])
        var branches: [String: ActionBranch] = [:]
        for (key, code, value) in fields["results"]?.entries() ?? [] {
            if code == ActionResult.unavailable.code {
                key.report(
                    "'\(code)' is what a backend never says: 'hand_off.failed_action' and 'messages.action_failed' decide what follows")
            }
            let branch = value.fields(required: ["say"], optional: ["gives", "then", "ask", "next"])
            // What only this result brings may be empty in a version of the backend that does not know it yet.
            var said = scope
            said.optional.formUnion(branch["gives"]?.strings().map(\.text) ?? [])
            let effects = ["then", "ask", "next"].filter { branch[$0] != nil }
            if effects.count > 1 {
                value.report("'\(value.path)' has \(effects.map { "'\($0)'" }.joined(separator: " and ")); one is expected")
            }
            let reply = branch["say"].map { loader.wordings($0, said) } ?? Wordings(templates: [])
            branches[code] = ActionBranch(reply: reply, effect: effect(branch, used, &steps))
        }
        if let element = fields["results"], branches.isEmpty, element.entries()?.isEmpty ?? false {
            element.report("'\(element.path)' has no result; at least 'ok' was expected")
        }
        return fields["call"]?.string().map { FlowAction(name: $0, branches: branches) }
    }

    private func effect(_ fields: [String: Element], _ used: Set<String>, _ steps: inout [FlowStep]) -> ActionBranch.Effect {
        if let element = fields["ask"], let slot = element.string() {
            if !used.contains(slot) { element.report("'\(slot)' is not one of the slots of '\(value.path)'") }
            return .ask(slot)
        }
        if let element = fields["next"], let next = step(to: element, &steps) { return .begin(next) }
        guard let element = fields["then"], let then = element.string() else { return .end }
        if then != "end", then != "hand_off" { element.reportUnknown("effect", then, among: ["end", "hand_off"]) }
        return then == "hand_off" ? .handOff : .end
    }
}
