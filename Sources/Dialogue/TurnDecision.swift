public import Conversation

extension Domain {
    /// Decides one turn: reads the message against the session, and says what to answer and how the session goes on.
    ///
    /// Pure: the same arguments give the same decision. Among the wordings of a reply one is chosen by the session's id and turn.
    /// - Parameters:
    ///   - session: The session before the turn.
    ///   - query: What the customer wrote.
    ///   - seq: The message's number.
    ///   - recognition: What the model made of it; nil where the intent server is out of reach.
    ///   - now: When the message is answered.
    ///   - results: What the shop's backend answered so far in this turn, in the order of ``Decision/action``; nil: there is no backend, and
    ///     flows end with what they say at their end.
    public func decide(
        _ session: Session, query: Utterance, seq: UInt64, recognition: Recognition?, now: Timestamp, results: [ActionResult]? = nil
    ) -> Decision {
        var turn = TurnDecision(domain: self, session: session, seq: seq, now: now, results: results)
        turn.take(query, recognition)
        return turn.close(recognition)
    }
}

/// One turn in the making. Its steps stand in the order in which a message passes them: people, offer, rules, cancelling, flows, answers, repair.
struct TurnDecision {
    let domain: Domain
    let clock: LocalClock
    let seq: UInt64
    let results: [ActionResult]?
    var session: Session
    var source = ReplySource.template
    /// What the flow under way asked before this turn; none once another flow is under way.
    var question: Question
    /// A person was offered.
    let offered: Bool
    /// The intents that were offered after a message that was not understood.
    let alternatives: [String]
    /// Turns not understood in a row before this one.
    let misunderstood: Int
    /// Chooses among wordings.
    let seed: UInt64
    /// The reply's paragraphs.
    var parts: [String] = []
    /// What the next paragraph begins with.
    var lead = ""
    /// The slots of this message, whether they were kept or not.
    var mentioned: [String: SlotValue] = [:]
    /// The slots that this message filled or replaced.
    var filled: Set<String> = []
    /// Of these the ones that had another value.
    var replaced: [SlotValue] = []
    /// What the customer has to choose: values that differ from a filled slot's and may not replace it, or several of one message.
    var conflicts: [Choice] = []
    /// Values that do not fit the slot as which they were recognised.
    var misfits: [SlotValue] = []
    /// Results of actions that were taken.
    var resultsTaken = 0
    var action: ActionCall?
    var chitchat: ChitchatRequest?
    var handOffReason: HandOffReason?
    var begunFlows: [String] = []
    var completedFlows: [String] = []
    var degradedParts: [String] = []

    init(domain: Domain, session: Session, seq: UInt64, now: Timestamp, results: [ActionResult]?) {
        var session = session
        // A session may come from a version of the domain that is not there any more.
        if session.flows.contains(where: { domain.flows[$0.name] == nil }) { session.flows.removeAll { domain.flows[$0.name] == nil } }
        if session.flows.isEmpty { session.domainVersion = domain.version }
        self.domain = domain
        self.seq = seq
        self.results = results
        clock = LocalClock(now: now, zone: domain.zone)
        offered = session.awaiting == .handoff
        alternatives = session.alternatives
        misunderstood = session.misunderstood
        question = Self.question(of: session, domain)
        session.alternatives = []
        self.session = session
        var hash = FNV1a()
        hash.add(session.id.utf8)
        seed = (hash.value >> 32) &+ session.turns
    }

    var flow: FlowDefinition? { session.flows.last.flatMap { domain.flows[$0.name] } }

    private static func question(of session: Session, _ domain: Domain) -> Question {
        guard let underWay = session.flows.last, let flow = domain.flows[underWay.name] else {
            // Without a flow only a slot with two values, or a wrong one, is asked for.
            if case .slot(let name) = session.awaiting, domain.slots[name] != nil { return .slot(name) }
            return .none
        }
        let asked: String?
        switch session.awaiting {
        case .slot(let name): asked = name
        case .confirmation: asked = Step.confirmation
        case .nothing: asked = underWay.asked.last == Step.correction ? Step.correction : nil
        case .handoff: asked = underWay.asked.last
        }
        switch asked {
        case Step.confirmation: return flow.confirm == nil ? .none : .confirmation
        case Step.correction: return .correction
        case let name?: return flow.slots.contains(name) ? .slot(name) : .none
        case nil: return .none
        }
    }

    // MARK: The turn

