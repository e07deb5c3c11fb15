internal import FoundationEssentials
public import Tokenization

/// What a bundle's `manifest.json` says, as far as serving needs it. `model` and `training` are for people and are not read.
public struct ModelManifest: Sendable, Hashable {
    /// The model's name; that of its folder.
    public var name: String
    /// The model's version, 1 or more; that of its folder.
    public var version: Int
    /// The language of its texts, such as `zh-CN`.
    public var language: String
    /// Names of the intents, in the order of the model's outputs.
    public var intents: [String]
    /// The slot labels, in the order of the model's outputs.
    public var slotLabels: SlotLabels
    /// The most tokens of a row, `[CLS]` and `[SEP]` included.
    public var maximumLength: Int
    /// How text is normalised.
    public var tokenization: Tokenizer.Options
    /// What intent logits are divided by before softmax, so that probabilities are calibrated.
    public var temperature: Float
    /// The bundle's files by name.
    public var files: [String: FileEntry]

    /// What a file must be.
    public struct FileEntry: Sendable, Hashable {
        /// The SHA-256 of its content in 64 lower-case hexadecimal digits.
        public var sha256: String
        /// Its size in bytes.
        public var bytes: Int
    }

    /// Lengths that a manifest may state.
    static let lengths = 3...4096

    /// Reads and checks a manifest.
    ///
    /// - Parameters:
    ///   - json: The content of `manifest.json`.
    ///   - path: Where it is from, for messages.
    init(json: [UInt8], path: String) throws(BundleError) {
        let raw: Raw
        do {
            raw = try JSONDecoder().decode(Raw.self, from: Data(json))
        } catch {
            throw Self.explain(error, path: path)
        }
        func refuse(_ field: String, _ message: String) -> BundleError { BundleError(.invalidManifest, path, field: field, message) }

        guard raw.format == 1 else { throw refuse("format", "is \(raw.format); 1 is expected") }
        guard Self.isModelName(raw.name) else {
            throw refuse("name", "is \"\(raw.name)\"; 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.', not beginning with '.', are expected")
        }
        guard let version = Self.version(raw.version) else {
            throw refuse("version", "is \"\(raw.version)\"; a whole number from 1 is expected, in quotes and without leading zeros")
        }
        guard !raw.language.isEmpty else { throw refuse("language", "is empty; a language such as \"zh-CN\" is expected") }
        guard !raw.intents.isEmpty else { throw refuse("intents", "is empty; one name or more is expected") }
        var seen: Set<String> = []
        for (index, intent) in raw.intents.enumerated() {
            guard Self.isName(intent) else {
                throw refuse("intents[\(index)]", "is \"\(intent)\"; a name of A-Z, a-z, 0-9, '_', '-' and '.' is expected")
            }
            guard seen.insert(intent).inserted else { throw refuse("intents[\(index)]", "repeats \"\(intent)\"") }
        }
        do {
            slotLabels = try SlotLabels(raw.slot_labels)
        } catch {
            throw refuse(error.index.map { "slot_labels[\($0)]" } ?? "slot_labels", error.message)
        }
        guard Self.lengths.contains(raw.max_length) else {
            throw refuse("max_length", "is \(raw.max_length); \(Self.lengths.lowerBound) to \(Self.lengths.upperBound) is expected")
        }
        guard (0.01...100).contains(raw.temperature) else { throw refuse("temperature", "is \(raw.temperature); 0.01 to 100 is expected") }
        for name in ["model.pt", "vocab.txt"] where raw.files[name] == nil {
            throw refuse("files.\(name)", "is missing; sha256 and bytes are expected")
        }
        for (name, file) in raw.files.sorted(by: { $0.key < $1.key }) {
            guard Self.isModelName(name) else { throw refuse("files", "names \"\(name)\"; plain file names are expected") }
            guard file.sha256.utf8.count == 64, file.sha256.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
            else {
                throw refuse("files.\(name).sha256", "is \"\(file.sha256)\"; 64 lower-case hexadecimal digits are expected")
            }
            guard file.bytes >= 0 else { throw refuse("files.\(name).bytes", "is \(file.bytes); 0 or more is expected") }
        }

        name = raw.name
        self.version = version
        language = raw.language
        intents = raw.intents
        maximumLength = raw.max_length
        tokenization = Tokenizer.Options(
            fullWidthToHalfWidth: raw.normalization.full_width_to_half_width, cleanText: raw.normalization.clean_text,
            chineseCharacters: raw.normalization.chinese_characters, stripAccents: raw.normalization.strip_accents,
            lowercase: raw.normalization.lowercase)
        temperature = Float(raw.temperature)
        files = raw.files.mapValues { FileEntry(sha256: $0.sha256, bytes: $0.bytes) }
    }

    /// The version that a text names: a whole number from 1, without leading zeros; nil where it is none.
    static func version(_ text: String) -> Int? {
        guard let number = Int(text), number >= 1, "\(number)" == text else { return nil }
        return number
    }

    /// Whether a text can be the name of a model, and of its folder.
    static func isModelName(_ text: String) -> Bool { text.utf8.count <= 64 && text.utf8.first != UInt8(ascii: ".") && isName(text) }

    /// Whether a text can be the name of an intent or a slot.
    static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                case UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."): true
                default: false
                }
            }
    }

    /// The manifest as it is written; the names of its fields are those of the file.
    private struct Raw: Decodable {
        struct Normalization: Decodable {
            var full_width_to_half_width: Bool
            var lowercase: Bool
            var strip_accents: Bool
            var chinese_characters: Bool
            var clean_text: Bool
        }
        struct File: Decodable {
            var sha256: String
            var bytes: Int
        }

        var format: Int
        var name: String
        var version: String
        var language: String
        var intents: [String]
        var slot_labels: [String]
        var max_length: Int
        var normalization: Normalization
        var temperature: Double
        var files: [String: File]
    }

    /// Says which field is at fault.
    private static func explain(_ error: any Error, path: String) -> BundleError {
        func field(_ keys: [any CodingKey]) -> String {
            keys.reduce(into: "") { text, key in
                if let index = key.intValue { text += "[\(index)]" } else { text += text.isEmpty ? key.stringValue : ".\(key.stringValue)" }
            }
        }
        func expected(_ type: Any.Type) -> String {
            switch type {
            case is Int.Type: "a whole number is expected"
            case is Double.Type: "a number is expected"
            case is String.Type: "a text in quotes is expected"
            case is Bool.Type: "true or false is expected"
            case is [Any].Type: "a list is expected"
            default: "an object is expected"
            }
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context):
            return BundleError(.invalidManifest, path, field: field(context.codingPath + [key]), "is missing")
        case DecodingError.typeMismatch(let type, let context):
            let name = field(context.codingPath)
            return BundleError(.invalidManifest, path, field: name.isEmpty ? nil : name, "has the wrong type; \(expected(type))")
        case DecodingError.valueNotFound(let type, let context):
            return BundleError(.invalidManifest, path, field: field(context.codingPath), "is null; \(expected(type))")
        case DecodingError.dataCorrupted(let context) where !context.codingPath.isEmpty:
            return BundleError(.invalidManifest, path, field: field(context.codingPath), context.debugDescription)
        default:
            return BundleError(.invalidManifest, path, "is not JSON in UTF-8: \(error)")
        }
    }
}
