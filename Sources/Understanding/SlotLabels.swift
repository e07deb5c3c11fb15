/// The slot labels of a model: `O`, `B-name` and `I-name` for each slot, and `X` for positions that carry no label of their own.
public struct SlotLabels: Sendable, Hashable {
    /// What a label says of a word.
    enum Label: Sendable, Hashable {
        /// In no slot.
        case outside
        /// Not for words.
        case ignored
        /// The first word of a slot, by its index in `slots`.
        case begin(Int)
        /// A further word of a slot.
        case inside(Int)
    }

    /// The labels as written, in the order of the model's outputs.
    public let names: [String]
    /// The slots' names, in the order in which they first appear.
    public let slots: [String]
    let labels: [Label]
    /// For each slot the index of its `B-` label.
    let begins: [Int]
    /// For each slot the index of its `I-` label.
    let insides: [Int]

    /// Why labels were refused.
    struct Refusal: Error {
        /// The label at fault; nil: all of them.
        var index: Int?
        var message: String
    }

    /// Reads labels; every slot must have both of its labels, and no label may come twice.
    init(_ names: [String]) throws(Refusal) {
        var slots: [String] = []
        var labels: [Label] = []
        var seen: Set<String> = []
        for (index, name) in names.enumerated() {
            guard seen.insert(name).inserted else { throw Refusal(index: index, message: "repeats \"\(name)\"") }
            switch name {
            case "O": labels.append(.outside)
            case "X": labels.append(.ignored)
            default:
                let slot = String(name.dropFirst(2))
                guard name.hasPrefix("B-") || name.hasPrefix("I-"), ModelManifest.isName(slot) else {
                    throw Refusal(
                        index: index,
                        message: "is \"\(name)\"; O, X, B-name or I-name is expected, the name of A-Z, a-z, 0-9, '_', '-' and '.'")
                }
                let other = (name.hasPrefix("B-") ? "I-" : "B-") + slot
                guard names.contains(other) else { throw Refusal(index: index, message: "is \"\(name)\", but there is no \"\(other)\"") }
                if !slots.contains(slot) { slots.append(slot) }
                let number = slots.firstIndex(of: slot) ?? 0
                labels.append(name.hasPrefix("B-") ? .begin(number) : .inside(number))
            }
        }
        guard seen.contains("O") else { throw Refusal(index: nil, message: "has no \"O\"") }
        self.names = names
        self.slots = slots
        self.labels = labels
        // Both are there: each label's other one was looked for above.
        begins = slots.map { names.firstIndex(of: "B-" + $0) ?? 0 }
        insides = slots.map { names.firstIndex(of: "I-" + $0) ?? 0 }
    }
}
