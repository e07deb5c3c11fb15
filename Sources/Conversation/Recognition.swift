/// What a model made of an utterance.
public struct Recognition: Sendable, Hashable {
    /// The likeliest intents by falling confidence; never empty.
    public var intents: [Intent]
    /// The slots found, by position in the text.
    public var slots: [RecognizedSlot]
    /// The probability of the least sure word's label, 0 to 1; 1 without words; nil: not known, as it does not travel between services.
    public var labelConfidence: Float?
    /// The model that answered, as `name@version`.
    public var model: String
    /// Which path answered.
    public var route: Route
    /// Where the time went.
    public var timing: Timing

    /// A recognition by its parts.
    public init(
        intents: [Intent], slots: [RecognizedSlot] = [], labelConfidence: Float? = nil, model: String, route: Route = .model,
        timing: Timing = Timing()
    ) {
        self.intents = intents
        self.slots = slots
        self.labelConfidence = labelConfidence
        self.model = model
        self.route = route
        self.timing = timing
    }
}

/// An intent with its calibrated probability.
public struct Intent: Sendable, Hashable {
    /// The intent's name in the domain, such as `address_change`.
    public var name: String
    /// Calibrated probability, 0 to 1.
    public var confidence: Float

    /// An intent by name and confidence.
    public init(name: String, confidence: Float) {
        self.name = name
        self.confidence = confidence
    }
}

/// A span of the text that fills a slot.
public struct RecognizedSlot: Sendable, Hashable {
    /// The slot and what fills it.
    public var value: SlotValue
    /// Unicode scalar offsets into the text as it was sent.
    public var range: Range<Int>
    /// The least probability along the span, 0 to 1.
    public var confidence: Float

    /// A span by slot, value and position.
    public init(value: SlotValue, range: Range<Int>, confidence: Float) {
        self.value = value
        self.range = range
        self.confidence = confidence
    }
}

/// A slot's value as it was written, and in standard form.
///
/// Its description names the slot and shows no value: values may be sensitive, and descriptions end up in logs.
public struct SlotValue: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The slot's name in the domain, such as `order_id`.
    public var name: String
    /// As the customer wrote it.
    public var value: String
    /// Half-width, spaces removed, numerals and units in standard form.
    public var normalized: String

    /// A slot's value by its parts.
    public init(name: String, value: String, normalized: String) {
        self.name = name
        self.value = value
        self.normalized = normalized
    }

    /// The slot's name, and how long its value is.
    public var description: String { "\(name): ***(\(value.count) characters)" }

    /// The same in dumps.
    public var customMirror: Mirror { Mirror(self, children: ["name": name, "characters": value.count]) }
}

/// Which path of the intent server answered.
public enum Route: Sendable, Hashable {
    /// The model asked for.
    case model
    /// The light model of a cascade was confident enough.
    case light
    /// The cascade went on to its heavy model.
    case heavy
    /// The same normalised text was answered before by the same model version.
    case cache
}

/// Where the time of a recognition went.
public struct Timing: Sendable, Hashable {
    /// From arrival to the start of its batch.
    public var queue: Duration
    /// The batch's forward pass.
    public var compute: Duration
    /// Utterances in that batch.
    public var batchSize: Int
    /// Tokens per row of that batch.
    public var paddedLength: Int

    /// The times of one recognition.
    public init(queue: Duration = .zero, compute: Duration = .zero, batchSize: Int = 0, paddedLength: Int = 0) {
        self.queue = queue
        self.compute = compute
        self.batchSize = batchSize
        self.paddedLength = paddedLength
    }
}
