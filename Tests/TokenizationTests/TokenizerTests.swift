import Foundation
import Testing
import Tokenization

/// The files beside these tests.
enum Resources {
    static func data(_ name: String) throws -> Data {
        try Data(contentsOf: Bundle.module.bundleURL.appendingPathComponent("Resources").appendingPathComponent(name))
    }

    static func cases<Case: Decodable>(_ name: String, as type: Case.Type) throws -> [Case] {
        let decoder = JSONDecoder()
        return try data(name).split(separator: UInt8(ascii: "\n")).map { try decoder.decode(type, from: Data($0)) }
    }

    static let vocabulary = Result { try Vocabulary(contentsOf: data("vocab.txt")) }
}

@Suite struct EqualToTokenizers {
    struct Case: Decodable {
        var t: String
        var c: Int?
        var i: [Int64]
        var o: [Int]
    }

    /// CONFIGURATIONS of generate.py.
    static let options: [Tokenizer.Options] = [
        .init(),
        .init(stripAccents: false, lowercase: false),
        .init(stripAccents: false),
        .init(cleanText: false, chineseCharacters: false, lowercase: false),
        .init(cleanText: false),
        .init(specialTokensAsText: true),
    ]

    @Test func idsAndOffsetsOfEveryLine() throws {
        let vocabulary = try Resources.vocabulary.get()
        let tokenizers = Self.options.map { Tokenizer(vocabulary: vocabulary, options: $0) }
        let cases = try Resources.cases("tokenization.jsonl", as: Case.self)
        #expect(cases.filter { $0.c == nil }.count >= 5000)
        var different: [String] = []
        for (number, line) in cases.enumerated() {
            let encoding = tokenizers[line.c ?? 0].encode(line.t, maximumLength: .max)
            var end = 0
            var ranges = [0..<0]
            for index in stride(from: 0, to: line.o.count, by: 2) {
                let start = end + line.o[index]
                end = start + line.o[index + 1]
                ranges.append(start..<end)
            }
            ranges.append(0..<0)
            if encoding.ids != line.i || encoding.ranges != ranges {
                different.append(
                    "line \(number + 1) \(line.t.debugDescription): \(encoding.ids) \(encoding.ranges), not \(line.i) \(ranges)")
            }
            #expect(!encoding.truncated)
            #expect(encoding.isContinuation.count == encoding.ids.count)
        }
        #expect(different.isEmpty, "\(different.count) differ: \(different.prefix(10).joined(separator: "\n"))")
    }
}

@Suite struct EqualToTraining {
    struct Case: Decodable {
        var text: String
        var half_width: String
        var tokens: [String]
        var ids: [Int64]
        var offsets: [[Int]]
        var max_length: Int
    }

    @Test func everyCaseOfPreprocessing() throws {
        let vocabulary = try Resources.vocabulary.get()
        let tokenizer = Tokenizer(vocabulary: vocabulary, options: .init(fullWidthToHalfWidth: true))
        let cases = try Resources.cases("preprocessing.jsonl", as: Case.self)
        #expect(cases.count >= 190)
        for line in cases {
            let half = line.text.unicodeScalars.map { HalfWidth.scalar($0) }
            #expect(half == Array(line.half_width.unicodeScalars))
            let encoding = tokenizer.encode(line.text, maximumLength: line.max_length)
            #expect(encoding.ids == line.ids, "\(line.text.debugDescription)")
            #expect(encoding.ids == line.tokens.map { vocabulary.id(of: $0) }, "\(line.text.debugDescription)")
            #expect(encoding.ranges == line.offsets.map { $0[0]..<$0[1] }, "\(line.text.debugDescription)")
            let named = ["[CLS]", "[SEP]", "[UNK]"]
            #expect(
                encoding.isContinuation == line.tokens.map { $0.hasPrefix("##") && !named.contains($0) }, "\(line.text.debugDescription)")
            let whole = tokenizer.encode(line.text, maximumLength: .max)
            #expect(encoding.truncated == (whole.ids.count > line.max_length), "\(line.text.debugDescription)")
        }
    }
}

@Suite struct Truncation {
    static let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "##c", "中"]

    @Test(arguments: [
        (2, [2, 3], true), (3, [2, 4, 3], true), (4, [2, 4, 5, 3], true), (5, [2, 4, 5, 6, 3], true), (6, [2, 4, 5, 6, 7, 3], false),
        (7, [2, 4, 5, 6, 7, 3], false),
    ])
    func keepsTheBeginning(maximumLength: Int, ids: [Int64], truncated: Bool) throws {
        let encoding = Tokenizer(vocabulary: try Vocabulary(pieces: Self.pieces)).encode("abc中", maximumLength: maximumLength)
        #expect(encoding.ids == ids)
        #expect(encoding.truncated == truncated)
    }

    /// The pieces of a word that cannot be cut are taken back, and with them the room that they took.
    @Test func unknownWordTakesTheRoomOfOneToken() throws {
        let encoding = Tokenizer(vocabulary: try Vocabulary(pieces: Self.pieces)).encode("abcbx中", maximumLength: 4)
        #expect(encoding.ids == [2, 1, 7, 3])
        #expect(encoding.ranges == [0..<0, 0..<5, 5..<6, 0..<0])
        #expect(!encoding.truncated)
    }
}

@Suite struct Vocabularies {
    @Test func readsLineEndingsOfBothKinds() throws {
        for text in ["[PAD]\n[UNK]\n[CLS]\n[SEP]\n中\n##文", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n中\r\n##文\r\n"] {
            let vocabulary = try Vocabulary(contentsOf: text.utf8)
            #expect(vocabulary.count == 6)
            #expect(vocabulary.id(of: "中") == 4)
            #expect(vocabulary.id(of: "##文") == 5)
            #expect(vocabulary.id(of: "文") == nil)
            #expect(vocabulary.padding == 0)
        }
    }

    @Test(arguments: [
        ([0x61, 0x0A, 0xFF, 0x0A], VocabularyError.Code.notUTF8, "line 2 is not UTF-8"),
        (Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\n\na\n".utf8), .emptyPiece, "line 5 is empty; a piece is expected"),
        (Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##a\na\n".utf8), .repeatedPiece, "line 7 repeats line 5, a"),
        (
            Array("[PAD]\n[UNK]\n[CLS]\na\n".utf8), .missingPiece,
            "the vocabulary has no piece [SEP]; [PAD], [UNK], [CLS] and [SEP] are expected"
        ),
        ([], .missingPiece, "the vocabulary has no piece [PAD]; [PAD], [UNK], [CLS] and [SEP] are expected"),
    ])
    func refuses(bytes: [UInt8], code: VocabularyError.Code, message: String) {
        let error = #expect(throws: VocabularyError.self) { try Vocabulary(contentsOf: bytes) }
        #expect(error?.code == code)
        #expect(error?.description == message)
    }
}
