/// How a slot is recognised, checked and asked for.
struct SlotDefinition: Sendable {
    enum Kind: Sendable {
        /// Letters and digits without spaces or hyphens, at least one digit: an order number, a phone number.
        case code
        /// Free text: an address, a name.
        case text
    }

    let name: String
    let kind: Kind
    /// What the customer calls it, the label first, in lower case.
    let names: [[Unicode.Scalar]]
    /// What the bot calls it.
    let label: String
    /// What a whole value must look like.
    let pattern: Pattern
    /// What is most likely this slot, whatever was asked for: a mobile number is no order number.
    let typical: Pattern?
    /// What must occur in a text that is taken as an answer although no slot was recognised in it; nil: none is taken.
    let freeText: Pattern?
    let prompts: Prompts?
    let invalid: Wordings?

    /// Whether a value in standard form can be this slot's.
    func accepts(_ scalars: [Unicode.Scalar]) -> Bool {
        if kind == .code, !scalars.contains(where: { ("0"..."9").contains($0) }) { return false }
        return pattern.matches(scalars)
    }
}

/// How a slot is asked for.
struct Prompts: Sendable {
    /// The first time.
    let ask: Wordings
    /// When the answer was none, one after the other; the last stays.
    let again: [Template]
}

/// What the bot does about one intent, over as many turns as it takes.
struct FlowDefinition: Sendable {
    let name: String
    /// What the bot calls it, such as 修改收货地址.
    let title: String
    /// Filled before the flow goes on, in this order.
    let required: [String]
    /// One of these is enough.
    let any: [String]
    /// Taken where the customer gives them.
    let optional: [String]
    /// Prompts that this flow has of its own.
    let prompts: [String: Prompts]
    /// Words that end this flow before its time, in lower case.
    let cancelWords: [[Unicode.Scalar]]
    let begin: Wordings
    /// Repeats what will be done, and asks; nil: the flow does not ask.
    let confirm: Wordings?
    let done: Wordings

    /// All slots that the flow knows, in the order in which it asks.
    var slots: [String] { required + any + optional }

    /// The first slot that is still to be asked for.
    func missing(in filled: some Collection<String>) -> String? {
        if let name = required.first(where: { !filled.contains($0) }) { return name }
        return any.contains(where: filled.contains) ? nil : any.first
    }

    /// The slots that answer a question for `name`.
    func group(of name: String) -> [String] { any.contains(name) ? any : [name] }
}

/// What stands above the flows.
struct Rule: Sendable {
    enum Effect: String, Sendable, CaseIterable {
        /// A person takes over.
        case handOff = "hand_off"
        /// The flow under way and the suspended ones are dropped.
        case endFlows = "end_flows"
        /// The reply is said, and the open question is asked again.
        case answer
    }

    let name: String
    let intent: String
    /// From which time on in a session the rule holds; 1: always.
    let times: Int
    let effect: Effect
    let reply: Wordings
}

/// From which probability on something is believed.
struct Thresholds: Sendable {
    /// An intent.
    let understood: Float
    /// An intent that turns away from the bot's question although the message answers it.
    let interruption: Float
    /// A slot.
    let slot: Float
}

/// Bounds of a conversation.
struct Limits: Sendable {
    /// After how many turns not understood in a row a person is offered.
    let misunderstood: Int
    /// How many flows may be suspended; a further one makes the oldest give way.
    let suspendedFlows: Int
}

/// Words by which an answer is read, in lower case.
struct Lexicon: Sendable {
    /// The whole message means yes.
    let affirm: Set<[Unicode.Scalar]>
    /// The whole message means no.
    let deny: Set<[Unicode.Scalar]>
    /// Ends the flow under way.
    let cancel: [[Unicode.Scalar]]
    /// Contain a word of `cancel` and do not mean it.
    let cancelExcept: [[Unicode.Scalar]]
    /// Say that something said before was wrong: every slot of the message replaces what was said before.
    let correction: [[Unicode.Scalar]]
    /// Ask for something else: the slots behind the word replace what was said before.
    let replacement: [[Unicode.Scalar]]
    /// Make a message a question.
    let question: [[Unicode.Scalar]]
    /// Stand between a slot's name and its value.
    let link: [[Unicode.Scalar]]
}

/// A reply that the bot needs whatever the domain. The raw value is its key in `replies.yaml`.
enum StandardReply: String, Sendable, CaseIterable {
    /// Before the next question, where the message answered or filled something.
    case received
    /// Before the next question, where a filled slot was replaced.
    case corrected
    /// Before a question that is asked again after something else was answered.
    case backTo = "back_to"
    /// Before the next question of a flow that goes on after another ended.
    case resumed
    /// Before a new flow that suspends one.
    case suspended
    /// Where one flow too many was suspended, and the oldest gave way.
    case gaveWay = "gave_way"
    /// After a no at the confirmation.
    case whatToChange = "what_to_change"
    /// Two values for one slot: asks which holds.
    case whichValue = "which_value"
    /// The flow was cancelled by the customer.
    case cancelled
    /// Nothing to cancel, or a no to nothing.
    case nothingToDeny = "nothing_to_deny"
    /// A yes to nothing.
    case nothingToAffirm = "nothing_to_affirm"
    /// Information without a flow; slots were found.
    case noted
    /// Information without a flow; nothing was found.
    case notedNothing = "noted_nothing"
    /// Asks to say it again.
    case notUnderstood = "not_understood"
    /// Offers a person after too many turns not understood.
    case offerPerson = "offer_person"
    /// A no to the offer.
    case offerDeclined = "offer_declined"
    /// A yes to the offer.
    case handedOff = "handed_off"
    /// Every message after that.
    case colleagueComing = "colleague_coming"
    /// The intent server is out of reach; offers a person.
    case unavailable

    /// What its wordings can name besides slots in a section.
    var variables: Set<String> {
        switch self {
        case .corrected: ["label", "value"]
        case .backTo, .resumed, .suspended, .gaveWay, .whatToChange, .cancelled: ["flow"]
        case .whichValue: ["label", "value", "other"]
        case .noted: ["labels"]
        default: []
        }
    }
}
