import ArgumentParser
import Dialogue

struct Test: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Plays recorded conversations against a domain, and says what was not as expected.",
        discussion: """
            Without --conversations it plays the domain's own, in its folder 'conversations'. What the recogniser makes of each message is in the \
            files, so nothing else needs to run. The exit code is 0 where all passed.
            """)

    @Option(help: "The folder of the domain.")
    var domain: String
    @Option(help: "A folder of conversations, or one file. (default: the folder 'conversations' of the domain)")
    var conversations: String?
    @Option(help: "Only conversations whose name has this in it.")
    var name: String?
    @Flag(help: "Lists those that passed as well.")
    var verbose = false

    func run() async throws {
        let checked = try Domain.load(directory: domain)
        let path = conversations ?? domain + "/conversations"
        let all = try RecordedConversation.load(path, domain: checked)
        let chosen = name.map { part in all.filter { $0.name.contains(part) } } ?? all
        guard !chosen.isEmpty else { throw ValidationError("no conversation of \(path) has '\(name ?? "")' in its name") }
        let runner = ConversationRunner(domain: checked)
        var failed = 0
        for conversation in chosen {
            let outcome = await runner.run(conversation)
            if outcome.failures.isEmpty {
                if verbose { print("✓ \(conversation.name)") }
                continue
            }
            failed += 1
            print("✗ \(conversation.file):\(conversation.line): \(conversation.name)")
            for failure in outcome.failures { print(indented(failure.description)) }
        }
        print("\(chosen.count) conversations: \(chosen.count - failed) passed, \(failed) failed")
        if failed > 0 { throw ExitCode.failure }
    }

    private func indented(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { "    \($0)" }.joined(separator: "\n")
    }
}
