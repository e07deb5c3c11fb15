import Conversation

// The flows: beginning, going on, confirming, ending, being cancelled and being resumed.
extension TurnDecision {
    // MARK: Which flow

    /// The flow that the message turns to, where it is not the one under way.
    func flowToEnter(_ reading: Reading) -> FlowDefinition? {
        guard turnsAway(reading), reading.intent != session.flows.last?.name else { return nil }
        return domain.flows[reading.intent]
    }

    /// Whether the message's intent is to be followed. An answer to the bot's question needs more to count as something else.
    private func turnsAway(_ reading: Reading) -> Bool {
        guard reading.understood else { return false }
        if saysLiterally(reading) { return false }
        return reading.answeredValue == nil || !reading.isBare && reading.confidence >= domain.thresholds.interruption
    }

    /// A plain 「好的」 or 「不是」 where the bot asked for a yes or no.
    private func saysLiterally(_ reading: Reading) -> Bool {
        guard question == .confirmation || question == .correction else { return false }
        return domain.lexicon.affirm.contains(reading.text.compact) || domain.lexicon.deny.contains(reading.text.compact)
    }

    /// Whether the flow under way takes the message: it answers the open question, or fills a slot of the flow.
    func isTakenByFlow(_ reading: Reading) -> Bool {
        guard let flow else { return false }
        if saysLiterally(reading) { return true }
        if turnsAway(reading), domain.answers[reading.intent] != nil { return false }
        return reading.answer != nil || !filled.isDisjoint(with: flow.slots) || !reading.understood && misnamed(reading, flow) != nil
    }

    // MARK: Beginning

    mutating func enter(_ next: FlowDefinition) {
        if let suspended = flow {
            if let index = session.flows.firstIndex(where: { $0.name == next.name }) {
                session.flows.remove(at: index)
            } else if session.flows.count > domain.limits.suspendedFlows {
                let oldest = session.flows.removeFirst()
                say(.gaveWay, [("flow", domain.flows[oldest.name]?.title ?? oldest.name)])
            }
            if domain.limits.suspendedFlows > 0 { prefix(.suspended, [("flow", suspended.title)]) }
        }
        session.flows.append(FlowInProgress(name: next.name))
        question = .none
        lead += text(next.begin, slots: mentioned)
        proceed()
    }

    // MARK: Going on

    /// Goes on with the flow under way after a message that belongs to it.
    mutating func goOn(_ reading: Reading) {
        guard let flow else { return }
        let changed = !filled.isDisjoint(with: flow.slots) || !conflicts(of: flow).isEmpty
        if changed || reading.answeredValue != nil { return proceed(acknowledging: true) }
        if case .invalid(let slot, let value) = reading.answer { return reject(value, for: slot) }
        if let slot = misnamed(reading, flow) { return ask(slot) }
        switch question {
        case .none: proceed()
        case .slot(let name): ask(name)
        case .confirmation where says(.yes, reading): finish()
        case .confirmation where says(.no, reading): askWhatToChange()
        case .confirmation: confirm()
        case .correction where says(.no, reading): drop(at: session.flows.count - 1)
        case .correction where says(.yes, reading): confirm()
        case .correction: askWhatToChange()
        }
    }

    /// The filled slot that the message calls wrong without giving another value: 「地址写错了」.
    private func misnamed(_ reading: Reading, _ flow: FlowDefinition) -> String? {
        guard question == .correction || reading.corrects, !reading.isQuestion else { return nil }
        return flow.slots.first { name in
            session.slots[name] != nil && domain.slots[name]?.names.contains(where: reading.text.contains) ?? false
        }
    }

    /// Takes the next step of the flow under way: asks, confirms or ends, and goes on with the flow that it suspended.
    mutating func proceed(acknowledging: Bool = false) {
        guard let flow else {
            session.awaiting = .nothing
            return
        }
        if acknowledging, lead.isEmpty { acknowledge(flow) }
        if let conflict = conflicts(of: flow).first {
            askWhich(conflict)
        } else if case .slot(let name) = question, session.slots[name] != nil, !filled.contains(name), mentioned[name] == nil {
            ask(name)
        } else if let name = flow.missing(in: session.slots.keys) {
            ask(name)
        } else if flow.confirm != nil {
            confirm()
        } else {
            finish()
        }
    }

    private mutating func acknowledge(_ flow: FlowDefinition) {
        if let slot = replaced.first(where: { flow.slots.contains($0.name) }) {
            prefix(.corrected, [("label", domain.slots[slot.name]?.label ?? slot.name), ("value", slot.value)])
        } else if !filled.isDisjoint(with: flow.slots) {
            prefix(.received)
        }
    }

    /// Values of the flow's slots that differ from what is filled.
    private func conflicts(of flow: FlowDefinition) -> [SlotValue] {
        conflicts.filter { flow.slots.contains($0.name) }
    }

    // MARK: Questions

    /// Asks the open question again, after something else was answered.
    mutating func askOpenQuestion(backTo: Bool = true) {
        guard let flow else {
            session.awaiting = .nothing
            return
        }
        if backTo { prefix(.backTo, [("flow", flow.title)]) }
        if !filled.isDisjoint(with: flow.slots) { return proceed() }
        switch question {
        case .none: proceed()
        case .slot(let name):
            session.awaiting = .slot(name)
            if let prompts = prompts(for: name) { say(prompts.ask) }
        case .confirmation: confirm()
        case .correction: askWhatToChange()
        }
    }