    mutating func take(_ query: Utterance, _ recognition: Recognition?) {
        var reading = Reader(domain: domain, question: question, flow: flow, session: session, clock: clock).read(query, recognition)
        noteRepeat(reading)
        choose(&reading)
        followCue(&reading)
        keep(reading)
        if session.handedOff {
            session.awaiting = .nothing
            source = .handoff
            return say(.colleagueComing)
        }
        if offered, takeOffer(reading) { return }
        guard recognition != nil else { return unavailable() }
        session.misunderstood = 0
        if applyRule(reading, query) { return }
        if cancel(reading) { return }
        if confirmAndTurn(reading) { return }
        if let next = flowToEnter(reading) {
            let flows = inOrder([next] + furtherFlows(reading, after: next.name), reading.text)
            return enter(flows[0], queueing: Array(flows.dropFirst()))
        }
        if isTakenByFlow(reading) { return goOn(reading) }
        if reading.understood, let wordings = domain.answers[reading.intent] { return answer(wordings, reading) }
        if isMove(reading) { return session.flows.isEmpty ? answerMove(reading) : goOn(reading) }
        notUnderstood(reading)
    }

    mutating func close(_ recognition: Recognition?) -> Decision {
        session.turns += 1
        session.lastSeq = max(session.lastSeq, seq)
        session.updatedAt = clock.now
        // What is still to be chosen of an empty slot's values is kept until it is needed.
        if let slot = session.rivals.first?.name, session.awaiting != .slot(slot), session.slots[slot] != nil { session.rivals = [] }
        let intent = recognition?.intents.first
        session.remember(Turn(seq: seq, intent: intent?.name ?? "", confidence: intent?.confidence ?? 0, at: clock.now, source: source))
        if recognition == nil { degradedParts.append("understanding") }
        return Decision(
            session: session, paragraphs: parts, source: source, degradedParts: degradedParts, action: action, chitchat: chitchat,
            handOff: handOffReason, begunFlows: begunFlows, completedFlows: completedFlows)
    }

    /// Counts how often the same message comes in a row.
    private mutating func noteRepeat(_ reading: Reading) {
        var hash = FNV1a()
        for scalar in reading.text.compact.isEmpty ? reading.text.scalars : reading.text.compact { hash.add(scalar.value) }
        session.repeats = hash.value == session.lastMessage ? session.repeats + 1 : 1
        session.lastMessage = hash.value
    }

    // MARK: Slots

    /// Keeps what the message brings. A filled slot is replaced only by an answer to its own question or by an explicit correction.
    private mutating func keep(_ reading: Reading) {
        misfits = reading.misfits
        if let answer = reading.answeredValue { fill(answer) }
        for slot in reading.slots {
            if slot.name == reading.answeredValue?.name { continue }
            mentioned[slot.name] = slot
            if let old = session.slots[slot.name], old.normalized != slot.normalized, !isReplaced(old, by: reading) {
                conflicts.append(Choice(slot: slot.name, values: [slot]))
            } else {
                fill(slot)
            }
        }
        for choice in reading.several {
            if let old = session.slots[choice.slot] {
                if isReplaced(old, by: reading) {
                    session.slots[choice.slot] = nil
                } else {
                    let others = choice.values.filter { $0.normalized != old.normalized }
                    conflicts.append(Choice(slot: choice.slot, values: others))
                    continue
                }
            }
            conflicts.append(choice)
            session.rivals = choice.values
        }
    }

    /// Whether what is filled gives way: it is corrected, or a time that is over.
    private func isReplaced(_ old: SlotValue, by reading: Reading) -> Bool {
        reading.corrected.contains(old.name) || question == .correction
            || domain.slots[old.name]?.past != nil && clock.isOver(old.normalized)
    }

    private mutating func fill(_ slot: SlotValue) {
        let old = session.slots.updateValue(slot, forKey: slot.name)
        mentioned[slot.name] = slot
        if session.rivals.first?.name == slot.name { session.rivals = [] }
        if let old, old.normalized != slot.normalized { replaced.append(slot) }
        if old?.normalized != slot.normalized { filled.insert(slot.name) }
    }

    // MARK: People

    /// - Returns: Whether the message answered the offer of a person.
    private mutating func takeOffer(_ reading: Reading) -> Bool {
        if says(.yes, reading) {
            handOff(.accepted)
            say(.handedOff)
            return true
        }
        guard says(.no, reading) else { return false }
        session.misunderstood = 0
        say(.offerDeclined)
        askOpenQuestion(backTo: false)
        return true
    }

    mutating func handOff(_ reason: HandOffReason) {
        session.handedOff = true
        session.awaiting = .nothing
        session.misunderstood = 0
        source = .handoff
        handOffReason = reason
    }

    /// The intent server is out of reach: nothing of the message is taken, and a person is offered.
    private mutating func unavailable() {
        session.awaiting = .handoff
        source = .fallback
        say(.unavailable)
    }

    // MARK: Rules

