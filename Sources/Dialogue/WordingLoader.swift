import Yams

/// What the wordings of a reply can name.
struct WordingScope {
    /// Always has a value.
    var always: Set<String> = []
    /// May have none, so that it may only be named within a section of its own: `{{#phone}}，电话{{phone}}{{/phone}}`.
    var optional: Set<String> = []
    /// Must be named by every wording.
    var mustName: [String] = []
}

extension DomainLoader {
    /// A list of one to ten wordings, each a Mustache template whose variables are known.
    func wordings(_ element: Element, _ scope: WordingScope) -> Wordings {
        let strings = element.strings()
        if case .sequence(let items) = element.node, items.isEmpty || items.count > 10 {
            element.report("'\(element.path)' must be a list of 1 to 10 wordings, and has \(items.count)")
        }
        var templates: [Template] = []
        for (text, item) in strings {
            guard check(text, item, scope) else { continue }
            do {
                templates.append(try Template(text))
            } catch {
                item.report("'\(element.path)' is not a template: \(error)")
            }
        }
        return Wordings(templates: templates)
    }

    /// Reports tags that no slot or flow fills, or that replies do not have.
    ///
    /// - Returns: Whether nothing was reported.
    private func check(_ text: String, _ item: Element, _ scope: WordingScope) -> Bool {
        let before = item.file.findings.diagnostics.count
        var open: [String] = []
        var named: Set<String> = []
        for tag in Template.tags(of: text) {
            func report(_ message: String) {
                let place = item.file.position(of: tag.text, occurrence: tag.occurrence, line: item.line, column: item.column)
                item.file.findings.add(file: item.file.path, line: place.line, column: place.column, message)
            }
            switch tag.sign {
            case nil where tag.name == ".":
                if open.isEmpty { report("{{.}} stands in no section") }
            case nil:
                named.insert(tag.name)
                if scope.optional.contains(tag.name), !open.contains(tag.name) {
                    report("'\(tag.name)' may be empty here; {{#\(tag.name)}}…{{/\(tag.name)}} around it was expected")
                } else if !scope.optional.contains(tag.name), !scope.always.contains(tag.name) {
                    report(unknownVariable(tag.name, scope))
                }
            case "#", "^":
                named.insert(tag.name)
                open.append(tag.name)
                if !scope.optional.contains(tag.name), !scope.always.contains(tag.name) { report(unknownVariable(tag.name, scope)) }
            case "/":
                if open.last == tag.name {
                    open.removeLast()
                } else {
                    report("{{/\(tag.name)}} closes a section that is not open")
                }
            default:
                report("'\(tag.text)' is not used in replies; {{name}}, {{#name}}…{{/name}} and {{^name}}…{{/name}} are")
            }
        }
        if let name = open.last { item.report("the section {{#\(name)}} is not closed by {{/\(name)}}") }
        for name in scope.mustName where !named.contains(name) {
            item.report("this wording must name {{\(name)}}: the customer confirms what it says")
        }
        return item.file.findings.diagnostics.count == before
    }

    private func unknownVariable(_ name: String, _ scope: WordingScope) -> String {
        let known = scope.always.union(scope.optional).sorted()
        guard !known.isEmpty else { return "nothing provides '\(name)'; this reply has no variables" }
        return "nothing provides '\(name)'; here there are \(known.map { "'\($0)'" }.joined(separator: ", "))"
    }
}
