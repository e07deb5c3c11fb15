import Conversation
import Foundation
import Testing
import Tokenization
import TestSupport
import Understanding

@Suite struct ModelBundleTests {
    @Test func readsABundle() throws {
        let made = try TestBundle()
        let bundle = try made.load()
        #expect(bundle.id == "shop@3")
        #expect(bundle.manifest.intents == TestBundle.intents)
        #expect(bundle.manifest.slotLabels.names == TestBundle.labels)
        #expect(bundle.manifest.slotLabels.slots == ["order_id", "amount"])
        #expect(bundle.manifest.maximumLength == 32)
        #expect(bundle.manifest.temperature == 1)
        #expect(bundle.manifest.tokenization.fullWidthToHalfWidth)
        #expect(bundle.manifest.files["model.pt"]?.bytes == 7)
        #expect(bundle.vocabulary.count == TestBundle.pieces.count)
        #expect(bundle.modelPath == made.directory.path + "/model.pt")
        #expect(try ModelBundle(directory: made.directory.path + "/").id == "shop@3")
        #expect(try ModelBundle(directory: made.directory.path + "/../../shop/./3").id == "shop@3")
    }

    static let changes: [(field: String, @Sendable (inout [String: Any]) -> Void, message: String)] = [
        ("format", { $0["format"] = 2 }, "is 2; 1 is expected"),
        ("format", { $0["format"] = nil }, "is missing"),
        ("name", { $0["name"] = 7 }, "has the wrong type; a text in quotes is expected"),
        ("name", { $0["name"] = "../x" }, "is \"../x\"; 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.', not beginning with '.', are expected"),
        ("name", { $0["name"] = "other" }, "is \"other\"; the folder's name \"shop\" is expected"),
        ("version", { $0["version"] = "4" }, "is \"4\"; the folder's name \"3\" is expected"),
        ("version", { $0["version"] = "03" }, "is \"03\"; a whole number from 1 is expected, in quotes and without leading zeros"),
        ("version", { $0["version"] = "0" }, "is \"0\"; a whole number from 1 is expected, in quotes and without leading zeros"),
        ("language", { $0["language"] = "" }, "is empty; a language such as \"zh-CN\" is expected"),
        ("intents", { $0["intents"] = [String]() }, "is empty; one name or more is expected"),
        ("intents", { $0["intents"] = "a" }, "has the wrong type; a list is expected"),
        ("intents[1]", { $0["intents"] = ["a", 2] }, "has the wrong type; a text in quotes is expected"),
        ("intents[2]", { $0["intents"] = ["a", "b", "a"] }, "repeats \"a\""),
        ("intents[0]", { $0["intents"] = ["A b"] }, "is \"A b\"; a name of A-Z, a-z, 0-9, '_', '-' and '.' is expected"),
        ("slot_labels[3]", { $0["slot_labels"] = ["O", "B-a", "I-a", "B-a"] }, "repeats \"B-a\""),
        ("slot_labels[1]", { $0["slot_labels"] = ["O", "I-a"] }, "is \"I-a\", but there is no \"B-a\""),
        ("slot_labels[1]", { $0["slot_labels"] = ["O", "B-a"] }, "is \"B-a\", but there is no \"I-a\""),
        (
            "slot_labels[1]", { $0["slot_labels"] = ["O", "a"] },
            "is \"a\"; O, X, B-name or I-name is expected, the name of A-Z, a-z, 0-9, '_', '-' and '.'"
        ),
        (
            "slot_labels[1]", { $0["slot_labels"] = ["O", "B-"] },
            "is \"B-\"; O, X, B-name or I-name is expected, the name of A-Z, a-z, 0-9, '_', '-' and '.'"
        ),
        ("slot_labels", { $0["slot_labels"] = ["B-a", "I-a"] }, "has no \"O\""),
        ("max_length", { $0["max_length"] = 2 }, "is 2; 3 to 4096 is expected"),
        ("max_length", { $0["max_length"] = 4097 }, "is 4097; 3 to 4096 is expected"),
        ("max_length", { $0["max_length"] = NSNull() }, "is null; a whole number is expected"),
        ("normalization", { $0["normalization"] = true }, "has the wrong type; an object is expected"),
        ("normalization.lowercase", { $0["normalization"] = ["full_width_to_half_width": true] }, "is missing"),
        ("temperature", { $0["temperature"] = 0 }, "is 0.0; 0.01 to 100 is expected"),
        ("temperature", { $0["temperature"] = "1" }, "has the wrong type; a number is expected"),
        ("files.model.pt", { $0["files"] = [String: Any]() }, "is missing; sha256 and bytes are expected"),
    ]

