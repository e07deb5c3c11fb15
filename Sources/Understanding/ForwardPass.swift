/// Runs a model over a batch of token rows. Declared here, provided by a service over libtorch, faked in tests.
public protocol ForwardPass: Sendable {
    /// Runs one forward pass. Never on the cooperative pool: an implementation brings a thread of its own.
    func forward(_ batch: TokenBatch) async throws -> Logits
}

/// Token rows of one length, padded with zeros on the right.
public struct TokenBatch: Sendable, Hashable {
    /// How many rows there are.
    public var rows: Int
    /// Tokens per row.
    public var length: Int
    /// `rows` x `length` token ids, row by row.
    public var inputIDs: [Int64]
    /// 1 where there is a token, 0 where there is padding; `rows` x `length`.
    public var attentionMask: [Int64]

    /// A batch by its parts.
    public init(rows: Int, length: Int, inputIDs: [Int64], attentionMask: [Int64]) {
        precondition(inputIDs.count == rows * length && attentionMask.count == rows * length, "a token batch holds rows x length values")
        self.rows = rows
        self.length = length
        self.inputIDs = inputIDs
        self.attentionMask = attentionMask
    }
}

/// What a forward pass gives.
public struct Logits: Sendable, Hashable {
    /// `rows` x number of intents.
    public var intent: [Float]
    /// `rows` x `length` x number of slot labels.
    public var slots: [Float]

    /// Logits by their parts.
    public init(intent: [Float], slots: [Float]) {
        self.intent = intent
        self.slots = slots
    }
}
