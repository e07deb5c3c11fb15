extension Domain {
    /// Reads the domain in a folder: `domain.yaml`, `intents.yaml`, `slots.yaml`, `flows.yaml`, `rules.yaml` and `replies.yaml`.
    ///
    /// - Throws: ``DomainError`` with everything that is wrong with the files, each with file, line, column and what was expected.
    public static func load(directory: String) throws(DomainError) -> Domain {
        let findings = Findings()
        let domain = DomainLoader(directory: directory, findings: findings).load()
        guard findings.diagnostics.isEmpty, let domain else { throw DomainError(diagnostics: findings.sorted) }
        return domain
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

    let files: [String: SourceFile]

    init(directory: String, findings: Findings) {
        var files: [String: SourceFile] = [:]
        for name in ["domain", "intents", "slots", "flows", "rules", "replies"] {
            files[name] = SourceFile(directory: directory, name: "\(name).yaml", findings: findings)
        }
        self.files = files
    }

    /// The domain as far as it could be read; nil where a file could not be parsed at all. Findings are reported either way.
    func load() -> Domain? {
        let settings = root("domain").flatMap(loadSettings)
        // Without the intents and the slots nothing that refers to them can be checked.
        guard let intentsRoot = root("intents"), let slotsRoot = root("slots") else { return nil }
        let intents = loadIntents(intentsRoot)
        let slots = loadSlots(slotsRoot)
        let flows = root("flows").map { loadFlows($0, intents: intents, slots: slots) }
        let rules = root("rules").map { loadRules($0, intents: intents, slots: slots) }
        let replies = root("replies").map { loadReplies($0, intents: intents, slots: slots) }
        guard let settings, let flows, let rules, let replies else { return nil }

        let handled = Set(flows.keys).union(rules.map(\.intent)).union(replies.answers.keys).union(Self.moves)
        for (name, element) in intents where !handled.contains(name) {
            element.report("nothing handles the intent '\(name)'; a flow, a rule or an answer of this name was expected")
        }
        return Domain(
            name: settings.name, language: settings.language, sessionTimeToLive: settings.timeToLive, intents: Set(intents.keys),
            slots: slots,
            flows: flows, answers: replies.answers, rules: rules, messages: replies.messages, thresholds: settings.thresholds,
            limits: settings.limits, lexicon: settings.lexicon, codes: Set(slots.values.filter { $0.kind == .code }.map(\.name)),
            counted: Set(rules.filter { $0.times > 1 }.map(\.intent)))
    }

    /// The one mapping that a file holds under its own name; the whole file for `domain` and `replies`.
    private func root(_ name: String) -> Element? {
        guard let root = files[name]?.root else { return nil }
        if name == "domain" || name == "replies" { return root }
        return root.fields(required: [name])[name]
    }

    /// The intents by name, with their places.
    private func loadIntents(_ root: Element) -> [String: Element] {
        var intents: [String: Element] = [:]
        for (key, name, value) in root.entries() ?? [] {
            let fields = value.fields(required: ["means"])
            _ = fields["means"]?.string()
            intents[name] = key
        }
        for name in Self.moves where intents[name] == nil {
            root.report("'intents' has no '\(name)'; every domain has \(Self.moves.map { "'\($0)'" }.joined(separator: ", "))")
        }
        return intents
    }
}

// MARK: - domain.yaml

/// What `domain.yaml` holds.
struct Settings {
    var name: String
    var language: String
    var timeToLive: Duration
    var thresholds: Thresholds
    var limits: Limits
    var lexicon: Lexicon
}

extension DomainLoader {
    func loadSettings(_ root: Element) -> Settings? {
        let fields = root.fields(required: ["name", "language", "session", "thresholds", "limits", "words"])
        let session = fields["session"]?.fields(required: ["time_to_live"]) ?? [:]
        let thresholds = fields["thresholds"]?.fields(required: ["understood", "interruption", "slot"]) ?? [:]
        let limits = fields["limits"]?.fields(required: ["misunderstood", "suspended_flows"]) ?? [:]
        let words =
            fields["words"]?.fields(required: [
                "affirm", "deny", "cancel", "cancel_except", "correction", "replacement", "question", "link",
            ]) ?? [:]

        let name = fields["name"]?.string()
        let language = fields["language"]?.string()
        let timeToLive = session["time_to_live"]?.duration()
        let understood = thresholds["understood"]?.probability()
        let interruption = thresholds["interruption"]?.probability()
        let slot = thresholds["slot"]?.probability()
        if let understood, let interruption, interruption < understood {
            thresholds["interruption"]?.report("'thresholds.interruption' must not be below 'thresholds.understood'")
        }
        let misunderstood = limits["misunderstood"]?.integer(in: 1...10)
        let suspendedFlows = limits["suspended_flows"]?.integer(in: 0...16)
        let lexicon = Lexicon(
            affirm: Set(Self.words(words["affirm"])), deny: Set(Self.words(words["deny"])), cancel: Self.words(words["cancel"]),
            cancelExcept: Self.words(words["cancel_except"]), correction: Self.words(words["correction"]),
            replacement: Self.words(words["replacement"]),
            question: Self.words(words["question"]), link: Self.words(words["link"]))
        guard let name, let language, let timeToLive, let understood, let interruption, let slot, let misunderstood, let suspendedFlows
        else { return nil }
        return Settings(
            name: name, language: language, timeToLive: timeToLive,
            thresholds: Thresholds(understood: understood, interruption: interruption, slot: slot),
            limits: Limits(misunderstood: misunderstood, suspendedFlows: suspendedFlows), lexicon: lexicon)
    }

    /// Words as a message is compared with them: half-width, lower case.
    static func words(_ element: Element?) -> [[Unicode.Scalar]] {
        (element?.strings() ?? []).map { Folded.lowered($0.text) }
    }
}

// MARK: - slots.yaml

extension DomainLoader {
    private func loadSlots(_ root: Element) -> [String: SlotDefinition] {
        var slots: [String: SlotDefinition] = [:]
        for (key, name, value) in root.entries() ?? [] {
            if Self.reservedNames.contains(name) { key.report("no slot may be named '\(name)': the bot has a meaning of its own for it") }
            let fields = value.fields(
                required: ["label", "type", "pattern"], optional: ["also_called", "typical", "free_text", "ask", "ask_again", "invalid"])
            let kind = fields["type"].flatMap { element -> SlotDefinition.Kind? in
                switch element.string() {
                case "code": return .code
                case "text": return .text
                case let other?: element.report("'\(element.path)' must be 'code' or 'text', and is '\(other)'")
                case nil: break
                }
                return nil
            }
            let label = fields["label"]?.string()
            let names = Self.words(fields["also_called"])
            let pattern = fields["pattern"]?.pattern()
            let typical = fields["typical"]?.pattern()
            let freeText = fields["free_text"]?.pattern()
            if kind == .code, let element = fields["free_text"] {
                element.report("'\(element.path)' is for slots of type 'text'; codes are found by 'pattern'")
            }
            let prompts = loadPrompts(ask: fields["ask"], again: fields["ask_again"], path: value)
            let invalid = fields["invalid"].map { wordings($0, WordingScope(always: ["value"])) }
            if prompts != nil, invalid == nil {
                value.report("'\(value.path)' is asked for, and has no 'invalid': what is said of a value that does not fit")
            }
            // A slot with a fault is kept, so that what refers to it is not reported as well.
            slots[name] = SlotDefinition(
                name: name, kind: kind ?? .text, names: [Folded.lowered(label ?? name)] + names, label: label ?? name,
                pattern: pattern ?? .anything, typical: typical, freeText: freeText, prompts: prompts, invalid: invalid)
        }
        return slots
    }

    /// The prompts of a slot; nil where there are none.
    func loadPrompts(ask: Element?, again: Element?, path: Element) -> Prompts? {
        guard let ask else {
            again?.report("'\(path.path)' has 'ask_again' but no 'ask'")
            return nil
        }
        let scope = WordingScope()
        let first = wordings(ask, scope)
        let repeated = again.map { wordings($0, scope).templates } ?? []
        if repeated.count > 3 { again?.report("'\(again?.path ?? "")' has \(repeated.count) wordings; up to 3 are expected") }
        return Prompts(ask: first, again: repeated)
    }
}
