import Foundation

extension Domain {
    /// Reads the domain in a folder: `domain.yaml`, `intents.yaml`, `slots.yaml`, `flows.yaml`, `rules.yaml` and `replies.yaml`.
    ///
    /// - Throws: ``DomainError`` with everything that is wrong with the files, each with file, line, column and what was expected.
    public static func load(directory: String) throws(DomainError) -> Domain {
        try load(DomainFiles(directory: directory))
    }

    /// The domain in files that were read.
    static func load(_ files: DomainFiles) throws(DomainError) -> Domain {
        let findings = Findings()
        let domain = DomainLoader(files, findings: findings).load()
        guard findings.diagnostics.isEmpty, let domain else { throw DomainError(diagnostics: findings.sorted) }
        return domain
    }

    /// The version that the files of a folder would have, without checking them; it differs wherever the files do.
    public static func version(directory: String) -> String {
        DomainFiles.version { Array(SourceFile.contents(SourceFile.path(directory, "\($0).yaml")) ?? Data()) }
    }
}

/// The files of a domain, read and parsed.
struct DomainFiles {
    /// Their names, without their ending.
    static let names = ["domain", "intents", "slots", "flows", "rules", "replies"]

    let directory: String
    /// By name.
    var parsed: [String: ParsedFile] = [:]

    /// The files in a folder.
    init(directory: String) {
        self.directory = directory
        for name in Self.names { parsed[name] = ParsedFile(SourceFile.contents(path(name)), missing: SourceFile.missing) }
    }

    func path(_ name: String) -> String { SourceFile.path(directory, "\(name).yaml") }

    var version: String { Self.version { Array((parsed[$0]?.text ?? "").utf8) } }

    /// A hash of all files in hexadecimal, by what stands in each.
    static func version(_ contents: (String) -> [UInt8]) -> String {
        var hash = FNV1a()
        for name in names {
            hash.add(contents(name))
            hash.add([0xFF] as [UInt8])
        }
        return String(hash.value, radix: 16)
    }
}

extension Findings {
    /// The findings by file and place, each once.
    var sorted: [DomainError.Diagnostic] {
        var seen: Set<DomainError.Diagnostic> = []
        return diagnostics.filter { seen.insert($0).inserted }.sorted { ($0.file, $0.line, $0.column) < ($1.file, $1.line, $1.column) }
    }
}

/// Reads the files of one domain in the order in which they depend on each other.
struct DomainLoader {
    /// The intents that every domain has: the moves of a conversation.
    static let moves = ["inform", "affirm", "deny"]
    /// What the bot can wait for besides a slot; no slot may have such a name.
    static let reservedNames = [Step.confirmation, Step.correction, "handoff"]

    let version: String
    let files: [String: SourceFile]

    init(_ files: DomainFiles, findings: Findings) {
        version = files.version
        var sources: [String: SourceFile] = [:]
        for name in DomainFiles.names {
            if let parsed = files.parsed[name] { sources[name] = SourceFile(path: files.path(name), parsed, findings: findings) }
        }
        self.files = sources
    }

    /// The domain as far as it could be read; nil where a file could not be parsed at all. Findings are reported either way.
    func load() -> Domain? {
        let settings = root("domain").flatMap(loadSettings)
        // Without the intents and the slots nothing that refers to them can be checked.
        guard let intentsRoot = root("intents"), let slotsRoot = root("slots") else { return nil }
        let intents = loadIntents(intentsRoot)
        let places = intents.mapValues(\.place)
        let slots = loadSlots(slotsRoot)
        let flows = root("flows").map { loadFlows($0, intents: places, slots: slots) }
        let rules = root("rules").map { loadRules($0, intents: places, slots: slots) }
        let replies = root("replies").map { loadReplies($0, intents: places, slots: slots) }
        guard let settings, let flows, let rules, let replies else { return nil }

        checkHandling(of: places, flows: flows, rules: rules, answers: replies.answers)
        return Domain(
            name: settings.name, language: settings.language, version: version, sessionTimeToLive: settings.timeToLive, zone: settings.zone,
            intents: intents.mapValues(\.definition), slots: slots, flows: flows, answers: replies.answers.mapValues(\.wordings),
            rules: rules, messages: replies.messages, thresholds: settings.thresholds, limits: settings.limits, handOff: settings.handOff,
            lexicon: settings.lexicon, smallTalk: settings.smallTalk)
    }

    /// Every intent must be handled by something, and an answer must not stand behind what always comes first.
    private func checkHandling(
        of intents: [String: Element], flows: [String: FlowDefinition], rules: [Rule],
        answers: [String: (wordings: Wordings, place: Element)]
    ) {
        // A rule that holds in some cases only leaves the others to somebody else.
        let handled = Set(flows.keys).union(answers.keys).union(Self.moves)
        for (name, element) in intents where !handled.contains(name) {
            let alone = Condition(intents: [name])
            guard !rules.contains(where: { $0.when.isSound ? $0.when.covers(alone) : $0.when.intents.contains(name) }) else { continue }
            element.report("nothing handles the intent '\(name)'; a flow, a rule or an answer of this name was expected")
        }
        for (name, answer) in answers {
            if flows[name] != nil {
                answer.place.report("this answer is never said: the flow '\(name)' handles the intent")
            } else if let rule = rules.first(where: { $0.when.covers(Condition(intents: [name])) }) {
                answer.place.report("this answer is never said: the rule '\(rule.name)' handles the intent")
            }
        }
    }

    /// The one mapping that a file holds under its own name; the whole file for `domain` and `replies`.
    private func root(_ name: String) -> Element? {
        guard let root = files[name]?.root else { return nil }
        if name == "domain" || name == "replies" { return root }
        return root.fields(required: [name])[name]
    }

    /// The intents by name, with their places.
    private func loadIntents(_ root: Element) -> [String: (definition: IntentDefinition, place: Element)] {
        var intents: [String: (IntentDefinition, Element)] = [:]
        for (key, name, value) in root.entries() ?? [] {
            let fields = value.fields(required: ["means"], optional: ["label", "examples", "cues"])
            _ = fields["means"]?.string()
            let definition = IntentDefinition(
                name: name, label: fields["label"]?.string(), examples: fields["examples"]?.strings().map(\.text) ?? [],
                cues: WordList(Self.words(fields["cues"])))
            intents[name] = (definition, key)
        }
        for name in Self.moves where intents[name] == nil {
            root.report("'intents' has no '\(name)'; every domain has \(Self.moves.map { "'\($0)'" }.joined(separator: ", "))")
        }
        return intents
    }

    /// Words as a message is compared with them: half-width, lower case.
    static func words(_ element: Element?) -> [[Unicode.Scalar]] {
        (element?.strings() ?? []).map { Folded.lowered($0.text) }
    }
}
