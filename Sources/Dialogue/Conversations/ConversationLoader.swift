import Conversation
import Foundation
import Yams

extension RecordedConversation {
    /// Reads the conversations of a folder (`*.yaml`) or of one file, and checks their names against the domain.
    ///
    /// - Throws: ``DomainError`` with everything that is wrong with the files, each with file, line, column and what was expected.
    public static func load(_ path: String, domain: Domain) throws(DomainError) -> [RecordedConversation] {
        let findings = Findings()
        var conversations: [RecordedConversation] = []
        for (directory, name) in files(path, findings) {
            conversations += read(SourceFile(directory: directory, name: name, findings: findings), domain: domain)
        }
        guard findings.diagnostics.isEmpty else { throw DomainError(diagnostics: findings.sorted) }
        return conversations
    }

    /// The conversations of one file as far as they could be read.
    static func read(_ file: SourceFile, domain: Domain) -> [RecordedConversation] {
        guard let root = file.root else { return [] }
        let items = root.fields(required: ["conversations"])["conversations"]?.items() ?? []
        return items.compactMap { ConversationReader(domain: domain).conversation($0) }
    }

    private static func files(_ path: String, _ findings: Findings) -> [(directory: String, name: String)] {
        let url = URL(filePath: path)
        if path.hasSuffix(".yaml") || path.hasSuffix(".yml") { return [(url.deletingLastPathComponent().path, url.lastPathComponent)] }
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: path) else {
            findings.add(file: path, line: 1, column: 1, "the folder cannot be read; a folder of conversations was expected")
            return []
        }
        let files = names.sorted().filter { $0.hasSuffix(".yaml") || $0.hasSuffix(".yml") }
        if files.isEmpty {
            findings.add(file: path, line: 1, column: 1, "no conversations are here; files that end in .yaml were expected")
        }
        return files.map { (path, $0) }
    }
}

/// Reads one conversation.
private struct ConversationReader {
    let domain: Domain

    private static let expectations = [
        "intent", "flow", "awaiting", "source", "suspended", "handed_off", "degraded", "replayed", "misunderstood", "turns", "actions",
        "slots",
        "says", "not_says",
    ]
    private static let sources = ["template", "rule", "chitchat", "fallback", "handoff"]
    /// Where the clock stands unless a conversation says otherwise: a Monday morning.
    private static let defaultStart = "2026-11-23 10:00"

    func conversation(_ item: Element) -> RecordedConversation? {
        let fields = item.fields(required: ["name", "turns"], optional: ["live", "at", "backend"])
        guard let name = fields["name"]?.string(), let turns = fields["turns"]?.items() else { return nil }
        let start = fields["at"].map { ($0, $0.string() ?? "") }
        let time = time(start?.1 ?? Self.defaultStart)
        if time == nil { start?.0.report("'at' must be a local time such as '\(Self.defaultStart)', and is '\(start?.1 ?? "")'") }
        let steps = turns.compactMap(step)
        let hasBackend = fields["backend"]?.boolean() ?? false
        return RecordedConversation(
            name: name, file: item.file.path, line: item.line, isLive: fields["live"]?.boolean() ?? false,
            start: time ?? Timestamp(milliseconds: 0), hasBackend: hasBackend, steps: steps)
    }

    private func time(_ text: String) -> Timestamp? {
        let parts = text.split { "-: ".contains($0) }.compactMap { Int($0) }
        guard parts.count == 5, (0..<24).contains(parts[3]), (0..<60).contains(parts[4]),
            let date = CivilDate(year: parts[0], month: parts[1], day: parts[2])
        else { return nil }
        let local = Int64(date.day * 86400 + parts[3] * 3600 + parts[4] * 60)
        return Timestamp(milliseconds: (local - Int64(domain.zone.offset(at: Timestamp(milliseconds: local * 1000)))) * 1000)
    }

    private func step(_ item: Element) -> RecordedConversation.Step? {
        guard case .mapping(let mapping) = item.node else {
            item.report("a step must be a mapping, such as {user: 你好, heard: greeting}")
            return nil
        }
        let keys = Set(mapping.compactMap { $0.key.string })
        if keys.contains("advance") {
            let duration = item.fields(required: ["advance"])["advance"]?.duration()
            return duration.map { .init(line: item.line, event: .advance($0)) }
        }
        if keys.contains("reconnect") {
            _ = item.fields(required: ["reconnect"])["reconnect"]?.boolean()
            return .init(line: item.line, event: .reconnect)
        }
        if keys.contains("resend") {
            let fields = item.fields(required: ["resend"], optional: ["as"] + Self.expectations)
            _ = fields["resend"]?.boolean()
            return .init(line: item.line, event: .resend(fields["as"]?.string() ?? ""), expectation: expectation(fields))
        }
        if keys.contains("at_once") {
            let items = item.fields(required: ["at_once"])["at_once"]?.items() ?? []
            return .init(line: item.line, event: .messages(items.compactMap(message)))
        }
        return message(item).map { .init(line: item.line, event: .message($0)) }
    }

