import Foundation
import Yams

/// Collects what is wrong with the files of one domain. Used by one loader, on one thread.
final class Findings {
    private(set) var diagnostics: [DomainError.Diagnostic] = []

    func add(file: String, line: Int, column: Int, _ message: String) {
        diagnostics.append(.init(file: file, line: line, column: column, message: message))
    }
}

/// The text of a YAML file, parsed, and what is wrong with it as a whole.
struct ParsedFile {
    /// Empty where the file could not be read.
    let text: String
    /// The text by lines, to find the place of a part of a scalar.
    fileprivate let lines: [[Unicode.Scalar]]
    fileprivate let node: Node?
    fileprivate let fault: (line: Int, column: Int, message: String)?

    /// Parses what stands in a file. Nil: it could not be read, and the fault is `missing`.
    init(_ contents: Data?, missing: String) {
        let decoded = contents.map { String(validating: $0, as: UTF8.self) }
        var node: Node?
        var fault: (line: Int, column: Int, message: String)?
        switch decoded {
        case nil: fault = (1, 1, missing)
        case .some(nil): fault = (1, 1, "the file is not valid UTF-8")
        case .some(let text?):
            do {
                node = text.isEmpty ? nil : try compose(yaml: text)
                if node == nil { fault = (1, 1, "the file is empty; a mapping was expected") }
            } catch {
                fault = Self.place(of: error)
            }
        }
        text = (decoded ?? nil) ?? ""
        // By scalars: as Characters, a line that ends in CR LF would not end.
        lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0) }
        self.node = node
        self.fault = fault
    }

    private static func place(of error: any Error) -> (line: Int, column: Int, message: String) {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _):
            (mark.line, mark.column, "this is not YAML: \(problem)")
        case YamlError.duplicatedKeysInMapping(let keys, let context):
            (
                max(context.mark.line, 1), max(context.mark.column, 1),
                "\(keys.map { "'\($0)'" }.joined(separator: ", ")) appears more than once in this mapping; a key may appear once"
            )
        case YamlError.reader(let problem, _, _, _):
            (1, 1, "this is not YAML: \(problem)")
        default:
            (1, 1, "this is not YAML: \(error)")
        }
    }
}

/// One YAML file of a domain, of which what is wrong is reported.
final class SourceFile {
    let path: String
    let findings: Findings
    private let parsed: ParsedFile

    /// Reads and parses `directory/name`; what is wrong goes to `findings`.
    convenience init(directory: String, name: String, findings: Findings) {
        self.init(path: Self.path(directory, name), findings: findings, missing: Self.missing)
    }

    /// Reads and parses a file; what is wrong goes to `findings`, `missing` where it cannot be read.
    convenience init(path: String, findings: Findings, missing: String) {
        self.init(path: path, ParsedFile(Self.contents(path), missing: missing), findings: findings)
    }

    /// A file that was read and parsed; what is wrong goes to `findings`.
    init(path: String, _ parsed: ParsedFile, findings: Findings) {
        self.path = path
        self.parsed = parsed
        self.findings = findings
        if let fault = parsed.fault { findings.add(file: path, line: fault.line, column: fault.column, fault.message) }
    }

    static let missing = "the file cannot be read; a domain's folder must have it"

    static func path(_ directory: String, _ name: String) -> String { directory.hasSuffix("/") ? directory + name : directory + "/" + name }

    /// nil where it cannot be read.
    static func contents(_ path: String) -> Data? { try? Data(contentsOf: URL(fileURLWithPath: path)) }

    /// The root of the file; nil where the file could not be parsed, which was reported.
    var root: Element? { parsed.node.map { Element(node: $0, file: self, path: "") } }

    /// Where the `occurrence`-th (from 0) `part` stands at or after a mark; the mark itself where it does not.
    func position(of part: String, occurrence: Int, line: Int, column: Int) -> (line: Int, column: Int) {
        let wanted = Array(part.unicodeScalars)
        var left = occurrence
        var index = line - 1
        var start = column - 1
        let lines = parsed.lines
        while index < lines.count, !wanted.isEmpty {
            let text = lines[index]
            while start + wanted.count <= text.count {
                if text[start] == wanted[0], text[start..<start + wanted.count].elementsEqual(wanted) {
                    if left == 0 { return (index + 1, start + 1) }
                    left -= 1
                    start += wanted.count
                } else {
                    start += 1
                }
            }
            index += 1
            start = 0
        }
        return (line, column)
    }
}
