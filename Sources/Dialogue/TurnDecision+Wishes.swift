import Conversation

// More than one wish in a message.
extension TurnDecision {
    /// Answers what needs no flow, and takes up a flow that the same message asks for.
    mutating func answer(_ wordings: Wordings, _ reading: Reading) {
        if session.repeats > 1 { prefix(.repeated) }
        say(wordings, slots: mentioned)
        let wishes = furtherWishes(reading, besides: reading.intent)
        for wish in wishes {
            if let wordings = domain.answers[wish] { say(wordings, slots: mentioned) }
        }
        let flows = wishes.compactMap { domain.flows[$0] }.filter { $0.name != session.flows.last?.name }
        if let next = flows.first { return enter(next, queueing: Array(flows.dropFirst())) }
        askOpenQuestion()
    }

    /// The flows that the message asks for besides the one it enters; answers it asks for are given on the way.
    mutating func furtherFlows(_ reading: Reading, after name: String) -> [FlowDefinition] {
        let wishes = furtherWishes(reading, besides: name)
        for wish in wishes {
            if let wordings = domain.answers[wish] { say(wordings, slots: mentioned) }
        }
        return wishes.compactMap { domain.flows[$0] }
    }

    /// Flows as they are asked for in the message: by their cues; one without a cue there stands where the wishes are joined.
    func inOrder(_ flows: [FlowDefinition], _ text: Folded) -> [FlowDefinition] {
        guard flows.count > 1 else { return flows }
        let joint = domain.lexicon.also.positions(in: text).min() ?? 0
        let places = flows.map { flow in domain.intents[flow.name]?.cues.positions(in: text).min() ?? joint }
        return zip(places, flows).enumerated().sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }.map(\.element.1)
    }

    /// The further intents of a message that joins two wishes: 「我要退货，顺便开个发票」. With a word such as 顺便 an intent counts where the recogniser
    /// found it likely, or one of its cues stands in the message; without one the cues of both must.
    private func furtherWishes(_ reading: Reading, besides first: String) -> [String] {
        let text = reading.text
        let isJoined = domain.lexicon.also.occurs(in: text)
        guard isJoined || domain.intents[first]?.cues.occurs(in: text) ?? false else { return [] }
        var wishes: [String] = []
        func add(_ name: String) {
            guard name != first, !wishes.contains(name), domain.flows[name] != nil || domain.answers[name] != nil else { return }
            wishes.append(name)
        }
        if isJoined {
            for intent in reading.others where intent.confidence >= domain.thresholds.alternative { add(intent.name) }
        }
        for intent in domain.cued where intent.cues.occurs(in: text) {
            // 「取消订单后还能查物流吗」 asks one thing, 「我要退货，运费谁出」 asks one and wants another.
            if isJoined || domain.flows[intent.name] == nil || intent.cues.words.contains(where: { isStated($0, text) }) {
                add(intent.name)
            }
        }
        return Array(wishes.prefix(2))
    }

    /// Whether a word stands in a clause that is no question.
    private func isStated(_ word: [Unicode.Scalar], _ text: Folded) -> Bool {
        text.clauses.contains { clause in
            let clause = Folded(Folded.string(clause))
            return clause.contains(word) && !domain.lexicon.question.occurs(in: clause)
        }
    }

    /// Where nothing is under way, a yes, a no or a piece of information that names one intent's business is that: 「还是退款吧」.
    func followCue(_ reading: inout Reading) {
        guard session.flows.isEmpty, question == .none, !offered, reading.understood, DomainLoader.moves.contains(reading.intent),
            !domain.lexicon.affirm.contains(reading.text.compact)
        else { return }
        let text = reading.text
        let named = domain.cued.filter { domain.flows[$0.name] != nil && $0.cues.occurs(in: text) }
        guard named.count == 1, !domain.lexicon.cancel.occurs(in: text),
            !(domain.flows[named[0].name]?.cancelWords.occurs(in: text) ?? false)
        else { return }
        reading.intent = named[0].name
    }

    /// 「对的，另外帮我开个发票」: a yes to the confirmation, and then something else.
    ///
    /// - Returns: Whether the message was both.
    mutating func confirmAndTurn(_ reading: Reading) -> Bool {
        guard question == .confirmation, reading.understood, !reading.corrects, let flow, reading.intent != flow.name,
            filled.isDisjoint(with: flow.slots), conflicts.isEmpty, let first = reading.text.clauses.first,
            domain.lexicon.affirm.contains(Array(first)) || flow.affirmWords.contains(Array(first)),
            first.count < reading.text.compact.count
        else { return false }
        if let wordings = domain.answers[reading.intent] {
            say(wordings, slots: mentioned)
            finish()
            return true
        }
        guard let next = domain.flows[reading.intent] else { return false }
        finish(resuming: false)
        if action == nil, !session.handedOff { enter(next) }
        return true
    }
}
