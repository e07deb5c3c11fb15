import Conversation
import Foundation

extension Experiment {
    /// Reads an experiment's file. Folders of domains in it are relative to the folder of the file; they are not read.
    ///
    /// - Throws: ``DomainError`` with everything that is wrong with the file, each with file, line, column and what was expected.
    public static func load(file path: String) throws(DomainError) -> Experiment {
        let findings = Findings()
        let url = URL(filePath: path)
        let file = SourceFile(
            path: path, findings: findings, missing: "the file cannot be read; the YAML file of an experiment was expected")
        let experiment = file.root.flatMap { ExperimentLoader(folder: url.deletingLastPathComponent()).experiment($0) }
        guard findings.diagnostics.isEmpty, let experiment else { throw DomainError(diagnostics: findings.sorted) }
        return experiment
    }
}

/// Reads the parts of an experiment's file.
private struct ExperimentLoader {
    let folder: URL

    func experiment(_ root: Element) -> Experiment? {
        let fields = root.fields(required: ["name", "salt", "control", "variants"])
        let name = fields["name"].flatMap(self.name)
        let salt = fields["salt"].flatMap(self.salt)
        let controlName = fields["control"]?.string()
        guard let element = fields["variants"], let entries = element.entries() else { return nil }
        if entries.count > Experiment.variantLimit {
            element.report("there are \(entries.count) variants; at most \(Experiment.variantLimit) were expected")
        }
        let variants = entries.map { key, _, value in variant(key, value) }
        guard let name, let salt, let controlName else { return nil }
        guard let control = entries.firstIndex(where: { $0.name == controlName }) else {
            fields["control"]?.reportUnknown("variant", controlName, among: entries.map(\.name))
            return nil
        }
        guard let shares = shares(variants.map(\.share), entries, control: control, element) else { return nil }
        var whole: [Experiment.Variant] = []
        for (variant, share) in zip(variants, shares) {
            guard var read = variant.variant else { return nil }
            read.share = share
            whole.append(read)
        }
        return Experiment(name: name, salt: salt, variants: whole, control: control, takesRemainder: variants[control].share == nil)
    }

    /// What a share was read as: nil, it is not there; `bad`, it is there and was reported.
    private enum Share: Equatable {
        case buckets(Int)
        case bad
    }

    private func variant(_ key: Element, _ value: Element) -> (variant: Experiment.Variant?, share: Share?) {
        let fields = value.fields(required: [], optional: ["share", "model", "domain", "chitchat", "shadow"])
        let share = fields["share"].map { $0.percentage().map(Share.buckets) ?? .bad }
        var variant = name(key).map { Experiment.Variant(name: $0, share: 0) }
        variant?.model = fields["model"].flatMap(model)
        variant?.domain = fields["domain"]?.string().map { URL(filePath: $0, relativeTo: folder).standardizedFileURL.path }
        variant?.chitchat = fields["chitchat"]?.boolean()
        variant?.shadow = fields["shadow"].flatMap(shadow)
        return (variant, share)
    }

    private func shadow(_ element: Element) -> Experiment.Shadow? {
        let fields = element.fields(required: ["model"], optional: ["share"])
        let share = fields["share"].map { $0.percentage() } ?? Experiment.buckets
        guard let model = fields["model"].flatMap(model), let share else { return nil }
        return Experiment.Shadow(model: model, share: share)
    }

    /// The share of each variant, that of a control without one included; nil where they are not of all users, which is reported.
    private func shares(
        _ shares: [Share?], _ entries: [(key: Element, name: String, value: Element)], control: Int, _ element: Element
    ) -> [Int]? {
        var missing = false
        for (index, share) in shares.enumerated() where share == nil && index != control {
            let entry = entries[index]
            entry.key.report(
                "the variant '\(entry.name)' has no 'share'; only the control '\(entries[control].name)' may take what is left")
            missing = true
        }
        if missing || shares.contains(.bad) { return nil }
        let given = shares.map { share in if case .buckets(let buckets) = share { buckets } else { 0 } }
        let sum = given.reduce(0, +)
        let rest = Experiment.buckets - sum
        guard rest == 0 || rest > 0 && shares[control] == nil else {
            let expected =
                shares[control] == nil
                ? "at most 100 was expected" : "100 was expected, or no share at the control, which then takes what is left"
            element.report("the shares add up to \(Self.percent(sum)); \(expected)")
            return nil
        }
        return given.enumerated().map { $0 == control ? $1 + rest : $1 }
    }

    private static func percent(_ buckets: Int) -> String {
        let (whole, part) = buckets.quotientAndRemainder(dividingBy: Experiment.buckets / 100)
        guard part > 0 else { return "\(whole)" }
        var digits = String(repeating: "0", count: 4 - String(part).count) + String(part)
        while digits.last == "0" { digits.removeLast() }
        return "\(whole).\(digits)"
    }

    /// A name that may stand in metrics and files.
    private func name(_ element: Element) -> String? {
        guard let text = element.string() else { return nil }
        let isName =
            (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
        if !isName { element.report("a name has 1 to 64 letters, digits, '-', '_' and '.', and this is '\(text)'") }
        return isName ? text : nil
    }

    private func salt(_ element: Element) -> String? {
        guard let text = element.string() else { return nil }
        guard text.utf8.count <= 128, !text.utf8.contains(0) else {
            element.report("'salt' must be a text of 1 to 128 bytes without U+0000")
            return nil
        }
        return text
    }

    private func model(_ element: Element) -> ModelSelector? {
        guard let text = element.string() else { return nil }
        do throws(ConversationError) {
            return try ModelSelector(text)
        } catch {
            element.report("'\(element.path)': \(error.message)")
            return nil
        }
    }
}

extension Element {
    /// A percentage from 0 to 100 with up to 4 decimals, in parts of ``Experiment/buckets``.
    fileprivate func percentage() -> Int? {
        guard let text = string() else { return nil }
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let decimals = parts.count == 2 ? parts[1] : "0"
        let isNumber = parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }
        guard isNumber, parts[0].utf8.count <= 3, decimals.utf8.count <= 4, let whole = Int(parts[0]),
            let part = Int(decimals + String(repeating: "0", count: 4 - decimals.utf8.count)), whole * 10_000 + part <= Experiment.buckets
        else {
            report("'\(path)' must be a percentage from 0 to 100 with at most 4 decimals, such as 12.5, and is '\(text)'")
            return nil
        }
        return whole * 10_000 + part
    }
}
