import Conversation
import Mustache

/// One wording of a reply: plain text, or a Mustache template, compiled when the domain is loaded.
struct Template: Sendable {
    private enum Form {
        /// Texts and variables that follow each other, put together as Mustache would: rendering them by it was a tenth of a turn's time.
        case parts([Part])
        case mustache(MustacheTemplate)
    }

    private enum Part {
        case text(String)
        case variable(String)
    }

    /// The wording as it was written.
    let source: String
    private let form: Form

    /// - Throws: What Mustache says of a wording that it cannot parse.
    init(_ source: String) throws {
        self.source = source
        // Replies are plain text: nothing is escaped for HTML.
        let template = try MustacheTemplate(string: "{{% CONTENT_TYPE:TEXT}}" + source)
        form = Self.parts(of: source).map(Form.parts) ?? .mustache(template)
    }

    func render(_ variables: Variables) -> String {
        switch form {
        case .mustache(let template): return template.render(variables)
        case .parts(let parts):
            var text = ""
            for part in parts {
                switch part {
                case .text(let literal): text += literal
                case .variable(let name): text += variables.text(named: name) ?? ""
                }
            }
            return text
        }
    }

    /// A wording that has no tags but variables in its parts; nil where it has others.
    private static func parts(of source: String) -> [Part]? {
        var parts: [Part] = []
        var rest = Substring(source)
        for tag in tags(of: source) {
            guard tag.sign == nil, !tag.name.contains("."), let place = rest.firstRange(of: tag.text) else { return nil }
            if place.lowerBound > rest.startIndex { parts.append(.text(String(rest[..<place.lowerBound]))) }
            parts.append(.variable(tag.name))
            rest = rest[place.upperBound...]
        }
        if !rest.isEmpty { parts.append(.text(String(rest))) }
        return parts
    }

    /// A variable or a section of a wording.
    struct Tag: Hashable {
        /// The tag as it was written, braces included.
        var text: String
        /// How often the same tag came before.
        var occurrence: Int
        /// `#`, `^`, `/`, another sign of Mustache, or nil for a variable.
        var sign: Character?
        /// What is between the braces, without the sign and the spaces.
        var name: String
    }

    /// The tags of a wording in their order.
    static func tags(of source: String) -> [Tag] {
        var tags: [Tag] = []
        var rest = Substring(source)
        var seen: [String: Int] = [:]
        while let open = rest.firstRange(of: "{{"), let close = rest[open.upperBound...].firstRange(of: "}}") {
            let text = String(rest[open.lowerBound..<close.upperBound])
            var name = rest[open.upperBound..<close.lowerBound]
            var sign: Character?
            if let first = name.first, !first.isLetter, first != "_", first != "." {
                sign = first
                name = name.dropFirst()
            }
            let trimmed = name.drop { $0 == " " }.split(separator: " ").joined(separator: " ")
            tags.append(Tag(text: text, occurrence: seen[text, default: 0], sign: sign, name: trimmed))
            seen[text, default: 0] += 1
            rest = rest[close.upperBound...]
        }
        return tags
    }
}

/// The wordings of one reply, of which one is chosen at a time.
struct Wordings: Sendable {
    let templates: [Template]

    /// The wording for a seed. Seeds that follow each other give wordings that follow each other.
    func template(seed: UInt64) -> Template? {
        templates.isEmpty ? nil : templates[Int(seed % UInt64(templates.count))]
    }
}

/// What a template can name: the slots, and what the reply itself brings.
struct Variables: MustacheParent {
    let slots: [String: SlotValue]
    let definitions: [String: SlotDefinition]
    /// What the reply brings, ahead of the slots.
    var extra: [(name: String, value: String)] = []

    func child(named name: String) -> Any? { text(named: name).map(TemplateText.init) }

    /// What a variable stands for; nil where there is nothing.
    func text(named name: String) -> String? {
        for (key, value) in extra where key == name { return value.isEmpty ? nil : value }
        return slots[name].map { Self.text($0, definitions[name]) }
    }

    /// A value as the bot repeats it: numbers in standard form, a relative time with its day.
    private static func text(_ slot: SlotValue, _ definition: SlotDefinition?) -> String {
        switch definition?.kind {
        case .code, .phone, .amount: slot.normalized
        case .time where !slot.value.contains("月"):
            slot.value + (ResolvedTime.spoken(slot.normalized).map { "（\($0)）" } ?? "")
        case .time, .text, nil: slot.value
        }
    }
}

/// A text within a template. (A `String` would make Mustache look for its children by reflection.)
private struct TemplateText: MustacheParent, MustacheCustomRenderable {
    let renderText: String
    let isNull = false

    func child(named: String) -> Any? { nil }
}