    @Test(arguments: changes.indices)
    func refusesAManifest(_ index: Int) throws {
        let (field, change, message) = Self.changes[index]
        let made = try TestBundle(change)
        let error = #expect(throws: BundleError.self) { try made.load() }
        #expect(error?.code == .invalidManifest)
        #expect(error?.path == made.manifestPath)
        #expect(error?.field == field)
        #expect(error?.message == message)
        #expect(error?.description == "\(made.manifestPath): \(field): \(message)")
    }

    @Test(
        arguments: [
            (
                "model.pt", ["sha256": "AB", "bytes": 7], "files.model.pt.sha256",
                "is \"AB\"; 64 lower-case hexadecimal digits are expected"
            ),
            ("../x", ["sha256": "AB", "bytes": 7], "files", "names \"../x\"; plain file names are expected"),
            (
                "model.pt", ["sha256": String(repeating: "0", count: 64), "bytes": -1], "files.model.pt.bytes",
                "is -1; 0 or more is expected"
            ),
            ("model.pt", ["sha256": String(repeating: "0", count: 64)], "files.model.pt.bytes", "is missing"),
        ] as [(String, [String: any Sendable], String, String)])
    func refusesAFileEntry(name: String, entry: [String: any Sendable], field: String, message: String) throws {
        let made = try TestBundle { manifest in
            var files = manifest["files"] as? [String: Any] ?? [:]
            files[name] = entry
            manifest["files"] = files
        }
        let error = #expect(throws: BundleError.self) { try made.load() }
        #expect(error?.field == field)
        #expect(error?.message == message)
    }

    @Test func refusesWhatIsNotJSON() throws {
        let made = try TestBundle()
        for text in ["", "{", "[1]", "\u{1}"] {
            try made.write(text, to: "manifest.json")
            let error = #expect(throws: BundleError.self) { try made.load() }
            #expect(error?.code == .invalidManifest)
            #expect(error?.path == made.manifestPath)
        }
    }

    @Test func refusesMissingAndChangedFiles() throws {
        for name in ["model.pt", "vocab.txt", "manifest.json"] {
            let made = try TestBundle()
            try made.remove(name)
            let error = #expect(throws: BundleError.self) { try made.load() }
            #expect(error?.code == .unreadable)
            #expect(error?.description == "\(made.directory.path)/\(name): cannot be read: No such file or directory")
        }
        let made = try TestBundle()
        try made.write("A model", to: "model.pt")
        var error = #expect(throws: BundleError.self) { try made.load() }
        #expect(error?.code == .changedFile)
        #expect(error?.field == "files.model.pt.sha256")
        #expect(
            error?.message == "the file has \(TestBundle.sha256("A model")); \(TestBundle.sha256("a model")) is expected by manifest.json")
        try made.write("a longer model", to: "model.pt")
        error = #expect(throws: BundleError.self) { try made.load() }
        #expect(error?.field == "files.model.pt.bytes")
        #expect(error?.message == "the file has 14 bytes; 7 are expected by manifest.json")
    }

    @Test(arguments: [
        (["[PAD]", "[UNK]", "[CLS]", "a"], "the vocabulary has no piece [SEP]; [PAD], [UNK], [CLS] and [SEP] are expected"),
        (["[UNK]", "[PAD]", "[CLS]", "[SEP]"], "[PAD] is on line 2; line 1 is expected, as rows are padded with 0"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[SEP]"], "line 5 repeats line 4, [SEP]"),
    ])
    func refusesAVocabulary(_ pieces: [String], _ message: String) throws {
        let made = try TestBundle(vocabulary: pieces)
        let error = #expect(throws: BundleError.self) { try made.load() }
        #expect(error?.code == .invalidVocabulary)
        #expect(error?.path == made.directory.path + "/vocab.txt")
        #expect(error?.message == message)
    }

    @Test func refusesOutputsThatDoNotFitTheLabels() throws {
        let bundle = try TestBundle().load()
        let batch = TokenBatch(rows: 2, length: 3, inputIDs: Array(repeating: 0, count: 6), attentionMask: Array(repeating: 1, count: 6))
        let right = Logits(intent: Array(repeating: 0, count: 6), slots: Array(repeating: 0, count: 36))
        try bundle.check(right, of: batch)
        var error = #expect(throws: BundleError.self) {
            try bundle.check(Logits(intent: Array(repeating: 0, count: 8), slots: right.slots), of: batch)
        }
        #expect(error?.code == .wrongOutputs)
        #expect(error?.field == "intents")
        #expect(error?.message == "the model gives 4 values a row; 3 a row are expected by manifest.json")
        error = #expect(throws: BundleError.self) {
            try bundle.check(Logits(intent: right.intent, slots: Array(repeating: 0, count: 35)), of: batch)
        }
        #expect(error?.field == "slot_labels")
        #expect(error?.message == "the model gives 35 values for 6 rows; 6 a row are expected by manifest.json")
    }
}

