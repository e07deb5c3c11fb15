import Conversation

// The flows: beginning, going on, confirming, ending and being resumed.
extension TurnDecision {
    // MARK: Which flow

    /// The flow that the message turns to, where it is not the one under way.
    func flowToEnter(_ reading: Reading) -> FlowDefinition? {
        guard turnsAway(reading), reading.intent != session.flows.last?.name else { return nil }
        return domain.flows[reading.intent]
    }

    /// Whether the message's intent is to be followed. An answer to the bot's question needs more to count as something else.
    private func turnsAway(_ reading: Reading) -> Bool {
        guard reading.understood, !saysLiterally(reading), !isAtALoss(reading) else { return false }
        if reading.isBare, reading.answer != nil { return false }
        let answers = reading.answeredValue != nil || correctsFlow()
        return !answers || !reading.isBare && reading.confidence >= domain.thresholds.interruption
    }

    /// Whether the message sets right what is to be confirmed: 「订单号写错了，应该是…」 is an answer, too.
    private func correctsFlow() -> Bool {
        guard let flow, question == .confirmation else { return false }
        return replaced.contains { flow.slots.contains($0.name) }
    }

    /// A plain 「好的」 or 「不是」 where the bot asked for a yes or no.
    func saysLiterally(_ reading: Reading) -> Bool {
        guard question == .confirmation || question == .correction || offered else { return false }
        let text = reading.text.compact
        if text.isEmpty { return domain.lexicon.affirm.contains(reading.text.lowered) }
        let isOwn = question == .confirmation && flow?.affirmWords.contains(text) ?? false
        return isOwn || domain.lexicon.affirm.contains(text) || domain.lexicon.deny.contains(text)
    }

    /// Whether the flow under way takes the message: it answers the open question, or fills a slot of the flow.
    func isTakenByFlow(_ reading: Reading) -> Bool {
        guard let flow else { return false }
        if saysLiterally(reading) || isAtALoss(reading) { return true }
        if turnsAway(reading), domain.answers[reading.intent] != nil { return false }
        if reading.answer != nil || !filled.isDisjoint(with: flow.slots) || !conflicts(of: flow).isEmpty { return true }
        if reading.understood { return false }
        // What was not recognised may still be read by its words.
        if case .slot = question, reading.isUnknown || isForeignCode(reading) { return true }
        return misnamed(reading) != nil || question == .confirmation && (says(.yes, reading) || says(.no, reading))
            || question == .correction && domain.lexicon.nothing.contains(reading.text.compact)
    }

    /// 「找不到啊」, 「订单号在哪看」 where a slot was asked for: the customer has no answer, whatever the model took it for.
    func isAtALoss(_ reading: Reading) -> Bool {
        guard case .slot(let name) = question, reading.answer == nil else { return false }
        let length = reading.text.compact.count
        if reading.isUnknown, length <= 8 { return true }
        guard length <= 14, domain.lexicon.where.occurs(in: reading.text), let flow else { return false }
        return flow.group(of: name).contains { domain.slots[$0]?.names.contains(where: reading.text.contains) ?? false }
    }

    // MARK: Beginning

    /// Begins a flow, and suspends the one under way; those of `queue` wait below it.
    mutating func enter(_ next: FlowDefinition, queueing queue: [FlowDefinition] = []) {
        var isResumed = false
        if let suspended = flow, suspended.name != next.name {
            if let index = session.flows.firstIndex(where: { $0.name == next.name }) {
                session.flows.remove(at: index)
                isResumed = true
            } else {
                makeRoom()
            }
            if domain.limits.suspendedFlows > 0 { prefix(.suspended, [("flow", suspended.title)]) }
        }
        for waiting in queue.reversed() where !session.flows.contains(where: { $0.name == waiting.name }) && waiting.name != next.name {
            makeRoom()
            session.flows.append(FlowInProgress(name: waiting.name))
            begunFlows.append(waiting.name)
            prefix(.queued, [("flow", waiting.title)])
        }
        session.flows.append(FlowInProgress(name: next.name))
        if !isResumed { begunFlows.append(next.name) }
        question = .none
        lead += text(next.begin, slots: mentioned)
        proceed()
    }

