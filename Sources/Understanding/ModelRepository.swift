/// A folder of models, each with its versions: `directory/name/version/`. Versions are whole numbers from 1; other names are passed over.
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
            let found = try File.names(in: "\(directory)/\(name)")
                .compactMap { ModelManifest.version($0) }.filter { File.isDirectory("\(directory)/\(name)/\($0)") }.sorted()
            if !found.isEmpty { versions[name] = found }
        }
        guard !versions.isEmpty else {
            throw BundleError(.unreadable, directory, "holds no model; folders name/version, such as ecommerce/1, are expected")
        }
        self.directory = directory
        self.versions = versions
    }

    /// Reads and checks the highest version of every model, by name.
    ///
    /// - Throws: ``BundleError`` of the first that is refused.
    public func loadLatest() throws(BundleError) -> [ModelBundle] {
        var bundles: [ModelBundle] = []
        for (name, versions) in versions.sorted(by: { $0.key < $1.key }) {
            guard let latest = versions.last else { continue }
            bundles.append(try ModelBundle(directory: "\(directory)/\(name)/\(latest)"))
        }
        return bundles
    }
}