    private func message(_ item: Element) -> RecordedConversation.Message? {
        let fields = item.fields(required: ["user", "heard"], optional: ["as", "found", "results"] + Self.expectations)
        guard let element = fields["user"], let text = element.string(), let heard = fields["heard"], let intents = heard.string()
        else { return nil }
        guard (try? Utterance(text)) != nil else {
            element.report("a message has 1 to \(Utterance.scalarLimit) characters, and this has \(text.unicodeScalars.count)")
            return nil
        }
        return .init(
            line: item.line, user: fields["as"]?.string() ?? "", text: text,
            recognition: intents == "nothing" ? nil : recognition(of: text, heard, intents, fields["found"]),
            results: (fields["results"]?.items() ?? []).map(result), expectation: expectation(fields))
    }

    /// `heard` is an intent with or without its confidence, or several with commas between; spans of `found` stand in the text.
    private func recognition(of text: String, _ heard: Element, _ intents: String, _ found: Element?) -> Recognition {
        var ranked: [Intent] = []
        for part in intents.split(separator: ",") {
            let words = part.split(separator: " ")
            guard let name = words.first, words.count <= 2,
                let confidence = words.count == 2 ? Float(words[1]) : ranked.isEmpty ? 0.95 : 0.3
            else {
                heard.report(
                    "'heard' must be an intent, or an intent and its confidence, such as 'refund_request 0.6', and is '\(intents)'")
                continue
            }
            ranked.append(Intent(name: String(name), confidence: confidence))
        }
        var slots: [RecognizedSlot] = []
        var taken: [Range<Int>] = []
        let scalars = Array(text.unicodeScalars)
        for (key, name, value) in found?.entries() ?? [] {
            if domain.slots[name] == nil { key.reportUnknown("slot", name, among: domain.slots.keys) }
            for (part, _) in value.strings() {
                let span = Array(part.unicodeScalars)
                let starts = 0..<max(1, scalars.count - span.count + 1)
                let start = starts.first { start in
                    scalars[start...].starts(with: span) && !taken.contains { $0.overlaps(start..<start + span.count) }
                }
                guard let start else {
                    value.report("'\(part)' is not in '\(text)'")
                    continue
                }
                taken.append(start..<start + span.count)
                slots.append(
                    .init(value: .init(name: name, value: part, normalized: ""), range: start..<start + span.count, confidence: 0.95))
            }
        }
        return Recognition(intents: ranked, slots: slots.sorted { $0.range.lowerBound < $1.range.lowerBound }, model: "recorded@1")
    }

    /// `{ok: {status: 已发货}}`, or `ok`.
    private func result(_ item: Element) -> ActionResult {
        if case .scalar = item.node { return ActionResult(code: item.string() ?? "") }
        guard let (_, code, values) = item.entries()?.first else { return ActionResult(code: "") }
        return ActionResult(code: code, values: Dictionary(pairs(values)) { $1 })
    }

    private func expectation(_ fields: [String: Element]) -> RecordedConversation.Expectation {
        var expected = RecordedConversation.Expectation()
        expected.intent = fields["intent"]?.string()
        expected.flow = name(fields["flow"], among: Array(domain.flows.keys), "flow")
        expected.awaiting = name(fields["awaiting"], among: domain.slots.keys + [Step.confirmation, "handoff"], "name of what is awaited")
        expected.source = name(fields["source"], among: Self.sources, "source")
        expected.suspended = fields["suspended"]?.strings().map { name, item in
            if domain.flows[name] == nil { item.reportUnknown("flow", name, among: domain.flows.keys) }
            return name
        }
        expected.handedOff = fields["handed_off"]?.boolean()
        expected.degraded = fields["degraded"]?.boolean()
        expected.replayed = fields["replayed"]?.boolean()
        expected.misunderstood = fields["misunderstood"]?.integer(in: 0...1000)
        expected.turns = fields["turns"]?.integer(in: 0...1_000_000)
        expected.actions = fields["actions"]?.strings().map(\.text)
        for (key, name, value) in fields["slots"]?.entries() ?? [] {
            if domain.slots[name] == nil { key.reportUnknown("slot", name, among: domain.slots.keys) }
            if let text = value.string() { expected.slots.append((name, text)) }
        }
        expected.says = fields["says"]?.strings().map(\.text) ?? []
        expected.silentOn = fields["not_says"]?.strings().map(\.text) ?? []
        return expected
    }

    /// `none` stands for the empty name.
    private func name(_ element: Element?, among known: [String], _ what: String) -> String? {
        guard let element, let name = element.string() else { return nil }
        if name == "none" { return "" }
        if !known.contains(name) { element.reportUnknown(what, name, among: known) }
        return name
    }

    private func pairs(_ element: Element) -> [(String, String)] {
        (element.entries() ?? []).compactMap { _, name, value in value.string().map { (name, $0) } }
    }
}
