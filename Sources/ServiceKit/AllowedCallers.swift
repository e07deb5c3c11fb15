/// Which clients may call which methods, by the names in their certificates (mTLS).
///
/// A line each: a name, and behind it what it may call: `package.Service/Method`, `package.Service/*`, or `*` for everything. The name `*` stands for every
/// client whose certificate was checked. Empty lines, and lines that begin with `#`, are skipped. What no line allows is refused.
public struct AllowedCallers: Sendable, Hashable {
    private static let everything = "*"

    /// What each name may call.
    private let methods: [String: Set<String>]
    /// The services that are named, and where first.
    private let services: [String: String]

    /// Callers from text.
    ///
    /// - Parameter source: Where the text came from, for errors.
    /// - Throws: ``SettingsError``, which names the line and says what was expected.
    public init(text: String, source: String) throws(SettingsError) {
        var methods: [String: Set<String>] = [:]
        var services: [String: String] = [:]
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let name = words.first, !name.hasPrefix("#") else { continue }
            let place = "\(source):\(index + 1)"
            guard words.count > 1 else {
                throw SettingsError(
                    "\(place): '\(name)' may call nothing; package.Service/Method, package.Service/* or * is expected behind it")
            }
            for pattern in words.dropFirst() {
                if pattern != Self.everything {
                    let service = try Self.service(of: pattern, place)
                    if services[service] == nil { services[service] = place }
                }
                methods[name, default: []].insert(pattern)
            }
        }
        if methods.isEmpty { throw SettingsError("\(source) names no caller; lines such as 'orchestrator.shop.example *' are expected") }
        self.methods = methods
        self.services = services
    }

    private static func service(of pattern: String, _ place: String) throws(SettingsError) -> String {
        let parts = pattern.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, !parts[0].contains("*"), parts[1] == "*" || !parts[1].contains("*")
        else {
            throw SettingsError("\(place): '\(pattern)' is no method; package.Service/Method, package.Service/* or * is expected")
        }
        return String(parts[0])
    }

    /// Sees to it that every service that is named is there: a misspelt one would shut callers out in silence.
    ///
    /// - Throws: ``SettingsError``, which names the line and the services that are there.
    public func check(against served: [String]) throws(SettingsError) {
        let unknown = services.filter { !served.contains($0.key) }
        guard let (service, place) = unknown.min(by: { $0.value < $1.value }) else { return }
        throw SettingsError("\(place): there is no service '\(service)'; one of \(served.sorted().joined(separator: ", ")) is expected")
    }

    /// Whether a client may call a method.
    ///
    /// - Parameters:
    ///   - names: The names in its certificate; none: it has none, and may call nothing.
    ///   - path: `/package.Service/Method`.
    public func permits(_ names: [String], to path: String) -> Bool {
        guard !names.isEmpty else { return false }
        let method = String(path.drop { $0 == "/" })
        let service = method.prefix { $0 != "/" }
        return (names + [Self.everything]).contains { name in
            methods[name].map { $0.contains(Self.everything) || $0.contains(method) || $0.contains("\(service)/*") } ?? false
        }
    }
}
