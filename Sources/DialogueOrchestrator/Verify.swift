import ArgumentParser
import Dialogue
import Foundation

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks a domain and says everything that is wrong with it, by file, line and column.",
        discussion: "Recorded conversations in its folder 'conversations' are checked as well. The exit code is 0 where nothing is wrong.")

    @Option(help: "The folder of the domain.")
    var domain: String

    func run() throws {
        do throws(DomainError) {
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
        } catch {
            FileHandle.standardError.write(Data("\(error)\n\(error.diagnostics.count) faults in \(domain)\n".utf8))
            throw ExitCode.failure
        }
    }
}
