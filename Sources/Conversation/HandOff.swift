/// What a person said to the customer.
public struct AgentMessage: Sendable, Hashable {
    /// The same message has the same id wherever it comes.
    public var id: String
    /// Who said it.
    public var agent: String
    /// What was said.
    public var text: String
    /// When.
    public var at: Timestamp

    /// A message by its parts.
    public init(id: String, agent: String, text: String, at: Timestamp) {
        self.id = id
        self.agent = agent
        self.text = text
        self.at = at
    }
}

/// One message of the customer and the reply to it, as an agent reads them.
public struct Exchange: Sendable, Hashable {
    /// The message's number.
    public var seq: UInt64
    /// What the customer wrote; empty where it was not kept.
    public var query: String
    /// What the bot said; empty where it was silent.
    public var reply: String
    /// The intent recognised; nil where recognition was out of reach.
    public var intent: Intent?
    /// When it was answered.
    public var at: Timestamp
    /// Who wrote the reply.
    public var source: ReplySource
    /// What agents had said before, and this reply brought.
    public var agentMessages: [AgentMessage]

    /// An exchange by its parts.
    public init(
        seq: UInt64, query: String, reply: String, intent: Intent?, at: Timestamp, source: ReplySource, agentMessages: [AgentMessage]
    ) {
        self.seq = seq
        self.query = query
        self.reply = reply
        self.intent = intent
        self.at = at
        self.source = source
        self.agentMessages = agentMessages
    }
}

/// A conversation that was handed to a person, as an agent reads it.
public struct HandedOffConversation: Sendable, Hashable {
    /// A slot as an agent reads it.
    public struct Slot: Sendable, Hashable {
        /// The value; masked where the reader has not claimed the session.
        public var value: SlotValue
        /// What the bot calls the slot.
        public var label: String

        /// A slot by its parts.
        public init(value: SlotValue, label: String) {
            self.value = value
            self.label = label
        }
    }

    /// Whose conversation it is.
    public var uid: UserID
    /// The session's id.
    public var sessionID: String
    /// When it was handed off.
    public var waitingSince: Timestamp
    /// Why: `rule:NAME`, `accepted` or `action:NAME`.
    public var reason: String
    /// The flow under way.
    public var flow: String?
    /// What the bot calls it.
    public var flowTitle: String?
    /// Interrupted flows, innermost last.
    public var suspendedFlows: [String]
    /// Filled so far, by name.
    public var slots: [Slot]
    /// The last turns, oldest first.
    public var turns: [Exchange]
    /// What agents said since the customer's last turn.
    public var unseen: [AgentMessage]

    /// A conversation by its parts.
    public init(
        uid: UserID, sessionID: String, waitingSince: Timestamp, reason: String, flow: String?, flowTitle: String?,
        suspendedFlows: [String],
        slots: [Slot], turns: [Exchange], unseen: [AgentMessage]
    ) {
        self.uid = uid
        self.sessionID = sessionID
        self.waitingSince = waitingSince
        self.reason = reason
        self.flow = flow
        self.flowTitle = flowTitle
        self.suspendedFlows = suspendedFlows
        self.slots = slots
        self.turns = turns
        self.unseen = unseen
    }
}
