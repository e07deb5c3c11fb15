/// Why a text is not a pattern.
struct PatternError: Error {
    let message: String
}

/// A regular expression over Unicode scalars: literals, `.`, `[a-z]`, `[^a-z]`, `\d`, `\w`, `\s`, `( )`, `|`, `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}`.
///
/// It is matched in time proportional to the text's length times the pattern's size, whatever the pattern: there is no backtracking.
/// (`Regex` is not `Sendable`, backtracks, and takes longer than a whole turn may.)
struct Pattern: Sendable {
    /// One scalar's test: within one of the ranges, or within none of them.
    struct Class: Sendable {
        var ranges: [ClosedRange<UInt32>]
        var negated = false

        func contains(_ scalar: Unicode.Scalar) -> Bool {
            for range in ranges where range.contains(scalar.value) { return !negated }
            return negated
        }
    }

    enum Instruction: Sendable {
        /// Takes one scalar of the class, and goes on at the next instruction.
        case take(Class)
        /// Goes on at both.
        case split(Int, Int)
        case jump(Int)
        case match
    }

    /// The most instructions a pattern may become.
    static let sizeLimit = 2000
    /// The most steps it may take to write them: what is repeated may be empty, and then never reaches the other limit.
    fileprivate static let stepLimit = 100_000

    /// The pattern as it was written.
    let source: String
    private let program: [Instruction]
    /// What a match can begin with; nil: it may be empty. Most texts are told from most patterns by their first scalar.
    private let beginnings: [Class]?

    /// Matches everything.
    static let anything = Pattern(source: ".*", program: [.split(1, 3), .take(Class(ranges: [], negated: true)), .jump(0), .match])

    private init(source: String, program: [Instruction]) {
        self.source = source
        self.program = program
        beginnings = Self.beginnings(of: program)
    }

    /// - Throws: ``PatternError`` that says what was wrong.
    init(_ source: String) throws(PatternError) {
        self.source = source
        var parser = PatternParser(source)
        program = try parser.program()
        beginnings = Self.beginnings(of: program)
    }

    private static func beginnings(of program: [Instruction]) -> [Class]? {
        var start = States(count: program.count)
        start.add(0, of: program)
        if start.matched { return nil }
        return start.list.compactMap { if case .take(let accepted) = program[$0] { accepted } else { nil } }
    }

    /// Whether the whole of `text` matches.
    func matches(_ text: some Collection<Unicode.Scalar>) -> Bool { run(text, anchored: true) }

    /// Whether any part of `text` matches.
    func occurs(in text: some Collection<Unicode.Scalar>) -> Bool { run(text, anchored: false) }

    private func run(_ text: some Collection<Unicode.Scalar>, anchored: Bool) -> Bool {
        if anchored, let beginnings {
            guard let first = text.first, beginnings.contains(where: { $0.contains(first) }) else { return false }
        }
        var current = States(count: program.count)
        var next = States(count: program.count)
        current.add(0, of: program)
        for scalar in text {
            if current.matched, !anchored { return true }
            next.clear()
            for state in current.list {
                if case .take(let accepted) = program[state], accepted.contains(scalar) { next.add(state + 1, of: program) }
            }
            if !anchored { next.add(0, of: program) }
            swap(&current, &next)
            if current.list.isEmpty { return false }
        }
        return current.matched
    }

    /// The instructions that may come next, each once.
    private struct States {
        var list: [Int] = []
        var matched = false
        private var present: [Bool]

        init(count: Int) { present = Array(repeating: false, count: count) }

        mutating func clear() {
            for state in list { present[state] = false }
            list.removeAll(keepingCapacity: true)
            matched = false
        }

        mutating func add(_ start: Int, of program: [Instruction]) {
            guard !present[start] else { return }
            present[start] = true
            list.append(start)
            switch program[start] {
            case .take: break
            case .match: matched = true
            case .jump(let target): add(target, of: program)
            case .split(let first, let second):
                add(first, of: program)
                add(second, of: program)
            }
        }
    }
}

/// Reads a pattern, and writes its program.
private struct PatternParser {
    private indirect enum Expression {
        case take(Pattern.Class)
        case sequence([Expression])
        case either([Expression])
        case repeated(Expression, least: Int, most: Int?)
    }

    private let text: [Unicode.Scalar]
    private var position = 0
    private var depth = 0
    private var steps = 0

    init(_ source: String) { text = Array(source.unicodeScalars) }

    mutating func program() throws(PatternError) -> [Pattern.Instruction] {
        let expression = try either()
        guard position == text.count else { throw PatternError(message: "')' at \(position + 1) closes nothing") }
        var program: [Pattern.Instruction] = []
        try emit(expression, to: &program)
        program.append(.match)
        return program
    }

