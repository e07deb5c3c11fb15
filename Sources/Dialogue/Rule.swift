import Conversation

/// What stands above the flows. A class for the reason that ``FlowDefinition`` is one.
final class Rule: Sendable {
    enum Effect: String, Sendable, CaseIterable {
        /// A person takes over.
        case handOff = "hand_off"
        /// The flow under way and the suspended ones are dropped.
        case endFlows = "end_flows"
        /// The reply is said, and the open question is asked again.
        case answer
        /// A model of small talk answers, or the reply stands in for it; the open question is asked again.
        case chitchat
        /// The message counts as not understood, whatever the model made of it.
        case notUnderstood = "not_understood"
    }

    let name: String
    /// Rules of a higher priority are tried first; among equals the order of the file decides.
    let priority: Int
    let when: Condition
    let effect: Effect
    /// Empty where the effect has replies of its own.
    let reply: Wordings

    init(name: String, priority: Int, when: Condition, effect: Effect, reply: Wordings) {
        self.name = name
        self.priority = priority
        self.when = when
        self.effect = effect
        self.reply = reply
    }
}

/// When a rule or a part of a flow holds: where all that it names is so.
struct Condition: Sendable {
    /// The message's intent is one of these; empty: any, or none.
    var intents: Set<String> = []
    /// The intent's confidence is at least this.
    var confidenceFrom: Float?
    /// The intent's confidence is below this.
    var confidenceBelow: Float?
    /// From which time on in a session; 1: always.
    var times = 1
    /// The same message came at least so often in a row; 1: always.
    var repeats = 1
    /// These slots are filled.
    var filled: [String] = []
    /// These slots are not.
    var empty: [String] = []
    /// These slots' values look like this.
    var matches: [(slot: String, pattern: Pattern)] = []
    /// The local time of day.
    var hours: Hours?
    /// The message has one of these words, in lower case; empty: any.
    var words = WordList([])
    /// The whole message looks like this, in lower case and without spaces and punctuation.
    var text: Pattern?

    /// Nothing was found wrong with it; what is not sound is not compared with others.
    var isSound = true

    /// Whether it holds whenever `other` does.
    func covers(_ other: Condition) -> Bool {
        guard isSound, other.isSound, times <= other.times, repeats <= other.repeats, matches.isEmpty, text == nil else { return false }
        guard intents.isEmpty || !other.intents.isEmpty && other.intents.isSubset(of: intents) else { return false }
        guard confidenceFrom.map({ $0 <= other.confidenceFrom ?? -1 }) ?? true else { return false }
        guard confidenceBelow.map({ $0 >= other.confidenceBelow ?? 2 }) ?? true else { return false }
        guard Set(filled).isSubset(of: other.filled), Set(empty).isSubset(of: other.empty) else { return false }
        guard hours == nil || hours == other.hours else { return false }
        return words.isEmpty || !other.words.isEmpty && other.words.words.allSatisfy(words.words.contains)
    }

    /// Whether the parts about slots and the time of day hold.
    func holds(slots: [String: SlotValue], minuteOfDay: @autoclosure () -> Int) -> Bool {
        guard filled.allSatisfy({ slots[$0] != nil }), empty.allSatisfy({ slots[$0] == nil }) else { return false }
        for (slot, pattern) in matches {
            guard let value = slots[slot], pattern.matches(value.normalized.unicodeScalars) else { return false }
        }
        return hours?.contains(minuteOfDay()) ?? true
    }
}

/// A part of the day, such as 22:00-08:00: from a minute on and up to another, over midnight where the second is earlier.
struct Hours: Sendable, Equatable {
    let from: Int
    let to: Int

    func contains(_ minute: Int) -> Bool { from <= to ? (from..<to).contains(minute) : minute >= from || minute < to }
}
