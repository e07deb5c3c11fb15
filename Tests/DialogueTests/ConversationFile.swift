import Conversation
import Foundation
import Testing

@testable import Dialogue

/// Where the shipped domain lies.
let shippedDomain = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Deploy/domains/ecommerce").path

/// A conversation with recorded recognitions, and what is expected after each message.
struct RecordedConversation: Sendable, CustomTestStringConvertible {
    struct Step: Sendable {
        var line: Int
        var user: String
        /// nil: the intent server is out of reach.
        var recognition: Recognition?
        var flow: String?
        var awaiting: String?
        var source: String?
        var suspended: [String]?
        var handedOff: Bool?
        var degraded: Bool?
        var misunderstood: Int?
        var slots: [String: String] = [:]
        var says: [String] = []
        var silentOn: [String] = []
    }

    var name: String
    var file: String
    var steps: [Step]
    var testDescription: String { name }
}

extension RecordedConversation {
    /// Reads `conversations/*.yaml` of the shipped domain.
    static func all() throws -> [RecordedConversation] {
        let folder = shippedDomain + "/conversations"
        let findings = Findings()
        var conversations: [RecordedConversation] = []
        for name in try FileManager.default.contentsOfDirectory(atPath: folder).sorted() where name.hasSuffix(".yaml") {
            let file = SourceFile(directory: folder, name: name, findings: findings)
            for item in file.root?.fields(required: ["conversations"])["conversations"]?.items() ?? [] {
                let fields = item.fields(required: ["name", "turns"])
                let steps = (fields["turns"]?.items() ?? []).compactMap(step)
                conversations.append(.init(name: fields["name"]?.string() ?? "", file: name, steps: steps))
            }
        }
        guard findings.diagnostics.isEmpty else { throw DomainError(diagnostics: findings.sorted) }
        return conversations
    }

    private static func step(_ element: Element) -> Step? {
        let fields = element.fields(
            required: ["user", "heard"],
            optional: [
                "found", "flow", "awaiting", "source", "suspended", "handed_off", "degraded", "misunderstood", "slots", "says", "not_says",
            ])
        guard let user = fields["user"]?.string(), let heard = fields["heard"]?.string() else { return nil }
        var step = Step(line: element.line, user: user)
        if heard != "nothing" { step.recognition = recognition(of: user, heard: heard, found: pairs(fields["found"]), element) }
        step.flow = word(fields["flow"])
        step.awaiting = word(fields["awaiting"])
        step.source = fields["source"]?.string()
        step.suspended = fields["suspended"]?.strings().map(\.text)
        step.handedOff = fields["handed_off"].map { $0.string() == "true" }
        step.degraded = fields["degraded"].map { $0.string() == "true" }
        step.misunderstood = fields["misunderstood"]?.integer(in: 0...1000)
        step.slots = Dictionary(pairs(fields["slots"])) { $1 }
        step.says = texts(fields["says"])
        step.silentOn = texts(fields["not_says"])
        return step
    }

    /// `none` stands for the empty name.
    private static func word(_ element: Element?) -> String? { element?.string().map { $0 == "none" ? "" : $0 } }

    private static func texts(_ element: Element?) -> [String] { element?.strings().map(\.text) ?? [] }

    private static func pairs(_ element: Element?) -> [(String, String)] {
        (element?.entries() ?? []).compactMap { _, name, value in value.string().map { (name, $0) } }
    }

    /// `heard` is an intent, or an intent and its confidence; without one it is 0.95. The spans of `found` stand in the text.
    private static func recognition(of user: String, heard: String, found: [(String, String)], _ element: Element) -> Recognition {
        let words = heard.split(separator: " ")
        var slots: [RecognizedSlot] = []
        let text = Array(user.unicodeScalars)
        for (name, value) in found {
            let span = Array(value.unicodeScalars)
            let start = (0...max(0, text.count - span.count)).first { text[$0...].starts(with: span) }
            guard let start else {
                element.report("'\(value)' is not in '\(user)'")
                continue
            }
            slots.append(
                .init(
                    value: .init(name: name, value: value, normalized: value.filter { $0 != " " }), range: start..<start + span.count,
                    confidence: 0.95))
        }
        let confidence = words.count > 1 ? Float(words[1]) ?? 0 : 0.95
        return Recognition(intents: [Intent(name: String(words[0]), confidence: confidence)], slots: slots, model: "recorded@1")
    }
}
