import ArgumentParser

@main
struct IntentServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "intent-server", abstract: "Kefu's understanding: recognises intent and slots with a TorchScript model, over gRPC.",
        subcommands: [Serve.self, Verify.self, Ask.self])
}
