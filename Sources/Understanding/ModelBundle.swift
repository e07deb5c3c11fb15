internal import Crypto
internal import Glibc
public import Tokenization

/// A model as it is served: a folder `name/version/` with `model.pt`, `vocab.txt` and `manifest.json`, read and checked. `model.pt` itself is not loaded.
public struct ModelBundle: Sendable {
    /// The folder.
    public let directory: String
    /// What its manifest says.
    public let manifest: ModelManifest
    /// Its word pieces.
    public let vocabulary: Vocabulary

    /// The model as `name@version`.
    public var id: String { "\(manifest.name)@\(manifest.version)" }
    /// Where the TorchScript file is.
    public var modelPath: String { "\(directory)/model.pt" }

    /// Reads a bundle and checks all of it: the manifest, that its name and version are those of the folders, size and SHA-256 of every file it lists, and
    /// the vocabulary.
    ///
    /// - Throws: ``BundleError``, which names file, field, and what was expected.
    public init(directory: String) throws(BundleError) {
        var directory = directory
        while directory.count > 1, directory.hasSuffix("/") { directory.removeLast() }
        let path = "\(directory)/manifest.json"
        let manifest = try ModelManifest(json: File.read(path), path: path)

        let folders = try File.components(of: directory).suffix(2)
        guard let name = folders.first, let version = folders.last, folders.count == 2 else {
            throw BundleError(.unreadable, directory, "is no folder name/version")
        }
        guard manifest.name == name else {
            throw BundleError(.invalidManifest, path, field: "name", "is \"\(manifest.name)\"; the folder's name \"\(name)\" is expected")
        }
        guard "\(manifest.version)" == version else {
            throw BundleError(
                .invalidManifest, path, field: "version", "is \"\(manifest.version)\"; the folder's name \"\(version)\" is expected")
        }
        for (name, entry) in manifest.files.sorted(by: { $0.key < $1.key }) {
            let file = "\(directory)/\(name)"
            var hash = SHA256()
            var bytes = 0
            try File.forEachChunk(of: file) { chunk in
                hash.update(bufferPointer: chunk)
                bytes += chunk.count
            }
            guard bytes == entry.bytes else {
                throw BundleError(
                    .changedFile, file, field: "files.\(name).bytes",
                    "the file has \(bytes) bytes; \(entry.bytes) are expected by manifest.json")
            }
            let digest = File.hexadecimal(hash.finalize())
            guard digest == entry.sha256 else {
                throw BundleError(
                    .changedFile, file, field: "files.\(name).sha256",
                    "the file has \(digest); \(entry.sha256) is expected by manifest.json")
            }
        }

        let file = "\(directory)/vocab.txt"
        let lines = try File.read(file)
        let vocabulary: Vocabulary
        do {
            vocabulary = try Vocabulary(contentsOf: lines)
        } catch {
            throw BundleError(.invalidVocabulary, file, "\(error)")
        }
        guard vocabulary.padding == 0 else {
            throw BundleError(
                .invalidVocabulary, file, "[PAD] is on line \(vocabulary.padding + 1); line 1 is expected, as rows are padded with 0")
        }
        self.directory = directory
        self.manifest = manifest
        self.vocabulary = vocabulary
    }

    /// Checks that a forward pass gave what the manifest's labels and the batch need.
    ///
    /// - Throws: ``BundleError`` with code `.wrongOutputs`.
    public func check(_ logits: Logits, of batch: TokenBatch) throws(BundleError) {
        func check(_ count: Int, rows: Int, labels: Int, field: String) throws(BundleError) {
            guard count != rows * labels else { return }
            let given = rows > 0 && count % rows == 0 ? "\(count / rows) values a row" : "\(count) values for \(rows) rows"
            throw BundleError(
                .wrongOutputs, modelPath, field: field, "the model gives \(given); \(labels) a row are expected by manifest.json")
        }
        try check(logits.intent.count, rows: batch.rows, labels: manifest.intents.count, field: "intents")
        try check(logits.slots.count, rows: batch.rows * batch.length, labels: manifest.slotLabels.names.count, field: "slot_labels")
    }
}

/// Files, read whole or in chunks.
enum File {
    /// The content of a file.
    static func read(_ path: String) throws(BundleError) -> [UInt8] {
        var content: [UInt8] = []
        try forEachChunk(of: path) { content.append(contentsOf: $0) }
        return content
    }

    /// Calls `body` with one chunk after the other; the pointer is valid within the call only.
    static func forEachChunk(of path: String, _ body: (UnsafeRawBufferPointer) -> Void) throws(BundleError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw unreadable(path) }
        defer { close(descriptor) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count == 0 { return }
            if count > 0 {
                body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            } else if errno != EINTR {
                throw unreadable(path)
            }
        }
    }

    /// The names in a folder, sorted, without `.` and `..`.
    static func names(in directory: String) throws(BundleError) -> [String] {
        guard let stream = opendir(directory) else { throw unreadable(directory) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Whether a path names a folder.
    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Size, times of change and inode of a file; empty where it cannot be looked at.
    static func fingerprint(_ path: String) -> String {
        var status = stat()
        guard stat(path, &status) == 0 else { return "" }
        let (written, changed) = (status.st_mtim, status.st_ctim)
        return
            "\(status.st_size) \(written.tv_sec).\(written.tv_nsec) \(changed.tv_sec).\(changed.tv_nsec) \(status.st_dev):\(status.st_ino)"
    }

    /// The folders that lead to a path, from the root, with `.` and `..` resolved but not links: a link is known by its own name.
    static func components(of path: String) throws(BundleError) -> [Substring] {
        var absolute = path
        if !path.hasPrefix("/") {
            guard let working = getcwd(nil, 0) else { throw unreadable(".") }
            defer { free(working) }
            absolute = "\(String(cString: working))/\(path)"
        }
        return absolute.split(separator: "/").reduce(into: []) { components, name in
            if name == ".." { _ = components.popLast() } else if name != "." { components.append(name) }
        }
    }

    static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    private static func unreadable(_ path: String) -> BundleError {
        let reason = String(cString: strerror(errno))
        return BundleError(.unreadable, path, "cannot be read: \(reason)")
    }
}
