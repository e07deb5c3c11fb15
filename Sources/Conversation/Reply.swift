/// One message of a customer.
public struct Message: Sendable, Hashable {
    /// Who wrote it.
    public var uid: UserID
    /// What was written.
    public var query: Utterance
    /// The client's number of this message, rising within a session; nil: the server numbers it.
    public var seq: UInt64?

    /// A message by its parts.
    public init(uid: UserID, query: Utterance, seq: UInt64?) {
        self.uid = uid
        self.query = query
        self.seq = seq
    }
}

/// The answer to one message.
public struct Reply: Sendable, Hashable {
    /// Whose message it answers.
    public var uid: UserID
    /// The message's number.
    public var seq: UInt64
    /// What is said to the customer.
    public var text: String
    /// Who wrote it.
    public var source: ReplySource
    /// What was understood; nil where recognition was out of reach.
    public var recognition: RecognitionSummary?
    /// The session after this turn.
    public var session: SessionSnapshot
    /// This seq was answered before; nothing was changed.
    public var replayed: Bool
    /// The parts that were out of reach and had a stand-in: `understanding`, `chitchat`, `action`.
    public var degradedParts: [String]
    /// What agents said since the reply before.
    public var agentMessages: [AgentMessage]

    /// A reply by its parts.
    public init(
        uid: UserID, seq: UInt64, text: String, source: ReplySource, recognition: RecognitionSummary?, session: SessionSnapshot,
        replayed: Bool = false, degradedParts: [String] = [], agentMessages: [AgentMessage] = []
    ) {
        self.uid = uid
        self.seq = seq
        self.text = text
        self.source = source
        self.recognition = recognition
        self.session = session
        self.replayed = replayed
        self.degradedParts = degradedParts
        self.agentMessages = agentMessages
    }
}

/// What a client is told of a recognition.
public struct RecognitionSummary: Sendable, Hashable {
    /// The likeliest intent.
    public var intent: Intent
    /// The slots found, by position in the text.
    public var slots: [SlotValue]
    /// The model that answered, as `name@version`.
    public var model: String
    /// The variant of the running experiment that the customer has; empty: none.
    public var variant: String

    /// A summary by its parts.
    public init(intent: Intent, slots: [SlotValue], model: String, variant: String = "") {
        self.intent = intent
        self.slots = slots
        self.model = model
        self.variant = variant
    }

    /// The summary of `recognition`; nil where it names no intent.
    public init?(_ recognition: Recognition, variant: String = "") {
        guard let intent = recognition.intents.first else { return nil }
        self.init(intent: intent, slots: recognition.slots.map(\.value), model: recognition.model, variant: variant)
    }
}

/// What a client is told of a session.
public struct SessionSnapshot: Sendable, Hashable {
    /// Whose conversation it is.
    public var uid: UserID
    /// Turns taken since the session began.
    public var turns: UInt64
    /// The highest seq answered.
    public var lastSeq: UInt64
    /// Filled so far, by name.
    public var slots: [SlotValue]
    /// The flow under way.
    public var flow: String?
    /// Interrupted flows that will resume, innermost last.
    public var suspendedFlows: [String]
    /// What the bot asked for.
    public var awaiting: Awaiting
    /// The last turns, oldest first.
    public var history: [Turn]
    /// A person has taken over.
    public var handedOff: Bool
    /// When the session began.
    public var startedAt: Timestamp
    /// When it last changed.
    public var updatedAt: Timestamp
    /// How long it still lives.
    public var timeLeft: Duration

    /// A snapshot by its parts.
    public init(
        uid: UserID, turns: UInt64, lastSeq: UInt64, slots: [SlotValue], flow: String?, suspendedFlows: [String], awaiting: Awaiting,
        history: [Turn], handedOff: Bool, startedAt: Timestamp, updatedAt: Timestamp, timeLeft: Duration
    ) {
        self.uid = uid
        self.turns = turns
        self.lastSeq = lastSeq
        self.slots = slots
        self.flow = flow
        self.suspendedFlows = suspendedFlows
        self.awaiting = awaiting
        self.history = history
        self.handedOff = handedOff
        self.startedAt = startedAt
        self.updatedAt = updatedAt
        self.timeLeft = timeLeft
    }

    /// What a client is told of `session`, which still lives for `timeLeft`.
    public init(_ session: Session, timeLeft: Duration) {
        self.init(
            uid: session.uid, turns: session.turns, lastSeq: session.lastSeq, slots: session.slots.values.sorted { $0.name < $1.name },
            flow: session.flows.last?.name, suspendedFlows: session.flows.dropLast().map(\.name), awaiting: session.awaiting,
            history: session.history, handedOff: session.handedOff, startedAt: session.startedAt, updatedAt: session.updatedAt,
            timeLeft: timeLeft)
    }
}