    private mutating func either() throws(PatternError) -> Expression {
        var branches = [try sequence()]
        while next("|") { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .either(branches)
    }

    private mutating func sequence() throws(PatternError) -> Expression {
        var parts: [Expression] = []
        while position < text.count, text[position] != "|", text[position] != ")" { parts.append(try repetition()) }
        return .sequence(parts)
    }

    private mutating func repetition() throws(PatternError) -> Expression {
        var atom = try atom()
        var count = 0
        while position < text.count {
            if next("*") {
                atom = .repeated(atom, least: 0, most: nil)
            } else if next("+") {
                atom = .repeated(atom, least: 1, most: nil)
            } else if next("?") {
                atom = .repeated(atom, least: 0, most: 1)
            } else if next("{") {
                let least = try number()
                var most: Int? = least
                if next(",") { most = position < text.count && text[position] == "}" ? nil : try number() }
                guard next("}") else { throw PatternError(message: "'{' must be closed by '}', as in {8,24}") }
                guard most.map({ $0 >= least }) ?? true else { throw PatternError(message: "the counts in {} must rise") }
                atom = .repeated(atom, least: least, most: most)
            } else {
                break
            }
            // Each is a level of recursion more.
            count += 1
            guard count <= 8 else { throw PatternError(message: "more than 8 of *, +, ? and {} stand one behind the other") }
        }
        return atom
    }

    private mutating func atom() throws(PatternError) -> Expression {
        let scalar = text[position]
        position += 1
        switch scalar {
        case "(":
            depth += 1
            guard depth <= 32 else { throw PatternError(message: "groups are nested more than 32 deep") }
            let inner = try either()
            depth -= 1
            guard next(")") else { throw PatternError(message: "'(' is not closed by ')'") }
            if case .sequence(let parts) = inner, parts.isEmpty { throw PatternError(message: "() holds nothing") }
            return inner
        case "[": return .take(try scalarClass())
        case ".": return .take(.init(ranges: [], negated: true))
        case "\\": return .take(try escape())
        case "*", "+", "?", "{": throw PatternError(message: "'\(scalar)' at \(position) repeats nothing")
        case "^", "$":
            throw PatternError(
                message: "'\(scalar)' at \(position) is not needed: a slot's whole value is matched; write \\\(scalar) for the sign itself")
        default: return .take(.init(ranges: [scalar.value...scalar.value]))
        }
    }

    private mutating func scalarClass() throws(PatternError) -> Pattern.Class {
        var result = Pattern.Class(ranges: [])
        result.negated = next("^")
        while position < text.count, text[position] != "]" {
            let first = text[position]
            position += 1
            if first == "\\" {
                result.ranges += try escape().ranges
            } else if position + 1 < text.count, text[position] == "-", text[position + 1] != "]" {
                let last = text[position + 1]
                guard first.value <= last.value else { throw PatternError(message: "the range \(first)-\(last) runs backwards") }
                result.ranges.append(first.value...last.value)
                position += 2
            } else {
                result.ranges.append(first.value...first.value)
            }
        }
        guard next("]") else { throw PatternError(message: "'[' is not closed by ']'") }
        guard !result.ranges.isEmpty else { throw PatternError(message: "[] holds nothing") }
        return result
    }

    private mutating func escape() throws(PatternError) -> Pattern.Class {
        guard position < text.count else { throw PatternError(message: "the last '\\' escapes nothing") }
        let scalar = text[position]
        position += 1
        switch scalar {
        case "d": return .init(ranges: [0x30...0x39])
        case "w": return .init(ranges: [0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F...0x5F])
        case "s": return .init(ranges: [0x20...0x20, 0x09...0x0D, 0x3000...0x3000])
        case "a"..."z", "A"..."Z", "0"..."9": throw PatternError(message: "'\\\(scalar)' is not known; \\d, \\w and \\s are")
        default: return .init(ranges: [scalar.value...scalar.value])
        }
    }

    private mutating func number() throws(PatternError) -> Int {
        var value = 0
        let start = position
        while position < text.count, ("0"..."9").contains(text[position]), value < 10000 {
            value = value * 10 + Int(text[position].value - 0x30)
            position += 1
        }
        guard position > start, value <= Pattern.sizeLimit else {
            throw PatternError(message: "a count up to \(Pattern.sizeLimit) was expected at \(start + 1), as in {8,24}")
        }
        return value
    }

    private mutating func next(_ scalar: Unicode.Scalar) -> Bool {
        guard position < text.count, text[position] == scalar else { return false }
        position += 1
        return true
    }

    private mutating func emit(_ expression: Expression, to program: inout [Pattern.Instruction]) throws(PatternError) {
        steps += 1
        guard program.count < Pattern.sizeLimit, steps < Pattern.stepLimit else {
            throw PatternError(message: "it is too large; fewer or smaller counts in {} are expected")
        }
        switch expression {
        case .take(let accepted): program.append(.take(accepted))
        case .sequence(let parts): for part in parts { try emit(part, to: &program) }
        case .either(let branches):
            var ends: [Int] = []
            for (index, branch) in branches.enumerated() {
                guard index < branches.count - 1 else {
                    try emit(branch, to: &program)
                    break
                }
                let split = program.count
                program.append(.match)
                try emit(branch, to: &program)
                ends.append(program.count)
                program.append(.match)
                program[split] = .split(split + 1, program.count)
            }
            for end in ends { program[end] = .jump(program.count) }
        case .repeated(let inner, let least, let most):
            for _ in 0..<least { try emit(inner, to: &program) }
            if let most {
                var splits: [Int] = []
                for _ in least..<most {
                    splits.append(program.count)
                    program.append(.match)
                    try emit(inner, to: &program)
                }
                for split in splits { program[split] = .split(split + 1, program.count) }
            } else {
                let split = program.count
                program.append(.match)
                try emit(inner, to: &program)
                program.append(.jump(split))
                program[split] = .split(split + 1, program.count)
            }
        }
    }
}
