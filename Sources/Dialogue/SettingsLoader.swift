/// What `domain.yaml` holds.
struct Settings {
    var name: String
    var language: String
    var timeToLive: Duration
    var zone: Zone
    var thresholds: Thresholds
    var limits: Limits
    var handOff: HandOffPolicy
    var lexicon: Lexicon
    var smallTalk: SmallTalkFilter
}

extension DomainLoader {
    func loadSettings(_ root: Element) -> Settings? {
        let fields = root.fields(
            required: ["name", "language", "time_zone", "session", "thresholds", "limits", "hand_off", "words"], optional: ["small_talk"])
        let session = fields["session"]?.fields(required: ["time_to_live"]) ?? [:]
        let name = fields["name"]?.string()
        let language = fields["language"]?.string()
        let timeToLive = session["time_to_live"]?.duration()
        let zone = fields["time_zone"]?.zone()
        let thresholds = fields["thresholds"].flatMap(loadThresholds)
        let limits = fields["limits"].flatMap(loadLimits)
        let handOff = fields["hand_off"].flatMap(loadHandOff)
        let lexicon = fields["words"].map(loadLexicon)
        let smallTalk = fields["small_talk"].map(loadSmallTalk) ?? .standard
        guard let smallTalk, let name, let language, let timeToLive, let zone, let thresholds, let limits, let handOff, let lexicon else {
            return nil
        }
        return Settings(
            name: name, language: language, timeToLive: timeToLive, zone: zone, thresholds: thresholds, limits: limits, handOff: handOff,
            lexicon: lexicon, smallTalk: smallTalk)
    }

    private func loadThresholds(_ element: Element) -> Thresholds? {
        let fields = element.fields(required: ["understood", "interruption", "slot", "alternative"])
        let understood = fields["understood"]?.probability()
        let interruption = fields["interruption"]?.probability()
        let slot = fields["slot"]?.probability()
        let alternative = fields["alternative"]?.probability()
        guard let understood, let interruption, let slot, let alternative else { return nil }
        if interruption < understood {
            fields["interruption"]?.report("'thresholds.interruption' must not be below 'thresholds.understood'")
        }
        if alternative > understood {
            fields["alternative"]?.report("'thresholds.alternative' must not be above 'thresholds.understood'")
        }
        return Thresholds(understood: understood, interruption: interruption, slot: slot, alternative: alternative)
    }

    private func loadLimits(_ element: Element) -> Limits? {
        let fields = element.fields(required: ["suspended_flows", "long_message"])
        let suspendedFlows = fields["suspended_flows"]?.integer(in: 0...16)
        let longMessage = fields["long_message"]?.integer(in: 1...512)
        guard let suspendedFlows, let longMessage else { return nil }
        return Limits(suspendedFlows: suspendedFlows, longMessage: longMessage)
    }

    private func loadHandOff(_ element: Element) -> HandOffPolicy? {
        let fields = element.fields(required: ["misunderstood", "unanswered", "failed_action"])
        let misunderstood = fields["misunderstood"]?.integer(in: 1...10)
        let unanswered = fields["unanswered"]?.integer(in: 1...Step.limit - 1)
        let failedAction = fields["failed_action"]?.boolean()
        guard let misunderstood, let unanswered, let failedAction else { return nil }
        return HandOffPolicy(misunderstood: misunderstood, unanswered: unanswered, failedAction: failedAction)
    }

    private func loadLexicon(_ element: Element) -> Lexicon {
        let lists = [
            "affirm", "deny", "cancel", "decline", "cancel_all", "cancel_except", "correction", "replacement", "another", "negation",
            "change", "question", "link",
            "trail",
            "unknown", "where", "nothing", "also", "first", "second",
        ]
        let fields = element.fields(required: lists)
        func words(_ name: String) -> [[Unicode.Scalar]] { Self.words(fields[name]) }
        func list(_ name: String) -> WordList { WordList(words(name)) }
        return Lexicon(
            affirm: Set(words("affirm")), deny: Set(words("deny")), cancel: list("cancel"), decline: Set(words("decline")),
            cancelAll: list("cancel_all"), cancelExcept: list("cancel_except"), correction: words("correction").map(Phrase.init),
            replacement: list("replacement"), another: list("another"), negation: list("negation"), change: list("change"),
            question: list("question"), link: words("link"),
            trail: words("trail"),
            unknown: list("unknown"), where: list("where"), nothing: Set(words("nothing")), also: list("also"),
            first: Set(words("first")),
            second: Set(words("second")))
    }
}
