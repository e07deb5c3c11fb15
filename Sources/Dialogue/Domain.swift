public import Conversation

/// What the bot can talk about: intents, slots, flows, rules and wordings, read from a folder and checked as a whole.
///
/// A domain never changes. Whoever holds one can decide turns with it from any thread. (It is a class because a turn hands it to every part
/// that decides: a copy of its parts costs more than most of them do.)
public final class Domain: Sendable {
    /// The domain's name, such as `ecommerce`.
    public let name: String
    /// The language of its replies as a BCP 47 tag, such as `zh-CN`.
    public let language: String
    /// Names the contents of its files: the same files give the same version in every process.
    public let version: String
    /// How long a session lives after its last change.
    public let sessionTimeToLive: Duration
    /// The names of the intents that it handles.
    public var intentNames: Set<String> { Set(intents.keys) }
    /// Its slots' names, sorted.
    public var slotNames: [String] { slots.keys.sorted() }
    /// Its flows' names, sorted.
    public var flowNames: [String] { flows.keys.sorted() }

    let zone: Zone
    let intents: [String: IntentDefinition]
    let slots: [String: SlotDefinition]
    let flows: [String: FlowDefinition]
    let answers: [String: Wordings]
    /// By falling priority.
    let rules: [Rule]
    let messages: [StandardReply: Wordings]
    let thresholds: Thresholds
    let limits: Limits
    let handOff: HandOffPolicy
    let lexicon: Lexicon
    /// What a model of small talk may say.
    public let smallTalk: SmallTalkFilter
    /// The slots whose values are letters and digits, by name: what fits two of them must go to the same one in every process.
    let codes: [SlotDefinition]
    /// The intents that have cues, by name.
    let cued: [IntentDefinition]
    /// The rules that count.
    let counted: [Rule]

    init(
        name: String, language: String, version: String, sessionTimeToLive: Duration, zone: Zone, intents: [String: IntentDefinition],
        slots: [String: SlotDefinition], flows: [String: FlowDefinition], answers: [String: Wordings], rules: [Rule],
        messages: [StandardReply: Wordings], thresholds: Thresholds, limits: Limits, handOff: HandOffPolicy, lexicon: Lexicon,
        smallTalk: SmallTalkFilter
    ) {
        self.name = name
        self.language = language
        self.version = version
        self.sessionTimeToLive = sessionTimeToLive
        self.zone = zone
        self.intents = intents
        self.slots = slots
        self.flows = flows
        self.answers = answers
        self.rules = rules
        self.messages = messages
        self.thresholds = thresholds
        self.limits = limits
        self.handOff = handOff
        self.lexicon = lexicon
        self.smallTalk = smallTalk
        codes = slots.values.filter(\.kind.isCode).sorted { $0.name < $1.name }
        cued = intents.values.filter { !$0.cues.isEmpty }.sorted { $0.name < $1.name }
        counted = rules.filter { $0.when.times > 1 }
    }

    /// A session that begins at `now`, with this domain's time to live.
    public func newSession(uid: UserID, id: String, now: Timestamp) -> Session {
        Session(uid: uid, id: id, startedAt: now, timeToLive: sessionTimeToLive)
    }

    /// A slot's value as it may stand in logs and summaries: of a sensitive one the first and the last characters only.
    public func masked(_ slot: SlotValue) -> String {
        guard slots[slot.name]?.isSensitive ?? false else { return slot.value }
        let kept = slot.value.count > 6 ? 3 : slot.value.count > 1 ? 1 : 0
        return slot.value.prefix(kept) + "***" + (slot.value.count > 6 ? slot.value.suffix(2) : "")
    }

    /// What the bot calls a flow; its name where there is no such flow.
    public func title(ofFlow name: String) -> String { flows[name]?.title ?? name }

    /// What the bot calls a slot; its name where there is no such slot.
    public func label(ofSlot name: String) -> String { slots[name]?.label ?? name }
}
