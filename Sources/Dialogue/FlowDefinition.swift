/// What the bot does about one intent, over as many turns as it takes.
///
/// It never changes, and is a class because a turn looks at it dozens of times: a copy of so many parts costs more than the look.
final class FlowDefinition: Sendable {
    let name: String
    /// What the bot calls it, such as 修改收货地址.
    let title: String
    /// Filled before the flow goes on, in this order.
    let required: [String]
    /// One of these is enough.
    let any: [String]
    /// Taken where the customer gives them.
    let optional: [String]
    /// What is required, said or done in some cases only.
    let conditions: [FlowCondition]
    /// Times that must not be over.
    let future: Set<String>
    /// Prompts that this flow has of its own.
    let prompts: [String: Prompts]
    /// Words that end this flow before its time, in lower case.
    let cancelWords: WordList
    /// Whole messages that mean yes at this flow's confirmation, though they may mean something else elsewhere.
    let affirmWords: Set<[Unicode.Scalar]>
    let begin: Wordings
    /// Repeats what will be done, and asks; nil: the flow does not ask.
    let confirm: Wordings?
    /// Where the shop's backend is asked to do it; nil: nothing is called.
    let action: FlowAction?
    /// What is said at the end, where no backend does it.
    let done: Wordings
    /// The flow that begins when this one has ended.
    let next: String?

    /// All slots that the flow may know, in the order in which it asks.
    let slots: [String]

    init(
        name: String, title: String, required: [String], any: [String], optional: [String], conditions: [FlowCondition],
        future: Set<String>,
        prompts: [String: Prompts], cancelWords: WordList, affirmWords: Set<[Unicode.Scalar]>, begin: Wordings, confirm: Wordings?,
        action: FlowAction?, done: Wordings, next: String?
    ) {
        self.name = name
        self.title = title
        self.required = required
        self.any = any
        self.optional = optional
        self.conditions = conditions
        self.future = future
        self.prompts = prompts
        self.cancelWords = cancelWords
        self.affirmWords = affirmWords
        self.begin = begin
        self.confirm = confirm
        self.action = action
        self.done = done
        self.next = next
        slots = required + any + optional + conditions.flatMap(\.require)
    }

    /// The slots that answer a question for `name`.
    func group(of name: String) -> [String] { any.contains(name) ? any : [name] }
}

/// What a flow needs besides, where its condition holds: `{when: {filled: [amount]}, require: [recipient]}`.
struct FlowCondition: Sendable {
    let when: Condition
    let require: [String]
}

/// A call of the shop's backend when a flow's slots are filled and confirmed.
struct FlowAction: Sendable {
    /// The action's name in the contract, such as `address.change`.
    let name: String
    /// What each result leads to, by its code.
    let branches: [String: ActionBranch]
}

/// What follows a result of an action.
struct ActionBranch: Sendable {
    enum Effect: Sendable, Equatable {
        /// The flow ends.
        case end
        /// A person takes over.
        case handOff
        /// The slot's value is of no use: it is asked for again.
        case ask(String)
        /// The flow ends, and another begins.
        case begin(String)
    }

    let reply: Wordings
    let effect: Effect
}
