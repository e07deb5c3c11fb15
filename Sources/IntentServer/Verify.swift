import ArgumentParser
import Conversation
import Logging
import ServiceKit
import UnderstandingService

struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks model bundles: files, manifest, vocabulary; loads each and holds its outputs to its labels.")

    @Option(help: "The folder of the model bundles, NAME/VERSION.")
    var models: String

    func run() async throws {
        let host = try ModelHost(directory: models, configuration: .init(), logger: Program.logger("intent-server", level: .warning))
        try await host.load()
        for model in host.descriptions {
            print(
                "\(model.name)@\(model.version): \(model.intents.count) intents, \(model.slotLabels.count) slot labels, \(model.memoryBytes) bytes"
            )
        }
        await host.drain()
    }
}
