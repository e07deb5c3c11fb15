import Yams

/// A place in a YAML file, read with an expectation; what is not as expected is reported with its line and column.
struct Element {
    let node: Node
    let file: SourceFile
    /// The keys that lead here, such as `flows.address_change.required`.
    let path: String

    var line: Int { node.mark?.line ?? 1 }
    var column: Int { node.mark?.column ?? 1 }

    func report(_ message: String) {
        file.findings.add(file: file.path, line: line, column: column, message)
    }

    /// The entries of a mapping whose keys are fixed. Unknown keys are reported, and missing ones of `required`.
    func fields(required: [String], optional: [String] = []) -> [String: Element] {
        let known = required + optional
        var fields: [String: Element] = [:]
        guard let entries = entries() else { return fields }
        for (key, name, value) in entries {
            if known.contains(name) {
                fields[name] = value
            } else {
                let near = suggestion(for: name, among: known)
                key.report("unknown key '\(name)'" + (near.isEmpty ? "; one of \(listed(known)) was expected" : near))
            }
        }
        for name in required where fields[name] == nil {
            report("\(path.isEmpty ? "the file" : "'\(path)'") has no '\(name)'")
        }
        return fields
    }

    /// The entries of a mapping in their order; nil where it is none, which is reported.
    func entries() -> [(key: Element, name: String, value: Element)]? {
        guard case .mapping(let mapping) = node else {
            report("\(subject) must be a mapping, and is \(kind)")
            return nil
        }
        return mapping.compactMap { key, value in
            let element = Element(node: key, file: file, path: path)
            guard case .scalar(let scalar) = key, !scalar.string.isEmpty else {
                element.report("a key must be a name")
                return nil
            }
            let below = path.isEmpty ? scalar.string : "\(path).\(scalar.string)"
            return (element, scalar.string, Element(node: value, file: file, path: below))
        }
    }

    /// The items of a list; nil where it is none, which is reported.
    func items() -> [Element]? {
        guard case .sequence(let sequence) = node else {
            report("\(subject) must be a list, and is \(kind)")
            return nil
        }
        return sequence.map { Element(node: $0, file: file, path: path) }
    }

    /// A text that is not empty.
    func string() -> String? {
        guard case .scalar(let scalar) = node else {
            report("\(subject) must be a text, and is \(kind)")
            return nil
        }
        guard !scalar.string.isEmpty, scalar.style != .plain || scalar.string != "null" && scalar.string != "~" else {
            report("\(subject) must be a text, and is empty")
            return nil
        }
        return scalar.string
    }

    /// A list of texts, each with its place; a text twice is reported. A text by itself is a list of one.
    func strings() -> [(text: String, element: Element)] {
        if case .scalar = node { return string().map { [($0, self)] } ?? [] }
        var seen: Set<String> = []
        var strings: [(String, Element)] = []
        for item in items() ?? [] {
            guard let text = item.string() else { continue }
            if seen.insert(text).inserted {
                strings.append((text, item))
            } else {
                item.report("'\(text)' appears twice in \(subject)")
            }
        }
        return strings
    }

    /// A whole number within `range`.
    func integer(in range: ClosedRange<Int>) -> Int? {
        guard let text = string() else { return nil }
        guard let value = Int(text), range.contains(value) else {
            report("\(subject) must be a whole number from \(range.lowerBound) to \(range.upperBound), and is '\(text)'")
            return nil
        }
        return value
    }

    /// `true` or `false`.
    func boolean() -> Bool? {
        guard let text = string() else { return nil }
        guard text == "true" || text == "false" else {
            report("\(subject) must be true or false, and is '\(text)'")
            return nil
        }
        return text == "true"
    }

