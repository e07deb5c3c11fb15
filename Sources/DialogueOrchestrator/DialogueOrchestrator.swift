import ArgumentParser

@main
struct DialogueOrchestrator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dialogue-orchestrator",
        abstract: "Kefu's dialogue: owns the sessions, runs flows, rules and templates, and answers customers over gRPC.",
        subcommands: [Serve.self, Verify.self, Test.self, Chat.self, Assign.self, Report.self])
}
