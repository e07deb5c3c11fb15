import Batching
import Foundation
import Testing
import Torch
import Understanding
import UnderstandingService

/// What a model of the real libtorch does when it fails, and what is found out about a bundle before a GPU has it.
@Suite(.timeLimit(.minutes(3))) struct TorchModelTests {
    private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A file of the tests of `Torch`.
    private func fixture(_ name: String) -> String {
        root.appending(path: "Tests/TorchTests/Resources/\(name)").path(percentEncoded: false)
    }

    private func batch(_ ids: [Int64]) -> TokenBatch {
        TokenBatch(rows: ids.count, length: 1, inputIDs: ids, attentionMask: Array(repeating: 1, count: ids.count))
    }

    @Test func outOfMemoryIsABatchThatIsTooLarge() async throws {
        let instance = try await ModelInstance.load(path: fixture("hungry.pt"))
        let pass = TorchForwardPass(instance: instance)
        let error = await #expect(throws: BatchTooLarge.self) { _ = try await pass.forward(batch([13, 13])) }
        #expect((error?.cause as? TorchError)?.code == .outOfMemory)
        #expect(try await pass.forward(batch([13])).intent == [13])
        await instance.unload()
    }

    @Test func otherFailuresStayWhatTheyAre() async throws {
        let instance = try await ModelInstance.load(path: fixture("raises.pt"))
        let error = await #expect(throws: TorchError.self) { _ = try await TorchForwardPass(instance: instance).forward(batch([13])) }
        #expect(error?.code == .modelFailed)
        await instance.unload()
    }

    /// A copy of the shipped bundle with words that its embedding does not have, if any.
    private func bundle(extraWords: Int, in folder: URL) throws -> ModelBundle {
        let models = root.appending(path: "Deploy/models/ecommerce")
        let versions = try FileManager.default.contentsOfDirectory(atPath: models.path(percentEncoded: false)).compactMap { Int($0) }
        let version = "\(try #require(versions.max()))"
        let copy = folder.appending(path: "ecommerce/\(version)")
        try FileManager.default.createDirectory(at: copy.deletingLastPathComponent(), withIntermediateDirectories: true)
        try FileManager.default.copyItem(at: models.appending(path: version), to: copy)
        if extraWords > 0 {
            let file = copy.appending(path: "vocab.txt")
            let words = try Data(contentsOf: file) + Data((0..<extraWords).map { "extraword\($0)\n" }.joined().utf8)
            try words.write(to: file)
            let manifestFile = copy.appending(path: "manifest.json")
            var manifest = try #require(JSONSerialization.jsonObject(with: Data(contentsOf: manifestFile)) as? [String: Any])
            var files = try #require(manifest["files"] as? [String: Any])
            files["vocab.txt"] = ["sha256": try sha256(file), "bytes": words.count] as [String: Any]
            manifest["files"] = files
            try JSONSerialization.data(withJSONObject: manifest).write(to: manifestFile)
        }
        return try ModelBundle(directory: copy.path(percentEncoded: false))
    }

    private func sha256(_ file: URL) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/sha256sum")
        process.arguments = [file.path(percentEncoded: false)]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let line = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return String(line.prefix(64))
    }

    @Test func aVocabularyBeyondTheEmbeddingIsFoundOutOnTheCPU() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tables-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        try await ModelLoader.checkTables(of: bundle(extraWords: 0, in: folder.appending(path: "whole")))
        let broken = try bundle(extraWords: 3, in: folder.appending(path: "broken"))
        let error = await #expect(throws: TorchError.self) { try await ModelLoader.checkTables(of: broken) }
        #expect(error?.message.contains("index out of range") == true, "\(String(describing: error))")
    }
}
