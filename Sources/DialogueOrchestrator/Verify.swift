import ArgumentParser
import Dialogue
import Foundation

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks a domain or an experiment and says everything that is wrong with it, by file, line and column.",
        discussion: """
            Recorded conversations in the domain's folder 'conversations' are checked as well, and with an experiment the domains of its variants. The exit \
            code is 0 where nothing is wrong.
            """)

    @Option(help: "The folder of the domain.")
    var domain: String?
    @Option(help: "The file of an experiment.")
    var experiment: String?

    func validate() throws {
        if domain == nil, experiment == nil {
            throw ValidationError("there is nothing to check; --domain DIR or --experiment FILE is expected")
        }
    }

    func run() throws {
        if let domain { try verify(domain) }
        guard let path = experiment else { return }
        let experiment = try checking(path) { () throws(DomainError) in try Experiment.load(file: path) }
        for folder in Set(experiment.variants.compactMap(\.domain)).sorted() { try verify(folder) }
        print(
            "\(path): experiment \(experiment.name), with the variants \(experiment.variants.map(\.name).joined(separator: ", ")), is well-formed"
        )
    }

    private func verify(_ domain: String) throws {
        try checking(domain) { () throws(DomainError) in
            let checked = try Domain.load(directory: domain)
            var isDirectory: ObjCBool = false
            let path = domain + "/conversations"
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue else {
                return print("\(domain): domain \(checked.name), version \(checked.version), is well-formed")
            }
            let conversations = try RecordedConversation.load(path, domain: checked)
            print(
                "\(domain): domain \(checked.name), version \(checked.version), and its \(conversations.count) conversations are well-formed"
            )
        }
    }

    private func checking<R>(_ path: String, _ body: () throws(DomainError) -> R) throws -> R {
        do throws(DomainError) {
            return try body()
        } catch {
            FileHandle.standardError.write(Data("\(error)\n\(error.diagnostics.count) faults in \(path)\n".utf8))
            throw ExitCode.failure
        }
    }
}
