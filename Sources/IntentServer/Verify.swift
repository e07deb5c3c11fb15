import ArgumentParser
import Foundation
import Understanding
import UnderstandingService

struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks model bundles, all versions: files, manifest, vocabulary; loads each and holds its outputs to its labels.")

    @Option(help: "The folder of the model bundles, NAME/VERSION.")
    var models: String

    func run() async throws {
        let repository = try ModelRepository(directory: models)
        let loader = try ModelLoader.torch(.init(), engine: .init())
        var refused = 0
        for (name, numbers) in repository.versions.sorted(by: { $0.key < $1.key }) {
            for number in numbers {
                do {
                    try await verify(repository.directory(of: ModelVersion(name: name, number: number)), loader)
                } catch {
                    refused += 1
                    try FileHandle.standardError.write(contentsOf: Data("\(name)@\(number): \(error)\n".utf8))
                }
            }
        }
        if refused > 0 { throw ExitCode.failure }
    }

    private func verify(_ folder: String, _ loader: ModelLoader) async throws {
        let bundle = try ModelBundle(directory: folder)
        let model = try await loader.load(bundle)
        do {
            try await model.engine.warmUp([(rows: 2, length: min(8, bundle.manifest.maximumLength))])
        } catch {
            await model.unload()
            throw error
        }
        await model.unload()
        let labels = bundle.manifest.slotLabels.names.count
        print("\(bundle.id): \(bundle.manifest.intents.count) intents, \(labels) slot labels, \(model.memoryBytes) bytes")
    }
}
