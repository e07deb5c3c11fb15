/// One parser that meets the outside, as a fuzzer drives it.
///
/// A target takes any bytes. It ends the process where a parser traps, or where what it read breaks a rule that always holds; an error that a parser
/// throws is an answer like any other.
public struct FuzzTarget: Sendable {
    /// What `make fuzz` and the folder of the corpus call it.
    public let name: String
    /// The most bytes an input needs.
    public let maximumLength: Int
    /// Reads an input.
    public let run: @Sendable ([UInt8]) -> Void

    init(_ name: String, maximumLength: Int, _ run: @escaping @Sendable ([UInt8]) -> Void) {
        self.name = name
        self.maximumLength = maximumLength
        self.run = run
    }

    /// Every target, those of the wire first.
    public static let all: [FuzzTarget] = wire + text + domains + redis + edge
}

/// Ends the process where a rule does not hold: that is a finding, as a trap is.
func require(_ condition: Bool, _ rule: @autoclosure () -> String, line: Int = #line, file: String = #fileID) {
    if !condition { fatalError("\(file):\(line): \(rule())") }
}

/// The parts of an input. The first byte chooses between parsers; texts and messages in one input stand behind their lengths.
struct Parts {
    private var rest: ArraySlice<UInt8>

    init(_ input: [UInt8]) { rest = input[...] }

    /// One of `count` choices.
    mutating func choice(_ count: Int) -> Int { Int(rest.popFirst() ?? 0) % count }

    /// Bytes behind their length of two bytes, the high one first.
    mutating func part() -> [UInt8] {
        let length = Int(rest.popFirst() ?? 0) << 8 | Int(rest.popFirst() ?? 0)
        defer { rest = rest.dropFirst(length) }
        return Array(rest.prefix(length))
    }

    /// Everything that is left.
    var bytes: [UInt8] { Array(rest) }

    /// What is left as text; what is not UTF-8 is repaired.
    var text: String { String(decoding: rest, as: UTF8.self) }
}

/// Reads, writes and reads again: what was written must read as the same, and be written the same.
func roundTrip<Value: Equatable>(_ bytes: [UInt8], read: ([UInt8]) throws -> Value, write: (Value) throws -> [UInt8]?) {
    guard let value = try? read(bytes) else { return }
    guard let written = try? write(value) else { return }
    guard let again = try? read(written) else { fatalError("what was written of \(value) cannot be read") }
    // Numbers that are not equal to themselves (NaN) are compared by what is written of them.
    require(again == value || value != value, "\(value) was written, and \(again) read")
    let rewritten = try? write(again)
    require(rewritten == written, "what was read is written another way")
}