@Suite struct ModelRepositoryTests {
    @Test func findsTheVersionsOfEveryModel() throws {
        let made = try TestBundle()
        let manager = FileManager.default
        for path in ["shop/2", "shop/10x", "shop/.tmp", "shop/011", "light/1", "light/9", "light/10", "empty", ".hidden/1"] {
            try manager.createDirectory(at: made.root.appendingPathComponent(path), withIntermediateDirectories: true)
        }
        try Data().write(to: made.root.appendingPathComponent("README"))
        try Data().write(to: made.root.appendingPathComponent("shop/99"))
        let repository = try ModelRepository(directory: made.root.path)
        #expect(repository.versions == ["shop": [2, 3], "light": [1, 9, 10]])
        #expect(repository.directory(of: ModelVersion(name: "shop", number: 3)) == made.directory.path)
    }

    @Test func aFingerprintChangesWithTheFiles() throws {
        let made = try TestBundle()
        let repository = try ModelRepository(directory: made.root.path)
        let version = ModelVersion(name: "shop", number: 3)
        var seen = [repository.fingerprint(of: version)]
        #expect(seen[0].count == 3 && repository.fingerprint(of: version) == seen[0])
        for change in [
            { try made.write("another model", to: "model.pt") }, { try made.write("", to: "README") }, { try made.remove("vocab.txt") },
            { try made.drop("shop/3") },
        ] {
            try change()
            let now = repository.fingerprint(of: version)
            #expect(!seen.contains(now))
            seen.append(now)
        }
        #expect(seen.last == [])
    }

    @Test(
        arguments: [
            ("latest", [1, 2, 3], [], [], [3]), ("latest:2", [1, 2, 3], [], [], [2, 3]), ("latest:9", [1, 2, 3], [], [], [1, 2, 3]),
            ("all", [1, 2, 3], [], [1], [1, 2, 3]), ("all", [1, 2, 3], [2], [2], [1, 3]),
            // The next lower one stands in for one that is refused.
            ("latest", [1, 2, 3], [3], [], [2]), ("latest:2", [1, 2, 3, 4], [4, 2], [], [1, 3]), ("latest", [1], [1], [1], []),
            // A pinned version is served beside.
            ("latest", [1, 2, 3], [], [1], [1, 3]), ("latest", [1, 2, 3], [], [7], [3]), ("latest", [1, 2, 3], [1], [1], [3]),
            ("latest", [], [], [1], []), ("latest", [9, 10], [], [], [10]),
        ] as [(String, [Int], Set<Int>, Set<Int>, Set<Int>)])
    func versionsWanted(_ policy: String, _ found: [Int], _ refused: Set<Int>, _ pinned: Set<Int>, _ wanted: Set<Int>) throws {
        #expect(try VersionPolicy(policy).wanted(of: found, refused: refused, pinned: pinned) == wanted)
    }

    @Test(arguments: ["", "latest:0", "latest:", "latest:x", "newest", "ALL"])
    func refusesAPolicy(_ text: String) {
        let error = #expect(throws: ConversationError.self) { try VersionPolicy(text) }
        #expect(error == ConversationError(.invalidArgument, "versions is \"\(text)\"; latest, latest:N or all is expected"))
    }

    @Test func aVersionByASelector() throws {
        #expect(try ModelVersion(ModelSelector("shop@12")) == ModelVersion(name: "shop", number: 12))
        for text in ["shop", "shop@x", "shop@0", "shop@01"] {
            let error = #expect(throws: ConversationError.self) { try ModelVersion(ModelSelector(text)) }
            #expect(error?.code == .invalidArgument)
        }
    }

    @Test func refusesAFolderWithoutModels() throws {
        let made = try TestBundle()
        var error = #expect(throws: BundleError.self) { try ModelRepository(directory: made.directory.path) }
        #expect(error?.message == "holds no model; folders name/version, such as ecommerce/1, are expected")
        error = #expect(throws: BundleError.self) { try ModelRepository(directory: made.directory.path + "/absent") }
        #expect(error?.message == "cannot be read: No such file or directory")
    }
}
