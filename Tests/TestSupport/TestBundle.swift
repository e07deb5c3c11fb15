internal import Crypto
public import Foundation
public import Understanding

/// A folder of bundles on disk, made for one test and removed with it; at first it holds `shop/3`.
public final class TestBundle: Sendable {
    /// The word pieces of its vocabulary.
    public static let pieces =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + "我要改地址退款单号的两百三块件，".map(String.init) + ["sf", "##1", "##2", "1", "2"]
    /// Its intents.
    public static let intents = ["address_change", "refund_request", "chitchat"]
    /// Its slot labels.
    public static let labels = ["O", "B-order_id", "I-order_id", "B-amount", "I-amount", "X"]

    /// The folder of all models.
    public let root: URL
    /// The folder of `shop/3`.
    public var directory: URL { root.appendingPathComponent("shop").appendingPathComponent("3") }
    /// The manifest of `shop/3`.
    public var manifestPath: String { directory.appendingPathComponent("manifest.json").path }

    /// - Parameter change: Alters the manifest before it is written.
    public init(vocabulary: [String] = pieces, model: String = "a model", _ change: (inout [String: Any]) -> Void = { _ in }) throws {
        root = FileManager.default.temporaryDirectory.appendingPathComponent("kefu-bundle-\(UUID().uuidString)")
        try add("shop", 3, vocabulary: vocabulary, model: model, change)
    }

    deinit { try? FileManager.default.removeItem(at: root) }

    /// Writes one more bundle. Its folder appears with its files in it.
    public func add(
        _ name: String, _ version: Int, vocabulary: [String] = pieces, model: String = "a model",
        _ change: (inout [String: Any]) -> Void = { _ in }
    ) throws {
        let contents = ["model.pt": model, "vocab.txt": vocabulary.joined(separator: "\n") + "\n"]
        var manifest: [String: Any] = [
            "format": 1, "name": name, "version": "\(version)", "language": "zh-CN", "intents": Self.intents, "slot_labels": Self.labels,
            "max_length": 32,
            "normalization": [
                "full_width_to_half_width": true, "lowercase": true, "strip_accents": true, "chinese_characters": true, "clean_text": true,
            ],
            "temperature": 1.0,
            "files": contents.mapValues { ["sha256": Self.sha256($0), "bytes": $0.utf8.count] as [String: Any] },
            "model": ["encoder_layers": 6], "training": ["date": "2024-11-11"],
        ]
        change(&manifest)
        let hidden = root.appendingPathComponent(".\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: hidden, withIntermediateDirectories: true)
        for (file, content) in contents { try Data(content.utf8).write(to: hidden.appendingPathComponent(file)) }
        try JSONSerialization.data(withJSONObject: manifest).write(to: hidden.appendingPathComponent("manifest.json"))
        try FileManager.default.createDirectory(at: root.appendingPathComponent(name), withIntermediateDirectories: true)
        try FileManager.default.moveItem(at: hidden, to: root.appendingPathComponent("\(name)/\(version)"))
    }

    /// Removes a model, or a version of it.
    public func drop(_ path: String) throws { try FileManager.default.removeItem(at: root.appendingPathComponent(path)) }

    /// Writes a file of `shop/3`.
    public func write(_ content: String, to name: String) throws {
        try Data(content.utf8).write(to: directory.appendingPathComponent(name))
    }

    /// Removes a file of `shop/3`.
    public func remove(_ name: String) throws { try FileManager.default.removeItem(at: directory.appendingPathComponent(name)) }

    /// Reads `shop/3`.
    public func load() throws(BundleError) -> ModelBundle { try ModelBundle(directory: directory.path) }

    /// The SHA-256 of a text in hexadecimal.
    public static func sha256(_ text: String) -> String {
        SHA256.hash(data: Data(text.utf8)).map { String(format: "%02x", $0) }.joined()
    }
}

/// A model whose labels and intents follow from the characters of the text.
///
/// 改 makes an address change, 退 a refund. 单 号 我 are B-order_id, I-order_id, O; 两 百 块 are B-amount, I-amount, I-amount; 的 is X, or O without it.
public func fakeModel() -> FakeForwardPass {
    let ids = Dictionary(uniqueKeysWithValues: TestBundle.pieces.enumerated().map { ($1, Int64($0)) })
    let labels: [Int64: String] = Dictionary(
        uniqueKeysWithValues: [
            "单": "B-order_id", "号": "I-order_id", "两": "B-amount", "百": "I-amount", "块": "I-amount", "的": "X", "sf": "B-order_id",
            "##1": "I-amount", "##2": "X",
            "[CLS]": "B-order_id", "[SEP]": "I-amount",
        ].map { (ids[$0] ?? -1, $1) })
    return FakeForwardPass(
        intents: TestBundle.intents.count, labels: TestBundle.labels.count,
        intent: { row in row.contains(ids["改"] ?? -1) ? 0 : row.contains(ids["退"] ?? -1) ? 1 : 2 },
        label: { id in TestBundle.labels.firstIndex(of: labels[id] ?? "O") ?? 0 })
}
