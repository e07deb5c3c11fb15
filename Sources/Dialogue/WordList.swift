/// Words that are looked for in messages, half-width and in lower case.
///
/// A message holds hardly one of the hundreds of words of a domain, so that nearly all must be told by their bits in ``Folded`` alone.
struct WordList: Sendable {
    let words: [[Unicode.Scalar]]
    private let bits: [UInt64]

    init(_ words: [[Unicode.Scalar]]) {
        self.words = words
        bits = words.map(Folded.bits)
    }

    var isEmpty: Bool { words.isEmpty }

    /// Whether one of the words stands in a message.
    func occurs(in text: Folded) -> Bool { first(in: text) != nil }

    /// The first of the words, by their order here, that stands in a message.
    func first(in text: Folded) -> [Unicode.Scalar]? {
        for index in bits.indices where text.mayHold(bits[index]) && text.contains(words[index]) { return words[index] }
        return nil
    }

    /// The words that stand in a message.
    func all(in text: Folded) -> [[Unicode.Scalar]] {
        bits.indices.filter { text.mayHold(bits[$0]) && text.contains(words[$0]) }.map { words[$0] }
    }

    /// Where the words that stand in a message first do so.
    func positions(in text: Folded) -> [Int] {
        bits.indices.compactMap { text.mayHold(bits[$0]) ? text.position(of: words[$0]) : nil }
    }
}
