/// How a slot is recognised, checked and asked for. A class for the reason that ``FlowDefinition`` is one.
final class SlotDefinition: Sendable {
    enum Kind: String, Sendable, CaseIterable {
        /// Letters and digits without spaces or hyphens, at least one digit: an order number.
        case code
        /// A telephone number.
        case phone
        /// Free text: an address, a name.
        case text
        /// A sum of money, or a count with its unit.
        case amount
        /// A date, a time of day, or both.
        case time

        /// Whether values are letters and digits, so that they are found in a text by their look.
        var isCode: Bool { self == .code || self == .phone }
    }

    let name: String
    let kind: Kind
    /// Its values in standard form are made by this; by default by the one of its kind.
    let normalizer: Normalizer
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
    /// Must not stand in logs or summaries in full.
    let isSensitive: Bool
    /// Several values in a message are one value together: 黑色, XL. Else the customer is asked which one holds.
    let joinsSeveral: Bool
    let prompts: Prompts?
    let invalid: Wordings?
    /// What is said of a time that is over, where a flow needs one to come.
    let past: Wordings?

    init(
        name: String, kind: Kind, normalizer: Normalizer, names: [[Unicode.Scalar]], label: String, pattern: Pattern, typical: Pattern?,
        freeText: Pattern?, isSensitive: Bool, joinsSeveral: Bool, prompts: Prompts?, invalid: Wordings?, past: Wordings?
    ) {
        self.name = name
        self.kind = kind
        self.normalizer = normalizer
        self.names = names
        self.label = label
        self.pattern = pattern
        self.typical = typical
        self.freeText = freeText
        self.isSensitive = isSensitive
        self.joinsSeveral = joinsSeveral
        self.prompts = prompts
        self.invalid = invalid
        self.past = past
    }

    /// Whether it matters which of two values holds although no flow needs the slot: a number of an order does, a time in passing does not.
    var isWorthAsking: Bool { prompts != nil && (kind.isCode || kind == .text && !joinsSeveral) }

    /// Whether a value in standard form can be this slot's.
    func accepts(_ scalars: [Unicode.Scalar]) -> Bool {
        if kind.isCode, !scalars.contains(where: { ("0"..."9").contains($0) }) { return false }
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
