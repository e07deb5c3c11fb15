/// All that Kefu remembers of a customer's conversation. Its size is bounded, whatever its age.
public struct Session: Sendable, Hashable {
    /// How many turns the history holds.
    public static let historyLimit = 10

    /// Whose conversation it is.
    public let uid: UserID
    /// Names this session among the user's sessions; part of idempotency keys.
    public let id: String
    /// Turns taken since the session began.
    public var turns: UInt64 = 0
    /// The highest seq answered.
    public var lastSeq: UInt64 = 0
    /// Filled so far, by name.
    public var slots: [String: SlotValue] = [:]
    /// The flows begun and not ended, innermost last: the last is under way, the others are suspended.
    public var flows: [FlowInProgress] = []
    /// What the bot asked for.
    public var awaiting: Awaiting = .nothing
    /// The last ``historyLimit`` turns, oldest first.
    public var history: [Turn] = []
    /// A person has taken over.
    public var handedOff = false
    /// When the session began.
    public let startedAt: Timestamp
    /// When it last changed.
    public var updatedAt: Timestamp
    /// How long it lives after its last change.
    public var timeToLive: Duration
    /// Which seqs were answered.
    public var answered = AnsweredSequence()
    /// Turns not understood in a row.
    public var misunderstood = 0
    /// How often what a rule counts came up, by the rule's name.
    public var ruleCounts: [String: Int] = [:]
    /// The version of the domain with which the flows under way began; empty: the current one.
    public var domainVersion = ""
    /// The intents that the bot offered after a message it did not understand, in its order.
    public var alternatives: [String] = []
    /// Values of one slot of which the customer is to choose one: besides the filled one, where the slot is filled.
    public var rivals: [SlotValue] = []
    /// A hash of the last message; 0: there was none.
    public var lastMessage: UInt64 = 0
    /// How often the last message was written in a row.
    public var repeats = 0

    /// A session that begins at `now`.
    public init(uid: UserID, id: String, startedAt now: Timestamp, timeToLive: Duration) {
        self.uid = uid
        self.id = id
        self.startedAt = now
        self.updatedAt = now
        self.timeToLive = timeToLive
    }

    /// Adds a turn to the history and drops the oldest where there are more than ``historyLimit``.
    public mutating func remember(_ turn: Turn) {
        history.append(turn)
        if history.count > Self.historyLimit { history.removeFirst(history.count - Self.historyLimit) }
    }
}

/// A flow of the domain that has begun and not ended.
public struct FlowInProgress: Sendable, Hashable {
    /// The flow's name in the domain.
    public var name: String
    /// What this flow has asked for of late, oldest first: slots' names, `confirm`, or `correction` (what is to be changed after a no).
    public var asked: [String]

    /// A flow by its name and what it asked for.
    public init(name: String, asked: [String] = []) {
        self.name = name
        self.asked = asked
    }
}

/// What the bot waits for.
public enum Awaiting: Sendable, Hashable {
    /// Nothing was asked.
    case nothing
    /// The value of the slot of this name.
    case slot(String)
    /// A yes or no to what the bot is about to do.
    case confirmation
    /// A yes or no to the offer of a person. (`confirm` in the public contract.)
    case handoff
}

/// One turn of the history.
public struct Turn: Sendable, Hashable {
    /// The client's number of the message.
    public var seq: UInt64
    /// The intent recognised; empty where recognition was out of reach.
    public var intent: String
    /// Its confidence, 0 to 1.
    public var confidence: Float
    /// When it was answered.
    public var at: Timestamp
    /// Who wrote the reply.
    public var source: ReplySource

    /// A turn by its parts.
    public init(seq: UInt64, intent: String, confidence: Float, at: Timestamp, source: ReplySource) {
        self.seq = seq
        self.intent = intent
        self.confidence = confidence
        self.at = at
        self.source = source
    }
}

/// Who wrote a reply.
public enum ReplySource: Sendable, Hashable {
    /// A flow's or an intent's template.
    case template
    /// A rule that stands above the flows.
    case rule
    /// The generative model behind TensorFlow Serving.
    case chitchat
    /// Not understood: asks to say it again.
    case fallback
    /// Given to a person.
    case handoff
}

/// Which seqs of a session were answered: those whose replies are kept, and the highest that is forgotten.
///
/// A seq above ``forgotten`` that is not kept was never answered, so a message that comes late is still a new one.
public struct AnsweredSequence: Sendable, Hashable {
    /// How many replies are kept.
    public static let limit = 16

    /// What is known of a seq.
    public enum State: Sendable, Hashable {
        /// Not answered yet.
        case new
        /// Answered; the reply is kept at this position of the ring.
        case kept(position: Int)
        /// At or below a seq whose reply is no longer kept: it cannot be told whether it was answered.
        case tooOld
    }

    /// The seqs of the replies kept, by ring position; at most ``limit``.
    public private(set) var ring: [UInt64]
    /// The highest seq whose reply is no longer kept; 0: none.
    public private(set) var forgotten: UInt64

    /// A sequence by its parts; a ring longer than ``limit`` is cut.
    public init(ring: [UInt64] = [], forgotten: UInt64 = 0) {
        self.ring = Array(ring.prefix(Self.limit))
        self.forgotten = forgotten
    }

    /// What is known of `seq`.
    public func state(of seq: UInt64) -> State {
        if let position = ring.firstIndex(of: seq) { return .kept(position: position) }
        return seq <= forgotten ? .tooOld : .new
    }

    /// Notes that `seq`, which must be `.new`, is answered. A full ring gives up its lowest seq.
    ///
    /// - Returns: The ring position at which the reply is to be kept.
    public mutating func insert(_ seq: UInt64) -> Int {
        if ring.count < Self.limit {
            ring.append(seq)
            return ring.count - 1
        }
        var lowest = 0
        for position in 1..<ring.count where ring[position] < ring[lowest] { lowest = position }
        forgotten = max(forgotten, ring[lowest])
        ring[lowest] = seq
        return lowest
    }
}
