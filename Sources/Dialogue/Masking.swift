public import Conversation

extension Domain {
    /// A message in which no value of a sensitive slot stands in full: where one was recognised, where a known value stands, and where a number fits a
    /// sensitive slot whether it was recognised or not. What nobody took for a value stays as it is.
    ///
    /// - Parameters:
    ///   - recognized: What the recogniser found in the message.
    ///   - known: The slots of the session after the turn.
    public func masked(_ message: String, recognized: [RecognizedSlot], known: [SlotValue]) -> String {
        let folded = Folded(message)
        var hidden: [(range: Range<Int>, value: String)] = []
        func hide(_ range: Range<Int>, of slot: String) {
            let written = folded.written(range)
            hidden.append((range, masked(SlotValue(name: slot, value: written, normalized: ""))))
        }
        let sensitive = slots.values.filter(\.isSensitive).sorted { $0.name < $1.name }
        for slot in sensitive {
            for found in recognized where found.value.name == slot.name {
                hide(found.range.clamped(to: 0..<folded.scalars.count), of: slot.name)
            }
            for value in known where value.name == slot.name {
                let word = Folded.lowered(value.value)
                var start = 0
                while !word.isEmpty, let place = folded.position(of: word, from: start) {
                    hide(place..<place + word.count, of: slot.name)
                    start = place + word.count
                }
            }
        }
        for range in folded.tokens() {
            let code = Folded.code(folded.scalars[range])
            if let slot = sensitive.first(where: { $0.kind.isCode && ($0.accepts(code) || $0.typical?.matches(code) ?? false) }) {
                hide(range, of: slot.name)
            }
        }
        var text = ""
        var end = 0
        // Of those that overlap the first that begins, and of these the longest.
        for (range, value) in hidden.sorted(by: { ($0.range.lowerBound, -$0.range.count) < ($1.range.lowerBound, -$1.range.count) })
        where !range.isEmpty {
            if range.lowerBound >= end {
                text += folded.written(end..<range.lowerBound) + value
            } else if range.upperBound > end {
                text += "***"
            }
            end = max(end, range.upperBound)
        }
        return text + folded.written(end..<folded.scalars.count)
    }
}
