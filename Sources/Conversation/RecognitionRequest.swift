/// An utterance to recognise, and how.
public struct RecognitionRequest: Sendable, Hashable {
    /// The most intents that can be asked for; more is answered with as many as there are.
    public static let defaultTopK = 3

    /// What was written.
    public var utterance: Utterance
    /// Who waits for the answer.
    public var priority: Priority
    /// The model asked for; nil: the server's default.
    public var model: ModelSelector?
    /// How many intents to return.
    public var topK: Int
    /// Echoed in the answer.
    public var requestID: String

    /// A request by its parts.
    public init(
        utterance: Utterance, priority: Priority = .interactive, model: ModelSelector? = nil, topK: Int = RecognitionRequest.defaultTopK,
        requestID: String = ""
    ) {
        self.utterance = utterance
        self.priority = priority
        self.model = model
        self.topK = topK
        self.requestID = requestID
    }
}

/// Who waits for the answer. A higher class is batched first.
public enum Priority: Int, Sendable, Hashable, CaseIterable {
    /// A person is waiting.
    case interactive
    /// A system is waiting.
    case standard
    /// Nobody is waiting: re-labelling, evaluation.
    case background
}

/// Names a model, or one version of it.
public struct ModelSelector: Sendable, Hashable, CustomStringConvertible {
    /// The model's name.
    public var name: String
    /// The version; nil: the one that is served by default.
    public var version: String?

    /// A selector from `name` or `name@version`.
    ///
    /// - Throws: ``ConversationError`` with code `.invalidArgument` where a part is empty.
    public init(_ string: String) throws(ConversationError) {
        let parts = string.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        guard !parts.isEmpty, parts.allSatisfy({ !$0.isEmpty }) else {
            throw ConversationError(.invalidArgument, "model is \"\(string)\"; \"name\" or \"name@version\" is expected")
        }
        name = String(parts[0])
        version = parts.count == 2 ? String(parts[1]) : nil
    }

    /// `name` or `name@version`.
    public var description: String { version.map { "\(name)@\($0)" } ?? name }
}

/// A model of the intent server, and what became of it.
public struct ModelDescription: Sendable, Hashable {
    /// A model's way from its file to its end.
    public enum State: Sendable, Hashable {
        case loading
        case warming
        case ready
        case draining
        case failed
    }

    /// The model's name.
    public var name: String
    /// Its version.
    public var version: String
    /// Whether it can answer.
    public var state: State
    /// It answers where no model is named.
    public var isDefault: Bool
    /// Where it runs: `cpu`, `cuda:0`.
    public var device: String
    /// What it computes in: `float32`, `bfloat16`, `float16`.
    public var precision: String
    /// The intents it tells apart.
    public var intents: [String]
    /// Its slot labels.
    public var slotLabels: [String]
    /// The bytes of its parameters in memory.
    public var memoryBytes: UInt64
    /// Of the TorchScript file, in hexadecimal.
    public var sha256: String

    /// A model by its parts.
    public init(
        name: String, version: String, state: State, isDefault: Bool, device: String, precision: String, intents: [String],
        slotLabels: [String], memoryBytes: UInt64, sha256: String
    ) {
        self.name = name
        self.version = version
        self.state = state
        self.isDefault = isDefault
        self.device = device
        self.precision = precision
        self.intents = intents
        self.slotLabels = slotLabels
        self.memoryBytes = memoryBytes
        self.sha256 = sha256
    }
}
