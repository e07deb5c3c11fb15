public import Conversation

/// A version of a model.
public struct ModelVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The model's name.
    public var name: String
    /// Its version, 1 or more.
    public var number: Int

    /// A version by name and number.
    public init(name: String, number: Int) {
        self.name = name
        self.number = number
    }

    /// A version from a selector that names one.
    ///
    /// - Throws: ``/Conversation/ConversationError`` with code `.invalidArgument` where the selector names no version, or one that is no whole number from 1.
    public init(_ selector: ModelSelector) throws(ConversationError) {
        guard let version = selector.version, let number = ModelManifest.version(version) else {
            throw ConversationError(
                .invalidArgument, "\"\(selector)\" names no version; NAME@VERSION is expected, the version a whole number from 1")
        }
        self.init(name: selector.name, number: number)
    }

    /// `name@version`.
    public var description: String { "\(name)@\(number)" }

    /// By name, then by number.
    public static func < (a: ModelVersion, b: ModelVersion) -> Bool { (a.name, a.number) < (b.name, b.number) }
}

/// Which versions of a model are served.
public enum VersionPolicy: Sendable, Hashable {
    /// So many of the highest.
    case latest(Int)
    /// All that are there.
    case all

    /// A policy from `latest`, `latest:N` or `all`.
    ///
    /// - Throws: ``/Conversation/ConversationError`` with code `.invalidArgument` for anything else.
    public init(_ text: String) throws(ConversationError) {
        if text == "latest" {
            self = .latest(1)
        } else if text == "all" {
            self = .all
        } else if text.hasPrefix("latest:"), let count = ModelManifest.version(String(text.dropFirst("latest:".count))) {
            self = .latest(count)
        } else {
            throw ConversationError(.invalidArgument, "versions is \"\(text)\"; latest, latest:N or all is expected")
        }
    }

    /// What is to be served of the versions that are there.
    ///
    /// - Parameters:
    ///   - refused: Those that cannot be served: the next lower ones stand in for them.
    ///   - pinned: Those that are served whatever the policy says.
    public func wanted(of found: [Int], refused: Set<Int>, pinned: Set<Int>) -> Set<Int> {
        let usable = found.filter { !refused.contains($0) }
        switch self {
        case .all: return Set(usable)
        case .latest(let count): return Set(usable.sorted().suffix(count)).union(pinned.intersection(usable))
        }
    }
}

/// A folder of models, each with its versions, as it is at one moment: `directory/name/version/`. Versions are whole numbers from 1; other names are passed
/// over.
public struct ModelRepository: Sendable, Hashable {
    /// The folder.
    public let directory: String
    /// The versions of each model, rising; a model without any is left out.
    public let versions: [String: [Int]]

    /// Looks into a folder. No bundle is read yet.
    ///
    /// - Throws: ``BundleError`` where the folder cannot be read or holds no model.
    public init(directory: String) throws(BundleError) {
        var versions: [String: [Int]] = [:]
        for name in try File.names(in: directory) where ModelManifest.isModelName(name) && File.isDirectory("\(directory)/\(name)") {
            // A model's folder that goes away in between is not there.
            let found = ((try? File.names(in: "\(directory)/\(name)")) ?? [])
                .compactMap { ModelManifest.version($0) }.filter { File.isDirectory("\(directory)/\(name)/\($0)") }.sorted()
            if !found.isEmpty { versions[name] = found }
        }
        guard !versions.isEmpty else {
            throw BundleError(.unreadable, directory, "holds no model; folders name/version, such as ecommerce/1, are expected")
        }
        self.directory = directory
        self.versions = versions
    }

    /// The folder of a version.
    public func directory(of version: ModelVersion) -> String { "\(directory)/\(version.name)/\(version.number)" }

    /// What tells one state of a version's files from another without reading them: names, sizes, times of change and inodes. A file that cannot be looked
    /// at counts by its name alone.
    public func fingerprint(of version: ModelVersion) -> [String] {
        let folder = directory(of: version)
        let names = (try? File.names(in: folder)) ?? []
        return names.map { "\($0) \(File.fingerprint("\(folder)/\($0)"))" }
    }
}
