/// Why a domain could not be loaded: everything that is wrong with its files, in the order of file and line.
public struct DomainError: Error, Sendable, Hashable, CustomStringConvertible {
    /// One thing that is wrong, and where.
    public struct Diagnostic: Sendable, Hashable, CustomStringConvertible {
        /// The file's path, as the domain's folder was given.
        public let file: String
        /// The line, from 1.
        public let line: Int
        /// The column in Unicode scalars, from 1.
        public let column: Int
        /// What is wrong, and what was expected.
        public let message: String

        /// A finding by its place and message.
        public init(file: String, line: Int, column: Int, message: String) {
            self.file = file
            self.line = line
            self.column = column
            self.message = message
        }

        /// `file:line:column: message`, as editors understand it.
        public var description: String { "\(file):\(line):\(column): \(message)" }
    }

    /// What is wrong; never empty.
    public let diagnostics: [Diagnostic]

    /// An error of these findings.
    public init(diagnostics: [Diagnostic]) { self.diagnostics = diagnostics }

    /// One line for each finding.
    public var description: String { diagnostics.map(\.description).joined(separator: "\n") }
}