    private func prompts(for slot: String) -> Prompts? { flow?.prompts[slot] ?? domain.slots[slot]?.prompts }

    private mutating func ask(_ slot: String) {
        guard let prompts = prompts(for: slot) else { return }
        let times = session.flows.last?.asked.reversed().prefix { $0 == slot }.count ?? 0
        if question != .slot(slot) || times == 0 || prompts.again.isEmpty {
            say(prompts.ask)
        } else {
            say(prompts.again[min(times, prompts.again.count) - 1])
        }
        note(slot)
        session.awaiting = .slot(slot)
    }

    /// Says what is wrong with a value, and waits for another.
    private mutating func reject(_ value: String, for slot: String) {
        if let wordings = domain.slots[slot]?.invalid { say(wordings, [("value", value)]) }
        let asked = if case .slot(let name) = question { name } else { slot }
        note(asked)
        session.awaiting = .slot(asked)
    }

    /// Asks which of two values holds.
    mutating func askWhich(_ conflict: SlotValue) {
        let label = domain.slots[conflict.name]?.label ?? conflict.name
        say(.whichValue, [("label", label), ("value", session.slots[conflict.name]?.value ?? ""), ("other", conflict.value)])
        note(conflict.name)
        session.awaiting = .slot(conflict.name)
    }

    private mutating func confirm() {
        guard let flow, let wordings = flow.confirm else { return finish() }
        say(wordings, slots: session.slots, reference(of: flow))
        if session.flows.last?.asked.last != Step.confirmation { note(Step.confirmation) }
        session.awaiting = .confirmation
    }

    private mutating func askWhatToChange() {
        say(.whatToChange, [("flow", flow?.title ?? "")])
        if session.flows.last?.asked.last != Step.correction { note(Step.correction) }
        session.awaiting = .nothing
    }

    /// Remembers what the flow under way asks for.
    private mutating func note(_ step: String) {
        let last = session.flows.count - 1
        guard last >= 0 else { return }
        session.flows[last].asked.append(step)
        let surplus = session.flows[last].asked.count - Step.limit
        if surplus > 0 { session.flows[last].asked.removeFirst(surplus) }
    }

    // MARK: Ending

    private mutating func finish() {
        guard let flow else { return }
        say(flow.done, slots: session.slots, reference(of: flow))
        session.flows.removeLast()
        resume()
    }

    /// Drops a flow that the customer does not want any more.
    private mutating func drop(at index: Int) {
        let dropped = session.flows.remove(at: index)
        say(.cancelled, [("flow", domain.flows[dropped.name]?.title ?? dropped.name)])
        if index == session.flows.count { resume() } else { askOpenQuestion() }
    }

    /// Goes on with the flow that the one just ended had suspended.
    private mutating func resume() {
        question = .none
        guard let flow else {
            session.awaiting = .nothing
            return
        }
        prefix(.resumed, [("flow", flow.title)])
        proceed()
    }

    // MARK: Cancelling

    /// A flow that the message cancels.
    private struct Cancelling {
        let index: Int
        /// How much the message says beyond the word.
        let rest: Int
        /// The word names the flow's own business: 「不退了」 and not 「算了」.
        let isOwn: Bool
    }

    /// - Returns: Whether the message cancelled a flow and said nothing else.
    mutating func cancel(_ reading: Reading) -> Bool {
        guard let cancelling = cancelled(by: reading), !saysLiterally(reading) else { return false }
        let index = cancelling.index
        let elsewhere =
            reading.understood && reading.intent != session.flows[index].name
            && (domain.flows[reading.intent] != nil || domain.answers[reading.intent] != nil)
        // 「不退了」 may well be heard as another flow; 「算了，退款吧」 is one.
        if elsewhere, cancelling.rest > (cancelling.isOwn ? 4 : 1) {
            let dropped = session.flows.remove(at: index)
            if index == session.flows.count { question = .none }
            say(.cancelled, [("flow", domain.flows[dropped.name]?.title ?? dropped.name)])
            return false
        }
        if cancelling.rest > 4, let flow, !filled.isDisjoint(with: flow.slots) { return false }
        drop(at: index)
        return true
    }

    private func cancelled(by reading: Reading) -> Cancelling? {
        guard !session.flows.isEmpty, !reading.isQuestion else { return nil }
        let length = reading.text.compact.count
        for index in session.flows.indices.reversed() {
            let words = domain.flows[session.flows[index].name]?.cancelWords ?? []
            if let word = words.first(where: reading.text.contains) {
                return Cancelling(index: index, rest: length - word.count, isOwn: true)
            }
        }
        guard let word = domain.lexicon.cancel.first(where: reading.text.contains),
            !domain.lexicon.cancelExcept.contains(where: reading.text.contains)
        else { return nil }
        return Cancelling(index: session.flows.count - 1, rest: length - word.count, isOwn: false)
    }

    // MARK: Wording

    /// What the customer gave of the flow's `any` slots, with its label: what this message brought, else the first that is filled.
    private func reference(of flow: FlowDefinition) -> [(name: String, value: String)] {
        let given = flow.any.first { mentioned[$0] != nil } ?? flow.any.first { session.slots[$0] != nil }
        guard let given, let value = session.slots[given] else { return [] }
        return [(DomainLoader.reference, (domain.slots[given]?.label ?? given) + " " + value.value)]
    }
}