    /// Drops the oldest flow where one more would be too many.
    private mutating func makeRoom() {
        guard session.flows.count > domain.limits.suspendedFlows else { return }
        let oldest = session.flows.removeFirst()
        say(.gaveWay, [("flow", domain.title(ofFlow: oldest.name))])
    }

    // MARK: Going on

    /// Goes on with the flow under way after a message that belongs to it.
    mutating func goOn(_ reading: Reading) {
        guard let flow else { return }
        let changed = !filled.isDisjoint(with: flow.slots) || !conflicts(of: flow).isEmpty
        if changed || reading.answeredValue != nil { return proceed(acknowledging: true) }
        if case .invalid(let slot, let value) = reading.answer { return reject(value, for: slot) }
        if let slot = misnamed(reading) { return ask(slot) }
        if session.repeats > 1 { prefix(.repeated) }
        switch question {
        case .none: proceed()
        case .slot(let name) where flow.optional.contains(name) && (reading.isUnknown || says(.no, reading)): skip(name)
        case .slot(let name): askAgain(name, reading)
        case .confirmation where says(.yes, reading): finish()
        case .confirmation where says(.no, reading): askWhatToChange()
        case .confirmation: confirm()
        case .correction where domain.lexicon.nothing.contains(reading.text.compact): confirm()
        case .correction where says(.no, reading): drop(at: session.flows.count - 1)
        case .correction where says(.yes, reading): confirm()
        case .correction: askWhatToChange()
        }
    }

    /// The slot that the message calls wrong without giving another value: 「地址写错了」. At the confirmation it may be one that was left out.
    func misnamed(_ reading: Reading) -> String? {
        guard question == .correction || reading.corrects, !reading.isQuestion else { return nil }
        let optional = question == .confirmation || question == .correction ? flow?.optional ?? [] : []
        return (flow?.slots ?? domain.slotNames).first { name in
            (session.slots[name] != nil || optional.contains(name)) && (flow != nil || domain.slots[name]?.prompts != nil)
                && domain.slots[name]?.names.contains(where: reading.text.contains) ?? false
        }
    }

    /// The message is nothing but a number, and that of another slot than the one asked for.
    private func isForeignCode(_ reading: Reading) -> Bool {
        guard case .slot(let name) = question, domain.slots[name]?.kind.isCode ?? false else { return false }
        return reading.slots.contains { $0.name != name && domain.slots[$0.name]?.kind.isCode ?? false }
    }

    private mutating func askAgain(_ name: String, _ reading: Reading) {
        if isForeignCode(reading), let other = reading.slots.first(where: { domain.slots[$0.name]?.kind.isCode ?? false }) {
            let names = [("label", domain.label(ofSlot: name)), ("value", other.value), ("other", domain.label(ofSlot: other.name))]
            prefix(.mistaken, names)
        }
        ask(name)
    }

