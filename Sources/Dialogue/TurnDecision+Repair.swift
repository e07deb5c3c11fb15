import Conversation

// What is said of a message that was not understood, and what the customer picks of what was offered then.
extension TurnDecision {
    /// The first time the likeliest meanings are offered, the second time examples are given, and then a person.
    mutating func notUnderstood(_ reading: Reading) {
        session.misunderstood = misunderstood + 1
        source = .fallback
        guard session.misunderstood < domain.handOff.misunderstood else { return offerPerson() }
        let meanings = likelyMeanings(reading)
        if reading.text.compact.isEmpty {
            say(.wordless)
        } else if reading.text.scalars.count > domain.limits.longMessage {
            say(.tooLong)
        } else if session.misunderstood > 1 {
            say(.examples, [("examples", examples(meanings).map { "「\($0)」" }.joined())])
        } else if meanings.count == 2 {
            session.alternatives = meanings.map(\.name)
            say(.whichIntent, [("first", meanings[0].label ?? ""), ("second", meanings[1].label ?? "")])
        } else if meanings.count == 1, session.flows.isEmpty {
            session.alternatives = meanings.map(\.name)
            say(.oneIntent, [("first", meanings[0].label ?? "")])
        } else {
            say(.notUnderstood)
        }
        askOpenQuestion(backTo: false)
    }

    mutating func offerPerson() {
        source = .fallback
        session.awaiting = .handoff
        lead = ""
        say(.offerPerson)
    }

    /// The two likeliest intents that have a label and are likely enough, but for the one under way.
    private func likelyMeanings(_ reading: Reading) -> [IntentDefinition] {
        let all = [Intent(name: reading.intent, confidence: reading.confidence)] + reading.others
        return all.filter { $0.confidence >= domain.thresholds.alternative && $0.name != session.flows.last?.name }
            .compactMap { domain.intents[$0.name] }.filter { $0.label != nil }.prefix(2).map { $0 }
    }

    private func examples(_ meanings: [IntentDefinition]) -> [String] {
        let likely = meanings.compactMap(\.examples.first)
        if likely.count > 1 { return likely }
        let all = domain.intents.values.filter { !$0.examples.isEmpty && domain.flows[$0.name] != nil }.map(\.name).sorted()
        guard !all.isEmpty else { return likely }
        let others = (0..<3).map { all[Int((seed &+ UInt64($0)) % UInt64(all.count))] }.compactMap { domain.intents[$0]?.examples.first }
        return Array((likely + others.filter { !likely.contains($0) }).prefix(3))
    }

    /// Takes a pick among the offered meanings for the intent itself: 「第一个」, 「是的」, the label.
    func choose(_ reading: inout Reading) {
        guard !alternatives.isEmpty, reading.answeredValue == nil else { return }
        let text = reading.text
        let named = alternatives.filter { name in
            domain.intents[name]?.label.map { text.contains(Folded.lowered($0)) || text.compact.count > 1 && contains($0, text.compact) }
                ?? false
        }
        var pick: String?
        if named.count == 1 {
            pick = named[0]
        } else if let choice = domain.lexicon.choice(in: text), alternatives.indices.contains(choice) {
            pick = alternatives[choice]
        } else if alternatives.count == 1, question == .none, says(.yes, reading) {
            pick = alternatives[0]
        }
        guard let pick else { return }
        reading.intent = pick
        reading.confidence = 1
        reading.understood = true
    }

    private func contains(_ label: String, _ part: [Unicode.Scalar]) -> Bool {
        Folded(label).contains(part)
    }
}
