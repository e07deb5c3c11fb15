/// What a customer can want.
struct IntentDefinition: Sendable {
    let name: String
    /// What the bot calls it when it asks which was meant; nil: it is not offered.
    let label: String?
    /// How a customer may say it.
    let examples: [String]
    /// Words that name it in the second half of a message: 「…，顺便开个发票」. In lower case.
    let cues: WordList
}

/// From which probability on something is believed.
struct Thresholds: Sendable {
    /// An intent.
    let understood: Float
    /// An intent that turns away from the bot's question although the message answers it.
    let interruption: Float
    /// A slot.
    let slot: Float
    /// An intent that is offered when none was understood.
    let alternative: Float
}

/// Bounds of a conversation.
struct Limits: Sendable {
    /// How many flows may be suspended; a further one makes the oldest give way.
    let suspendedFlows: Int
    /// Above so many Unicode scalars a message that is not understood is called too long.
    let longMessage: Int
}

/// When a person is offered or takes over, besides the rules.
struct HandOffPolicy: Sendable {
    /// After how many turns not understood in a row a person is offered.
    let misunderstood: Int
    /// After how many vain questions for one slot a person is offered.
    let unanswered: Int
    /// A person takes over where an action fails or is out of reach.
    let failedAction: Bool
}

/// Words by which an answer is read, in lower case.
struct Lexicon: Sendable {
    /// The whole message, or its first clause, means yes.
    let affirm: Set<[Unicode.Scalar]>
    /// The whole message means no.
    let deny: Set<[Unicode.Scalar]>
    /// Ends the flow under way.
    let cancel: WordList
    /// The whole message ends the flow under way.
    let decline: Set<[Unicode.Scalar]>
    /// Ends all flows.
    let cancelAll: WordList
    /// Contain a word of `cancel` and do not mean it.
    let cancelExcept: WordList
    /// Say that something said before was wrong: every slot of the message replaces what was said before.
    let correction: [Phrase]
    /// Ask for something else: the slots behind the word replace what was said before, in the same message too.
    let replacement: WordList
    /// Ask for one more: the slots behind the word replace what was said in earlier messages.
    let another: WordList
    /// Stand before a value that is not meant: 「不是张三」.
    let negation: WordList
    /// Ask for another value of the slot that is named beside the word.
    let change: WordList
    /// Make a message a question.
    let question: WordList
    /// Stand between a slot's name and its value.
    let link: [[Unicode.Scalar]]
    /// Stand behind a value and are no part of it.
    let trail: [[Unicode.Scalar]]
    /// The customer does not know what was asked.
    let unknown: WordList
    /// So beside the name of what was asked: 「订单号在哪看」.
    let `where`: WordList
    /// The whole message means that there is nothing to change.
    let nothing: Set<[Unicode.Scalar]>
    /// Join two wishes in one message.
    let also: WordList
    /// Choose the first, and the second, of two things that the bot named.
    let first: Set<[Unicode.Scalar]>
    let second: Set<[Unicode.Scalar]>

    /// Which of two things a message chooses, from 0: by a word that is the whole of it, or stands in a short message.
    func choice(in text: Folded) -> Int? {
        if first.contains(text.compact) { return 0 }
        if second.contains(text.compact) { return 1 }
        guard text.compact.count <= 7 else { return nil }
        let isFirst = first.contains { $0.count > 1 && text.contains($0) }
        let isSecond = second.contains { $0.count > 1 && text.contains($0) }
        return isFirst == isSecond ? nil : isFirst ? 0 : 1
    }
}

/// Words that stand in a text one after the other: `不是…是`.
struct Phrase: Sendable {
    let parts: [[Unicode.Scalar]]

    /// Reads parts that `…` separates.
    init(_ scalars: [Unicode.Scalar]) {
        parts = scalars.split(separator: "…").map(Array.init)
    }

    /// Where the last part stands, the others before it; nil where they do not occur.
    func position(in text: Folded) -> Int? {
        var start = 0
        var last: Int?
        for part in parts {
            guard let position = text.position(of: part, from: start) else { return nil }
            start = position + part.count
            last = position
        }
        return last
    }
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
    /// Of a second wish in the same message, which comes later.
    case queued
    /// Where one flow too many was suspended, and the oldest gave way.
    case gaveWay = "gave_way"
    /// After a no at the confirmation.
    case whatToChange = "what_to_change"
    /// Another value than the filled one: asks which holds.
    case whichValue = "which_value"
    /// Several values for one slot in one message: asks which is meant.
    case whichOfSeveral = "which_of_several"
    /// A number that was meant as the answer looks like another slot's.
    case mistaken
    /// The flow was cancelled by the customer.
    case cancelled
    /// All flows were.
    case cancelledAll = "cancelled_all"
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
    /// Asks which of the two likeliest meanings was meant.
    case whichIntent = "which_intent"
    /// Asks whether the likeliest meaning was meant.
    case oneIntent = "one_intent"
    /// The second time: asks to say it again, with examples.
    case examples
    /// A message without a word: emoji, punctuation.
    case wordless
    /// A very long message that was not understood.
    case tooLong = "too_long"
    /// The same message again, where it changed nothing.
    case repeated
    /// Offers a person after too many turns not understood, or too many vain questions.
    case offerPerson = "offer_person"
    /// A no to the offer.
    case offerDeclined = "offer_declined"
    /// A yes to the offer.
    case handedOff = "handed_off"
    /// Every message after that.
    case colleagueComing = "colleague_coming"
    /// An action failed or was out of reach.
    case actionFailed = "action_failed"
    /// The intent server is out of reach; offers a person.
    case unavailable

    /// What its wordings can name besides slots in a section.
    var variables: Set<String> {
        switch self {
        case .corrected: ["label", "value"]
        case .backTo, .resumed, .suspended, .queued, .gaveWay, .whatToChange, .cancelled, .actionFailed: ["flow"]
        case .whichValue: ["label", "value", "other"]
        case .whichOfSeveral: ["label", "values"]
        case .mistaken: ["label", "value", "other"]
        case .noted: ["labels"]
        case .whichIntent: ["first", "second"]
        case .oneIntent: ["first"]
        case .examples: ["examples"]
        default: []
        }
    }
}