    /// A part of the day such as `22:00-08:00`.
    func hours() -> Hours? {
        guard let text = string() else { return nil }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { end -> Int? in
            let parts = end.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, parts.allSatisfy({ $0.count == 2 }), let hour = Int(parts[0]), let minute = Int(parts[1]),
                (0...24).contains(hour), (0...59).contains(minute), hour * 60 + minute <= 1440
            else { return nil }
            return hour * 60 + minute
        }
        guard ends.count == 2, let from = ends[0], let to = ends[1], from != to else {
            report("\(subject) must be a part of the day such as 09:00-18:00 or 22:00-08:00, and is '\(text)'")
            return nil
        }
        return Hours(from: from, to: to)
    }

    /// A time zone: `+08:00`, or a name such as `Asia/Shanghai`.
    func zone() -> Zone? {
        guard let text = string() else { return nil }
        guard let zone = Zone(text) else {
            report("\(subject) must be a time zone such as +08:00 or Asia/Shanghai, and is '\(text)'")
            return nil
        }
        return zone
    }

    /// One of the values of an enumeration.
    func choice<Choice: RawRepresentable & CaseIterable>(_ what: String, _ type: Choice.Type) -> Choice? where Choice.RawValue == String {
        guard let text = string() else { return nil }
        let choice = Choice(rawValue: text)
        if choice == nil { reportUnknown(what, text, among: Choice.allCases.map(\.rawValue)) }
        return choice
    }

    /// A number from 0 to 1.
    func probability() -> Float? {
        guard let text = string() else { return nil }
        guard let value = Float(text), (0...1).contains(value) else {
            report("\(subject) must be a number from 0 to 1, and is '\(text)'")
            return nil
        }
        return value
    }

    /// A time such as `90s`, `30m`, `24h` or `7d`, from one second to a year.
    func duration() -> Duration? {
        guard let text = string() else { return nil }
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        guard let unit = text.last.flatMap({ units[$0] }), let count = Int(text.dropLast()), (1...(365 * 86400 / unit)).contains(count)
        else {
            report("\(subject) must be a time such as 90s, 30m, 24h or 7d, and is '\(text)'")
            return nil
        }
        return .seconds(count * unit)
    }

    /// A pattern; see ``Pattern`` for what one may hold.
    func pattern() -> Pattern? {
        guard let text = string() else { return nil }
        do throws(PatternError) {
            return try Pattern(text)
        } catch {
            report("\(subject) is not a pattern: \(error.message)")
            return nil
        }
    }

    /// Reports that `name` is not one of `known`: with the one that is near, or all of them where they are few.
    func reportUnknown(_ what: String, _ name: String, among known: some Sequence<String>) {
        let near = suggestion(for: name, among: known)
        let all = known.sorted()
        let expected = near.isEmpty && (1...10).contains(all.count) ? "; one of \(listed(all)) was expected" : near
        report("unknown \(what) '\(name)'\(expected)")
    }

    private var subject: String { path.isEmpty ? "the file" : "'\(path)'" }

    private var kind: String {
        switch node {
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .scalar(let scalar): scalar.string.isEmpty ? "empty" : "the text '\(scalar.string)'"
        case .alias: "an alias"
        }
    }

    private func listed(_ names: [String]) -> String { names.map { "'\($0)'" }.joined(separator: ", ") }

    private func suggestion(for name: String, among known: some Sequence<String>) -> String {
        // Nobody mistypes a text: the comparison takes the product of both lengths.
        guard name.utf8.count <= 256 else { return "" }
        let near = known.map { (name: $0, distance: editDistance(name, $0)) }.min { ($0.distance, $0.name) < ($1.distance, $1.name) }
        guard let near, near.distance <= (name.count < 4 ? 1 : max(2, name.count / 3)) else { return "" }
        return "; did you mean '\(near.name)'?"
    }
}

/// How many characters must be added, dropped or replaced to make one text the other.
private func editDistance(_ a: String, _ b: String) -> Int {
    let b = Array(b)
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            let replaced = diagonal + (x == y ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
        }
    }
    return row[b.count]
}
