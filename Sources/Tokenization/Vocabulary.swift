/// The word pieces of a model and their ids. A piece that continues a word is written with `##` before it.
public struct Vocabulary: Sendable {
    /// How many pieces there are; ids are below it.
    public let count: Int
    /// The id of `[CLS]`, which begins every row.
    public let classifier: Int64
    /// The id of `[SEP]`, which ends every row.
    public let separator: Int64
    /// The id of `[UNK]`, which stands for a word that no pieces make up.
    public let unknown: Int64
    /// The id of `[PAD]`.
    public let padding: Int64
    /// Pieces with a meaning of their own that a text may name, and their ids.
    let special: [(scalars: [UInt32], id: Int64)]

    /// A piece is a path through a trie; transitions live in one hash table with linear probing, keyed by node and scalar.
    private var keys: [UInt64]
    private var targets: [Int32]
    /// The id of the piece that ends at a node; -1: none.
    private var ids: [Int32] = [-1, -1]
    private let mask: Int

    /// The node at which the pieces begin that start a word.
    static let start: Int32 = 0
    /// The node at which the pieces begin that continue a word.
    static let continuation: Int32 = 1
    private static let empty = UInt64.max

    /// Reads a vocabulary file: UTF-8, one piece a line, the first has id 0.
    ///
    /// - Throws: ``VocabularyError`` where the bytes are not UTF-8, a line is empty or repeats another, or `[PAD]`, `[UNK]`, `[CLS]` or `[SEP]` is missing.
    public init(contentsOf bytes: some BidirectionalCollection<UInt8>) throws(VocabularyError) {
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if let last = lines.last, last.isEmpty { lines.removeLast() }
        var pieces: [String] = []
        pieces.reserveCapacity(lines.count)
        for (index, line) in lines.enumerated() {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard let piece = String(validating: line, as: UTF8.self) else {
                throw VocabularyError(.notUTF8, line: index + 1, "is not UTF-8")
            }
            pieces.append(piece)
        }
        try self.init(pieces: pieces)
    }

    /// A vocabulary of pieces by rising id, from 0.
    ///
    /// - Throws: ``VocabularyError``, as ``init(contentsOf:)``.
    public init(pieces: [String]) throws(VocabularyError) {
        let transitions = pieces.reduce(0) { $0 + $1.unicodeScalars.count }
        var capacity = 64
        while capacity < transitions * 2 { capacity *= 2 }
        keys = [UInt64](repeating: Self.empty, count: capacity)
        targets = [Int32](repeating: 0, count: capacity)
        mask = capacity - 1
        count = pieces.count

        var named: [String: Int] = [:]
        let names = ["[UNK]", "[SEP]", "[CLS]", "[PAD]", "[MASK]"]
        for (id, piece) in pieces.enumerated() where names.contains(piece) { named[piece] = id }
        func require(_ name: String) throws(VocabularyError) -> Int64 {
            guard let id = named[name] else {
                throw VocabularyError(.missingPiece, line: nil, "has no piece \(name); [PAD], [UNK], [CLS] and [SEP] are expected")
            }
            return Int64(id)
        }
        padding = try require("[PAD]")
        unknown = try require("[UNK]")
        classifier = try require("[CLS]")
        separator = try require("[SEP]")
        special = names.compactMap { name in named[name].map { (name.unicodeScalars.map(\.value), Int64($0)) } }

        for (id, piece) in pieces.enumerated() { try insert(piece, id: id) }
    }

    private mutating func insert(_ piece: String, id: Int) throws(VocabularyError) {
        guard !piece.isEmpty else { throw VocabularyError(.emptyPiece, line: id + 1, "is empty; a piece is expected") }
        let (begin, scalars) = Self.path(of: piece)
        var node = begin
        for scalar in scalars {
            let slot = slot(of: node, scalar.value)
            if keys[slot] == Self.empty {
                keys[slot] = Self.key(node, scalar.value)
                targets[slot] = Int32(ids.count)
                ids.append(-1)
            }
            node = targets[slot]
        }
        let other = ids[Int(node)]
        guard other < 0 else { throw VocabularyError(.repeatedPiece, line: id + 1, "repeats line \(other + 1), \(piece)") }
        ids[Int(node)] = Int32(id)
    }

    /// Where a piece begins in the trie, and the scalars that lead on from there. By scalars: a `Character` may be `#` with a mark on it.
    private static func path(of piece: String) -> (node: Int32, scalars: Substring.UnicodeScalarView) {
        let scalars = piece.unicodeScalars[...]
        let continues = scalars.starts(with: "##".unicodeScalars) && scalars.count > 2
        return (continues ? continuation : start, scalars.dropFirst(continues ? 2 : 0))
    }

    private static func key(_ node: Int32, _ scalar: UInt32) -> UInt64 { UInt64(UInt32(bitPattern: node)) << 21 | UInt64(scalar) }

    /// Where the transition is, or would be.
    @inline(__always)
    private func slot(of node: Int32, _ scalar: UInt32) -> Int {
        let key = Self.key(node, scalar)
        var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
        while keys[slot] != key && keys[slot] != Self.empty { slot = (slot + 1) & mask }
        return slot
    }

    /// The node after `scalar`; nil: no piece goes on that way.
    @inline(__always)
    func next(_ node: Int32, _ scalar: UInt32) -> Int32? {
        let slot = slot(of: node, scalar)
        return keys[slot] == Self.empty ? nil : targets[slot]
    }

    /// The id of the piece that ends at a node; negative: none does.
    @inline(__always)
    func id(at node: Int32) -> Int32 { ids[Int(node)] }

    /// The id of a piece, written as in the file; nil where there is none.
    public func id(of piece: String) -> Int64? {
        let (begin, scalars) = Self.path(of: piece)
        var node = begin
        for scalar in scalars {
            guard let following = next(node, scalar.value) else { return nil }
            node = following
        }
        return ids[Int(node)] < 0 ? nil : Int64(ids[Int(node)])
    }
}

/// Why a vocabulary was refused.
public struct VocabularyError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The code's name.
        public let description: String

        /// A line is not UTF-8.
        public static let notUTF8 = Code(description: "notUTF8")
        /// A line is empty.
        public static let emptyPiece = Code(description: "emptyPiece")
        /// A line repeats another.
        public static let repeatedPiece = Code(description: "repeatedPiece")
        /// A piece is missing that every vocabulary has.
        public static let missingPiece = Code(description: "missingPiece")
    }

    /// The kind of the failure.
    public let code: Code
    /// The line at fault, from 1; nil: the file as a whole.
    public let line: Int?
    /// What is wrong, and what was expected.
    public let description: String

    init(_ code: Code, line: Int?, _ what: String) {
        self.code = code
        self.line = line
        self.description = line.map { "line \($0) \(what)" } ?? "the vocabulary \(what)"
    }
}