    /// - Returns: Whether a rule took the turn.
    private mutating func applyRule(_ reading: Reading, _ query: Utterance) -> Bool {
        guard !saysLiterally(reading), !(reading.isBare && reading.answer != nil), !isAtALoss(reading) else { return false }
        for rule in domain.counted where holds(rule.when, reading) { session.ruleCounts[rule.name, default: 0] += 1 }
        guard
            let rule = domain.rules.first(where: { holds($0.when, reading) && $0.when.times <= session.ruleCounts[$0.name] ?? 1 })
        else { return false }
        source = .rule
        if rule.effect != .notUnderstood { say(rule.reply, slots: mentioned) }
        switch rule.effect {
        case .handOff: handOff(.rule(rule.name))
        case .endFlows:
            session.flows = []
            session.awaiting = .nothing
        case .answer: askOpenQuestion()
        case .notUnderstood: notUnderstood(reading)
        case .chitchat:
            source = .template
            chitchat = ChitchatRequest(query: query.text, paragraph: parts.count - 1)
            askOpenQuestion()
        }
        return true
    }

    /// Whether a condition holds, but for how often it did.
    private func holds(_ condition: Condition, _ reading: Reading) -> Bool {
        if !condition.intents.isEmpty {
            guard condition.intents.contains(reading.intent), reading.understood || condition.confidenceBelow != nil else { return false }
        }
        if let least = condition.confidenceFrom, reading.confidence < least { return false }
        if let limit = condition.confidenceBelow, reading.confidence >= limit { return false }
        if session.repeats < condition.repeats { return false }
        if !condition.words.isEmpty, !condition.words.occurs(in: reading.text) { return false }
        if let text = condition.text, !text.matches(reading.text.compact) { return false }
        return condition.holds(slots: session.slots, minuteOfDay: clock.minuteOfDay)
    }

    // MARK: Moves

    enum YesOrNo { case yes, no }

    /// Whether the message says yes or no to a question that takes one.
    func says(_ answer: YesOrNo, _ reading: Reading) -> Bool {
        let words = domain.lexicon
        let text = reading.text.compact
        if text.isEmpty { return answer == .yes && words.affirm.contains(reading.text.lowered) }
        let isYes = words.affirm.contains(text) || flow?.affirmWords.contains(text) ?? false
        let isNo = words.deny.contains(text) || words.decline.contains(text)
        switch answer {
        case .yes: return isYes || !isNo && (reading.means("affirm") || affirmsFirst(reading))
        case .no: return isNo || !isYes && reading.means("deny")
        }
    }

    /// 「对的，就改成这个」: the first clause is a yes, and the rest brings nothing else.
    private func affirmsFirst(_ reading: Reading) -> Bool {
        guard !reading.isQuestion, !reading.corrects, !reading.understood || isSameBusiness(reading) else { return false }
        if let first = reading.text.clauses.first, domain.lexicon.affirm.contains(Array(first)) { return true }
        // 「确认取消」「确定要退」: the yes and the flow's own business in one word.
        guard reading.intent == flow?.name || reading.means("inform") else { return false }
        let text = reading.text.compact
        return (2...4).contains { $0 < text.count && domain.lexicon.affirm.contains(Array(text[..<$0])) }
    }

    private func isSameBusiness(_ reading: Reading) -> Bool {
        ["affirm", "inform", "thanks"].contains(reading.intent) || reading.intent == flow?.name
    }

    /// Whether the message goes on with what is under way rather than bringing business of its own.
    private func isMove(_ reading: Reading) -> Bool {
        if reading.understood, DomainLoader.moves.contains(reading.intent) || reading.intent == flow?.name { return true }
        if case .value = reading.answer, session.flows.isEmpty { return true }
        guard session.flows.isEmpty else { return false }
        let text = reading.text
        return isNothingButCodes(reading) || domain.lexicon.decline.contains(text.compact)
            || domain.lexicon.cancel.occurs(in: text) && text.compact.count <= 6
    }

    /// A number by itself is information, whatever the model took it for.
    private func isNothingButCodes(_ reading: Reading) -> Bool {
        let tokens = reading.text.tokens()
        return tokens.count == 1 && tokens[0] == reading.text.trimmed(0..<reading.text.scalars.count) && !mentioned.isEmpty
    }

    /// Answers a yes, a no or a piece of information that belongs to no flow.
    private mutating func answerMove(_ reading: Reading) {
        session.awaiting = .nothing
        if let conflict = conflicts.first(where: { domain.slots[$0.slot]?.isWorthAsking ?? false }) {
            askWhich(conflict)
        } else if reading.means("affirm"), mentioned.isEmpty {
            say(.nothingToAffirm)
        } else if let slot = replaced.first {
            say(.corrected, [("label", domain.label(ofSlot: slot.name)), ("value", slot.value)])
        } else if case let kept = mentioned.filter({ session.slots[$0.key] == $0.value }), !kept.isEmpty {
            let labels = kept.keys.sorted().compactMap { domain.slots[$0]?.label }.joined(separator: "、")
            say(.noted, [("labels", labels)])
        } else if let name = misnamed(reading) {
            ask(name)
        } else {
            say(reading.means("inform") ? .notedNothing : .nothingToDeny)
        }
    }
}

/// A small hash that is the same in every process.
struct FNV1a {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }

    mutating func add(_ word: UInt32) { value = (value ^ UInt64(word)) &* 0x100_0000_01b3 }
}
