import Foundation
import Testing

/// The committed corpus, input by input: what `make fuzz` starts from, and what it once found. A target ends the process where a rule does not hold.
@Suite struct CorpusTests {
    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Corpus")

    @Test(arguments: FuzzTarget.all.map(\.name))
    func everyInputIsRead(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let inputs = try FileManager.default.contentsOfDirectory(at: Self.corpus.appending(path: name), includingPropertiesForKeys: nil)
        #expect(!inputs.isEmpty)
        for input in inputs.sorted(by: { $0.path < $1.path }) {
            let bytes = Array(try Data(contentsOf: input))
            #expect(bytes.count <= target.maximumLength, "\(input.lastPathComponent) is longer than the fuzzer's inputs")
            target.run(bytes)
        }
    }

    @Test func everyFolderHasItsTarget() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.corpus.path)
        #expect(Set(folders) == Set(FuzzTarget.all.map(\.name)))
    }
}