    /// An optional slot that was asked for because its value did not fit, and that the customer does not care for.
    private mutating func skip(_ name: String) {
        question = .none
        proceed()
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
        } else if let misfit = misfits.first(where: { isWorthAsking($0, flow) }) {
            reject(misfit.value, for: misfit.name)
        } else if let name = missing(flow) {
            ask(name)
        } else if flow.confirm != nil {
            confirm()
        } else {
            finish()
        }
    }

    /// Whether a value that does not fit is to be asked for again: that of an empty slot of the flow that was surely meant.
    private func isWorthAsking(_ misfit: SlotValue, _ flow: FlowDefinition) -> Bool {
        guard session.slots[misfit.name] == nil, flow.slots.contains(misfit.name) else { return false }
        return missing(flow).map { flow.group(of: $0).contains(misfit.name) } ?? false
            || flow.optional.contains(misfit.name) && misfit.value.unicodeScalars.count >= 6
    }

    /// The first slot that is still to be asked for.
    private func missing(_ flow: FlowDefinition) -> String? {
        func isFilled(_ name: String) -> Bool { session.slots[name] != nil && !isPast(name, flow) }
        if let name = flow.required.first(where: { !isFilled($0) }) { return name }
        if !flow.any.isEmpty, !flow.any.contains(where: isFilled) { return flow.any.first }
        for condition in flow.conditions where condition.when.holds(slots: session.slots, minuteOfDay: clock.minuteOfDay) {
            if let name = condition.require.first(where: { !isFilled($0) }) { return name }
        }
        return nil
    }

    /// A time that is over where the flow needs one to come.
    private func isPast(_ name: String, _ flow: FlowDefinition) -> Bool {
        guard flow.future.contains(name), let value = session.slots[name] else { return false }
        return clock.isOver(value.normalized)
    }

    private mutating func acknowledge(_ flow: FlowDefinition) {
        if let slot = replaced.first(where: { flow.slots.contains($0.name) }) {
            prefix(.corrected, [("label", domain.label(ofSlot: slot.name)), ("value", slot.value)])
        } else if !filled.isDisjoint(with: flow.slots) {
            prefix(.received)
        }
    }

    /// What is to be chosen among the values of the flow's slots.
    func conflicts(of flow: FlowDefinition) -> [Choice] {
        conflicts.isEmpty ? [] : conflicts.filter { flow.slots.contains($0.slot) }
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
            if session.rivals.first?.name == name {
                sayWhich(Choice(slot: name, values: session.rivals))
            } else if let prompts = prompts(for: name) {
                say(prompts.ask)
            }
        case .confirmation: confirm()
        case .correction: askWhatToChange()
        }
    }

    private func prompts(for slot: String) -> Prompts? { flow?.prompts[slot] ?? domain.slots[slot]?.prompts }

    /// Asks for a slot: the first time, again in other words, or, after too many vain questions, whether a person is to help.
    mutating func ask(_ slot: String) {
        if let flow, isPast(slot, flow), let past = domain.slots[slot]?.past, let value = mentioned[slot] {
            say(past, [("value", value.value)])
            return waitFor(slot)
        }
        guard let prompts = prompts(for: slot) else { return }
        if session.rivals.first?.name == slot { return askWhich(Choice(slot: slot, values: session.rivals)) }
        let times = timesAsked(slot)
        if isVain(times) { return offerPerson() }
        if times == 0 || prompts.again.isEmpty {
            say(prompts.ask)
        } else {
            say(prompts.again[min(times, prompts.again.count) - 1])
        }
        waitFor(slot)
    }

    /// How often a slot was asked for in a row up to this turn.
    private func timesAsked(_ slot: String) -> Int {
        guard question == .slot(slot) else { return 0 }
        return session.flows.last?.asked.reversed().prefix { $0 == slot }.count ?? 0
    }

    private func isVain(_ times: Int) -> Bool { times >= domain.handOff.unanswered }

    private mutating func waitFor(_ slot: String) {
        note(slot)
        session.awaiting = .slot(slot)
    }

    /// Says what is wrong with a value, and waits for another.
    private mutating func reject(_ value: String, for slot: String) {
        let asked: String
        if case .slot(let name) = question, flow?.group(of: name).contains(slot) ?? true { asked = name } else { asked = missingName(slot) }
        if isVain(timesAsked(asked)) { return offerPerson() }
        if let wordings = domain.slots[slot]?.invalid { say(wordings, [("value", value)]) }
        waitFor(asked)
    }

    /// The slot by which the flow asks for `slot`: of `any` it is the first.
    private func missingName(_ slot: String) -> String { flow.flatMap { $0.any.contains(slot) ? $0.any.first : nil } ?? slot }

    /// Asks which of several values holds.
    mutating func askWhich(_ choice: Choice) {
        if isVain(timesAsked(choice.slot)) { return offerPerson() }
        sayWhich(choice)
        session.rivals = choice.values
        waitFor(choice.slot)
    }

    private mutating func sayWhich(_ choice: Choice) {
        let label = ("label", domain.label(ofSlot: choice.slot))
        let values = choice.values.map(\.value).joined(separator: "」「")
        if let filled = session.slots[choice.slot] {
            say(.whichValue, [label, ("value", filled.value), ("other", values)])
        } else {
            say(.whichOfSeveral, [label, ("values", "「\(values)」")])
        }
    }

    mutating func confirm() {
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

    /// Does what the flow is for, and ends it.
    mutating func finish(resuming: Bool = true) {
        guard let flow else { return }
        guard let call = flow.action, let results else {
            say(flow.done, slots: session.slots, reference(of: flow))
            return complete(flow, next: flow.next, resuming: resuming)
        }
        guard resultsTaken < results.count else { return request(call, flow) }
        let result = results[resultsTaken]
        resultsTaken += 1
        guard let branch = call.branches[result.code] else { return fail(call, flow, resuming: resuming) }
        let values = reference(of: flow) + result.values.map { ($0.key, $0.value) }
        say(branch.reply, slots: session.slots, values)
        switch branch.effect {
        case .end: complete(flow, next: flow.next, resuming: resuming)
        case .begin(let next): complete(flow, next: next, resuming: resuming)
        case .handOff: handOff(.failedAction(call.name))
        case .ask(let slot):
            session.slots[slot] = nil
            filled.remove(slot)
            question = .none
            waitFor(slot)
        }
    }

    /// Leaves the turn to the shop's backend; it is decided again with the result.
    private mutating func request(_ call: FlowAction, _ flow: FlowDefinition) {
        guard action == nil else { return }
        let key = "\(session.uid.string):\(session.id):\(seq)" + (resultsTaken == 0 ? "" : ":\(resultsTaken + 1)")
        action = ActionCall(
            name: call.name, flow: flow.name, arguments: flow.slots.compactMap { session.slots[$0] }, idempotencyKey: key)
    }

    /// The backend was out of reach, or said what the flow does not know.
    private mutating func fail(_ call: FlowAction, _ flow: FlowDefinition, resuming: Bool) {
        degradedParts.append("action")
        say(.actionFailed, [("flow", flow.title)])
        if domain.handOff.failedAction { return handOff(.failedAction(call.name)) }
        end(flow, next: nil, resuming: resuming)
    }

    /// Ends a flow that did what it is for.
    private mutating func complete(_ flow: FlowDefinition, next: String?, resuming: Bool) {
        completedFlows.append(flow.name)
        end(flow, next: next, resuming: resuming)
    }

    private mutating func end(_ flow: FlowDefinition, next: String?, resuming: Bool) {
        session.flows.removeLast()
        question = .none
        if let next = next.flatMap({ domain.flows[$0] }) {
            if !session.flows.contains(where: { $0.name == next.name }) { begunFlows.append(next.name) }
            session.flows.removeAll { $0.name == next.name }
            session.flows.append(FlowInProgress(name: next.name))
            lead += text(next.begin, slots: mentioned)
            return proceed()
        }
        if resuming { resume() }
    }

    /// Drops a flow that the customer does not want any more.
    mutating func drop(at index: Int) {
        let dropped = session.flows.remove(at: index)
        say(.cancelled, [("flow", domain.title(ofFlow: dropped.name))])
        if index == session.flows.count { resume() } else { askOpenQuestion() }
    }

    /// Goes on with the flow that the one just ended had suspended.
    mutating func resume() {
        question = .none
        conflicts = []
        misfits = []
        guard let flow else {
            session.awaiting = .nothing
            return
        }
        prefix(.resumed, [("flow", flow.title)])
        proceed()
    }

    // MARK: Wording

    /// What the customer gave of the flow's `any` slots, with its label: what this message brought, else the first that is filled.
    private func reference(of flow: FlowDefinition) -> [(name: String, value: String)] {
        let given = flow.any.first { mentioned[$0] != nil } ?? flow.any.first { session.slots[$0] != nil }
        guard let given, let value = session.slots[given] else { return [] }
        return [(DomainLoader.reference, domain.label(ofSlot: given) + " " + value.value)]
    }
}
