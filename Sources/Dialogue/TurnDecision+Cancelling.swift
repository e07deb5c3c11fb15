import Conversation

// Flows that the customer gives up.
extension TurnDecision {
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
        guard !session.flows.isEmpty, !saysLiterally(reading) else { return false }
        if !reading.isQuestion, domain.lexicon.cancelAll.occurs(in: reading.text) {
            session.flows = []
            session.awaiting = .nothing
            say(.cancelledAll)
            return true
        }
        guard let cancelling = cancelled(by: reading) else { return false }
        let index = cancelling.index
        let elsewhere =
            reading.understood && reading.intent != session.flows[index].name
            && (domain.flows[reading.intent] != nil || domain.answers[reading.intent] != nil)
        // 「不退了」 may well be heard as another flow; 「算了，退款吧」 is one.
        if elsewhere, cancelling.rest > (cancelling.isOwn ? 4 : 1) {
            let dropped = session.flows.remove(at: index)
            if index == session.flows.count { question = .none }
            say(.cancelled, [("flow", domain.title(ofFlow: dropped.name))])
            return false
        }
        if cancelling.rest > 4, let flow, !filled.isDisjoint(with: flow.slots) { return false }
        drop(at: index)
        return true
    }

    private func cancelled(by reading: Reading) -> Cancelling? {
        let text = reading.text
        let length = text.compact.count
        let last = session.flows.count - 1
        if domain.lexicon.decline.contains(text.compact), !reading.means(session.flows[last].name), !isOptionalQuestion {
            return Cancelling(index: last, rest: 0, isOwn: false)
        }
        guard !reading.isQuestion else { return nil }
        for index in session.flows.indices.reversed() {
            if let word = domain.flows[session.flows[index].name]?.cancelWords.first(in: text) {
                return Cancelling(index: index, rest: length - word.count, isOwn: true)
            }
        }
        guard let word = domain.lexicon.cancel.first(in: text), !domain.lexicon.cancelExcept.occurs(in: text)
        else { return nil }
        return Cancelling(index: last, rest: length - word.count, isOwn: false)
    }

    /// A 「不用了」 to a slot that nobody needs refuses the slot, not the flow.
    private var isOptionalQuestion: Bool {
        if case .slot(let name) = question { flow?.optional.contains(name) ?? false } else { false }
    }
}
