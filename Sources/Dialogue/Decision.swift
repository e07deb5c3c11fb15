public import Conversation

/// What became of one message.
public struct Decision: Sendable, Hashable {
    /// The session after the turn. ``Session/answered`` is as it was: whoever keeps the reply notes its position.
    public var session: Session
    /// What is said to the customer, paragraph by paragraph; never empty, unless an action is to be called first.
    public var paragraphs: [String]
    /// Who wrote it.
    public var source: ReplySource
    /// The parts that were out of reach and had a stand-in: `understanding`, `chitchat`, `action`.
    public var degradedParts: [String]
    /// The shop's backend must do this first: the turn is then decided again with its result, and this decision is not kept.
    public var action: ActionCall?
    /// A model of small talk may answer in place of a stand-in; see ``answerChitchat(with:)``.
    public var chitchat: ChitchatRequest?
    /// Why a person takes over from this turn on; nil: none does, or one did already.
    public var handOff: HandOffReason?
    /// The flows that this turn began, in its order.
    public var begunFlows: [String]
    /// The flows that came to their end in this turn: done, and not cancelled, dropped or given to a person.
    public var completedFlows: [String]

    /// A decision by its parts.
    public init(
        session: Session, paragraphs: [String], source: ReplySource, degradedParts: [String] = [], action: ActionCall? = nil,
        chitchat: ChitchatRequest? = nil, handOff: HandOffReason? = nil, begunFlows: [String] = [], completedFlows: [String] = []
    ) {
        self.session = session
        self.paragraphs = paragraphs
        self.source = source
        self.degradedParts = degradedParts
        self.action = action
        self.chitchat = chitchat
        self.handOff = handOff
        self.begunFlows = begunFlows
        self.completedFlows = completedFlows
    }

    /// What is said to the customer.
    public var text: String { paragraphs.joined(separator: "\n") }

    /// Puts a model's words in the place of the stand-in, or notes that it could not answer.
    ///
    /// - Parameter reply: What the model says; nil where it was out of reach, and the stand-in is said.
    public mutating func answerChitchat(with reply: String?) {
        guard let chitchat, paragraphs.indices.contains(chitchat.paragraph) else { return }
        self.chitchat = nil
        guard let reply else { return degradedParts.append("chitchat") }
        paragraphs[chitchat.paragraph] = reply
        source = .chitchat
        if !session.history.isEmpty { session.history[session.history.count - 1].source = .chitchat }
    }
}

/// Small talk for a generative model.
public struct ChitchatRequest: Sendable, Hashable {
    /// What the customer wrote.
    public var query: String
    /// Where the stand-in is among the paragraphs; what follows asks the open question again.
    public var paragraph: Int

    /// A request by its parts.
    public init(query: String, paragraph: Int) {
        self.query = query
        self.paragraph = paragraph
    }
}

/// Why a person takes over.
public enum HandOffReason: Sendable, Hashable {
    /// A rule of the domain, by its name.
    case rule(String)
    /// The customer took the offer of a person.
    case accepted
    /// An action failed, by its name.
    case failedAction(String)
}

/// Something that the shop's backend must do, once.
public struct ActionCall: Sendable, Hashable {
    /// The action's name in the domain, such as `address.change`.
    public var name: String
    /// The flow that needs it.
    public var flow: String
    /// The flow's filled slots, in its order.
    public var arguments: [SlotValue]
    /// `uid:session:seq`, with `:n` behind it for the n-th further call of one turn: the same call made again has no further effect.
    public var idempotencyKey: String

    /// A call by its parts.
    public init(name: String, flow: String, arguments: [SlotValue], idempotencyKey: String) {
        self.name = name
        self.flow = flow
        self.arguments = arguments
        self.idempotencyKey = idempotencyKey
    }
}

/// What the shop's backend answered.
public struct ActionResult: Sendable, Hashable {
    /// The code by which the domain branches, such as `ok` or `not_found`.
    public var code: String
    /// What replies may name, such as `status`.
    public var values: [String: String]

    /// The code of a backend that was out of reach, or failed in a way the domain does not know.
    public static let unavailable = ActionResult(code: "unavailable")

    /// A result by its parts.
    public init(code: String, values: [String: String] = [:]) {
        self.code = code
        self.values = values
    }
}
