import Foundation
import Yams

/// Collects what is wrong with the files of one domain. Used by one loader, on one thread.
final class Findings {
    private(set) var diagnostics: [DomainError.Diagnostic] = []

    func add(file: String, line: Int, column: Int, _ message: String) {
        diagnostics.append(.init(file: file, line: line, column: column, message: message))
    }
}

/// One YAML file of a domain: its text, and its root where it could be parsed.
final class SourceFile {
    let path: String
    let findings: Findings
    /// The file's text; empty where it could not be read.
    let text: String
    /// The text by lines, to find the place of a part of a scalar.
    private let lines: [[Unicode.Scalar]]
    private let node: Node?

    /// Reads and parses `directory/name`; what is wrong goes to `findings`.
    convenience init(directory: String, name: String, findings: Findings) {
        self.init(
            path: directory.hasSuffix("/") ? directory + name : directory + "/" + name, findings: findings,
            missing: "the file cannot be read; a domain's folder must have it")
    }

    /// Reads and parses a file; what is wrong goes to `findings`, `missing` where it cannot be read.
    init(path: String, findings: Findings, missing: String) {
        self.path = path
        self.findings = findings
        var text = ""
        var node: Node?
        do {
            let data = try Data(contentsOf: URL(fileURLWithPath: path))
            guard let decoded = String(validating: data, as: UTF8.self) else {
                findings.add(file: path, line: 1, column: 1, "the file is not valid UTF-8")
                self.text = ""
                self.lines = []
                self.node = nil
                return
            }
            text = decoded
        } catch {
            findings.add(file: path, line: 1, column: 1, missing)
        }
        if !text.isEmpty {
            do {
                node = try compose(yaml: text)
                if node == nil { findings.add(file: path, line: 1, column: 1, "the file is empty; a mapping was expected") }
            } catch {
                let place = Self.place(of: error)
                findings.add(file: path, line: place.line, column: place.column, place.message)
            }
        } else if findings.diagnostics.last?.file != path {
            findings.add(file: path, line: 1, column: 1, "the file is empty; a mapping was expected")
        }
        self.node = node
        self.text = text
        // By scalars: as Characters, a line that ends in CR LF would not end.
        self.lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0) }
    }

    /// The root of the file; nil where the file could not be parsed, which was reported.
    var root: Element? { node.map { Element(node: $0, file: self, path: "") } }

    /// Where the `occurrence`-th (from 0) `part` stands at or after a mark; the mark itself where it does not.
    func position(of part: String, occurrence: Int, line: Int, column: Int) -> (line: Int, column: Int) {
        let wanted = Array(part.unicodeScalars)
        var left = occurrence
        var index = line - 1
        var start = column - 1
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
