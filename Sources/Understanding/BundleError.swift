/// Why a model bundle, or a folder of them, was refused.
public struct BundleError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The code's name.
        public let description: String

        /// A file or folder is not there, or cannot be read.
        public static let unreadable = Code(description: "unreadable")
        /// The manifest is not what a manifest must be.
        public static let invalidManifest = Code(description: "invalidManifest")
        /// A file's content is not the one that the manifest states.
        public static let changedFile = Code(description: "changedFile")
        /// The vocabulary cannot be used.
        public static let invalidVocabulary = Code(description: "invalidVocabulary")
        /// The model gives other outputs than the manifest's labels need.
        public static let wrongOutputs = Code(description: "wrongOutputs")
    }

    /// The kind of the failure.
    public let code: Code
    /// The file or folder at fault.
    public let path: String
    /// The manifest's field at fault, such as `files.vocab.txt.sha256`; nil where it is none.
    public let field: String?
    /// What is wrong, and what was expected.
    public let message: String

    init(_ code: Code, _ path: String, field: String? = nil, _ message: String) {
        self.code = code
        self.path = path
        self.field = field
        self.message = message
    }

    /// File, field and message.
    public var description: String { field.map { "\(path): \($0): \(message)" } ?? "\(path): \(message)" }
}
