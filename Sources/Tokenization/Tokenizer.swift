/// BERT's own tokenizer: normalisation, words, WordPiece. Equal to `BertWordPieceTokenizer` of PyPI `tokenizers`, offsets included.
public struct Tokenizer: Sendable {
    /// Which steps of normalisation are taken, in their order.
    public struct Options: Sendable, Hashable {
        /// Full-width forms become half-width (see ``HalfWidth``). A step of our own, before those of BERT.
        public var fullWidthToHalfWidth: Bool
        /// Control, format and private-use characters are dropped, other white space becomes a space.
        public var cleanText: Bool
        /// Every Chinese character is a word.
        public var chineseCharacters: Bool
        /// Canonical decomposition, then nonspacing marks are dropped.
        public var stripAccents: Bool
        /// Lower case, scalar by scalar.
        public var lowercase: Bool
        /// `[CLS]`, `[SEP]`, `[PAD]`, `[UNK]` and `[MASK]` within a text are text like any other (`encode_special_tokens` of `tokenizers`). Otherwise they
        /// are the tokens that they name, as `tokenizers` has it.
        public var specialTokensAsText: Bool

        /// The steps of an uncased Chinese BERT.
        public init(
            fullWidthToHalfWidth: Bool = false, cleanText: Bool = true, chineseCharacters: Bool = true, stripAccents: Bool = true,
            lowercase: Bool = true, specialTokensAsText: Bool = false
        ) {
            self.fullWidthToHalfWidth = fullWidthToHalfWidth
            self.cleanText = cleanText
            self.chineseCharacters = chineseCharacters
            self.stripAccents = stripAccents
            self.lowercase = lowercase
            self.specialTokensAsText = specialTokensAsText
        }
    }

    /// The pieces and their ids.
    public let vocabulary: Vocabulary
    /// Which steps of normalisation are taken.
    public let options: Options

    /// A tokenizer over a vocabulary.
    public init(vocabulary: Vocabulary, options: Options = Options()) {
        self.vocabulary = vocabulary
        self.options = options
    }

    /// The tokens of a text between `[CLS]` and `[SEP]`.
    ///
    /// - Parameter maximumLength: The most tokens, with `[CLS]` and `[SEP]`; at least 2. What is beyond is cut at the end of the text.
    public func encode(_ text: String, maximumLength: Int) -> Encoding {
        precondition(maximumLength >= 2, "[CLS] and [SEP] need a maximum length of 2")
        var scalars: [UInt32] = []
        scalars.reserveCapacity(text.utf8.count)
        if options.fullWidthToHalfWidth {
            for scalar in text.unicodeScalars { scalars.append(HalfWidth.value(scalar.value)) }
        } else {
            for scalar in text.unicodeScalars { scalars.append(scalar.value) }
        }
        var encoder = Encoder(self, scalars: scalars, maximumLength: maximumLength)
        return encoder.encode()
    }
}

/// A text as a model sees it. All arrays have one entry a token.
public struct Encoding: Sendable, Hashable {
    /// Token ids, `[CLS]` first and `[SEP]` last.
    public var ids: [Int64]
    /// The Unicode scalars of the text as sent that each token stands for; empty for `[CLS]` and `[SEP]`.
    public var ranges: [Range<Int>]
    /// Whether a token continues the word of the token before it.
    public var isContinuation: [Bool]
    /// Whether tokens were cut at the end.
    public var truncated: Bool

    /// An encoding by its parts.
    public init(ids: [Int64], ranges: [Range<Int>], isContinuation: [Bool], truncated: Bool) {
        self.ids = ids
        self.ranges = ranges
        self.isContinuation = isContinuation
        self.truncated = truncated
    }
}
