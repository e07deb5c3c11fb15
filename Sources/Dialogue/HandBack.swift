public import Conversation

extension Session {
    /// Ends the hand-off: from the next message on the bot answers again.
    ///
    /// What it had asked for is open again, but for a confirmation: that is asked anew, because the person may have done what was to be confirmed.
    ///
    /// - Parameter endingFlows: The person has settled what was under way, and the flows are dropped.
    public mutating func returnToBot(endingFlows: Bool) {
        handedOff = false
        misunderstood = 0
        if endingFlows { flows = [] }
        awaiting = .nothing
        if let asked = flows.last?.asked.last, asked != Step.confirmation, asked != Step.correction { awaiting = .slot(asked) }
    }
}
