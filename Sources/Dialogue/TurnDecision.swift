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
    public func decide(_ session: Session, query: Utterance, seq: UInt64, recognition: Recognition?, now: Timestamp) -> Decision {
        var turn = TurnDecision(domain: self, session: session)
        turn.take(query, recognition)
        return turn.close(seq: seq, recognition: recognition, now: now)
    }
}

/// One turn in the making. Its steps stand in the order in which a message passes them: people, offer, rules, cancelling, flows, answers, repair.
struct TurnDecision {
    let domain: Domain
    var session: Session
    var source = ReplySource.template
    /// What the flow under way asked before this turn; none once another flow is under way.
    var question: Question
    /// A person was offered.
    let offered: Bool
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
    /// Values that differ from a filled slot's and may not replace it.
    var conflicts: [SlotValue] = []

    init(domain: Domain, session: Session) {
        var session = session
        // A session may come from an earlier version of the domain.
        session.flows.removeAll { domain.flows[$0.name] == nil }
        self.domain = domain
        self.session = session
        offered = session.awaiting == .handoff
        misunderstood = session.misunderstood
        question = Self.question(of: session, domain)
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in session.id.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        seed = (hash >> 32) &+ session.turns
    }

    var flow: FlowDefinition? { session.flows.last.flatMap { domain.flows[$0.name] } }

    private static func question(of session: Session, _ domain: Domain) -> Question {
        guard let underWay = session.flows.last, let flow = domain.flows[underWay.name] else {
            // Without a flow only a slot with two values is asked for.
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
        let reading = Reader(domain: domain, question: question, flow: flow).read(query, recognition)
        keep(reading)
        if session.handedOff {
            session.awaiting = .nothing
            source = .handoff
            return say(.colleagueComing)
        }
        if offered, takeOffer(reading) { return }
        guard recognition != nil else { return unavailable() }
        session.misunderstood = 0
        if applyRule(reading) { return }
        if cancel(reading) { return }
        if let next = flowToEnter(reading) { return enter(next) }
        if isTakenByFlow(reading) { return goOn(reading) }
        if reading.understood, let wordings = domain.answers[reading.intent] {
            say(wordings, slots: mentioned)
            return askOpenQuestion()
        }
        if isMove(reading) { return session.flows.isEmpty ? answerMove(reading) : goOn(reading) }
        notUnderstood()
    }

    mutating func close(seq: UInt64, recognition: Recognition?, now: Timestamp) -> Decision {
        session.turns += 1
        session.lastSeq = max(session.lastSeq, seq)
        session.updatedAt = now
        let intent = recognition?.intents.first
        session.remember(Turn(seq: seq, intent: intent?.name ?? "", confidence: intent?.confidence ?? 0, at: now, source: source))
        return Decision(
            session: session, text: parts.joined(separator: "\n"), source: source,
            degradedParts: recognition == nil ? ["understanding"] : [])
    }

    // MARK: Slots

    /// Keeps what the message brings. A filled slot is replaced only by an answer to its own question or by an explicit correction.
    private mutating func keep(_ reading: Reading) {
        if let answer = reading.answeredValue { fill(answer) }
        for slot in reading.slots {
            mentioned[slot.name] = slot
            if slot.name == reading.answeredValue?.name { continue }
            if let old = session.slots[slot.name], old.normalized != slot.normalized, !reading.corrected.contains(slot.name),
                question != .correction
            {
                conflicts.append(slot)
            } else {
                fill(slot)
            }
        }
    }

    private mutating func fill(_ slot: SlotValue) {
        let old = session.slots.updateValue(slot, forKey: slot.name)
        mentioned[slot.name] = slot
        if let old, old.normalized != slot.normalized { replaced.append(slot) }
        if old?.normalized != slot.normalized { filled.insert(slot.name) }
    }

    // MARK: People

    /// - Returns: Whether the message answered the offer of a person.
    private mutating func takeOffer(_ reading: Reading) -> Bool {
        if says(.yes, reading) {
            handOff()
            say(.handedOff)
            return true
        }
        guard says(.no, reading) else { return false }
        session.misunderstood = 0
        say(.offerDeclined)
        askOpenQuestion(backTo: false)
        return true
    }

    private mutating func handOff() {
        session.handedOff = true
        session.awaiting = .nothing
        session.misunderstood = 0
        source = .handoff
    }

    /// The intent server is out of reach: nothing of the message is taken, and a person is offered.
    private mutating func unavailable() {
        session.awaiting = .handoff
        source = .fallback
        say(.unavailable)
    }

    // MARK: Rules

    /// - Returns: Whether a rule took the turn.
    private mutating func applyRule(_ reading: Reading) -> Bool {
        guard reading.understood, !(reading.isBare && reading.answeredValue != nil) else { return false }
        if domain.counted.contains(reading.intent) { session.intentCounts[reading.intent, default: 0] += 1 }
        let times = session.intentCounts[reading.intent] ?? 1
        guard let rule = domain.rules.first(where: { $0.intent == reading.intent && $0.times <= times }) else { return false }
        source = .rule
        say(rule.reply, slots: mentioned)
        switch rule.effect {
        case .handOff: handOff()
        case .endFlows:
            session.flows = []
            session.awaiting = .nothing
        case .answer: askOpenQuestion()
        }
        return true
    }

    // MARK: Repair

    private mutating func notUnderstood() {
        session.misunderstood = misunderstood + 1
        source = .fallback
        if session.misunderstood >= domain.limits.misunderstood {
            session.awaiting = .handoff
            say(.offerPerson)
        } else {
            say(.notUnderstood)
            askOpenQuestion(backTo: false)
        }
    }

    // MARK: Moves

    enum YesOrNo { case yes, no }

    /// Whether the message says yes or no to a question that takes one.
    func says(_ answer: YesOrNo, _ reading: Reading) -> Bool {
        switch answer {
        case .yes where domain.lexicon.deny.contains(reading.text.compact): false
        case .no where domain.lexicon.affirm.contains(reading.text.compact): false
        case .yes: reading.means("affirm") || domain.lexicon.affirm.contains(reading.text.compact)
        case .no: reading.means("deny") || domain.lexicon.deny.contains(reading.text.compact)
        }
    }

    /// Whether the message goes on with what is under way rather than bringing business of its own.
    private func isMove(_ reading: Reading) -> Bool {
        if reading.understood, DomainLoader.moves.contains(reading.intent) || reading.intent == flow?.name { return true }
        if session.flows.isEmpty, reading.answeredValue != nil { return true }
        return session.flows.isEmpty && domain.lexicon.cancel.contains(where: reading.text.contains) && reading.text.compact.count <= 6
    }

    /// Answers a yes, a no or a piece of information that belongs to no flow.
    private mutating func answerMove(_ reading: Reading) {
        session.awaiting = .nothing
        if let conflict = conflicts.first {
            askWhich(conflict)
        } else if reading.means("affirm"), mentioned.isEmpty {
            say(.nothingToAffirm)
        } else if let slot = replaced.first {
            say(.corrected, [("label", domain.slots[slot.name]?.label ?? slot.name), ("value", slot.value)])
        } else if !mentioned.isEmpty {
            let labels = mentioned.keys.sorted().compactMap { domain.slots[$0]?.label }.joined(separator: "、")
            say(.noted, [("labels", labels)])
        } else {
            say(reading.means("inform") ? .notedNothing : .nothingToDeny)
        }
    }
}
