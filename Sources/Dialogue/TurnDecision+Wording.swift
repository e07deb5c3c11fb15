import Conversation

// What is said: paragraphs of the reply, each from one wording.
extension TurnDecision {
    /// One of the wordings, filled in.
    func text(_ wordings: Wordings?, slots: [String: SlotValue] = [:], _ extra: [(name: String, value: String)] = []) -> String {
        wordings?.template(seed: seed)?.render(Variables(slots: slots, definitions: domain.slots, extra: extra)) ?? ""
    }

    mutating func say(_ wordings: Wordings, slots: [String: SlotValue] = [:], _ extra: [(name: String, value: String)] = []) {
        parts.append(lead + text(wordings, slots: slots, extra))
        lead = ""
    }

    mutating func say(_ template: Template) {
        parts.append(lead + template.render(Variables(slots: [:], definitions: [:])))
        lead = ""
    }

    mutating func say(_ message: StandardReply, _ extra: [(name: String, value: String)] = []) {
        parts.append(lead + text(domain.messages[message], extra))
        lead = ""
    }

    /// Begins the next paragraph with a message.
    mutating func prefix(_ message: StandardReply, _ extra: [(name: String, value: String)] = []) {
        lead += text(domain.messages[message], extra)
    }
}
