public import Conversation

/// A turn that was taken: the reply, and what there is to say of how it came about.
public struct TakenTurn: Sendable {
    /// What the customer is told.
    public var reply: Reply
    /// Names the session among the user's sessions.
    public var sessionID: String
    /// What the recogniser made of the message; nil where it was out of reach, and where the reply is given again.
    public var recognition: Recognition?
    /// Why a person takes over from this turn on; nil: none does, or one did already.
    public var handOff: HandOffReason?
    /// The flows that this turn began.
    public var begunFlows: [String]
    /// The flows that came to their end in this turn.
    public var completedFlows: [String]
    /// The version of the domain that decided it; empty where the reply is given again.
    public var domainVersion: String

    /// A turn by its parts.
    public init(
        reply: Reply, sessionID: String, recognition: Recognition? = nil, handOff: HandOffReason? = nil, begunFlows: [String] = [],
        completedFlows: [String] = [], domainVersion: String = ""
    ) {
        self.reply = reply
        self.sessionID = sessionID
        self.recognition = recognition
        self.handOff = handOff
        self.begunFlows = begunFlows
        self.completedFlows = completedFlows
        self.domainVersion = domainVersion
    }
}
