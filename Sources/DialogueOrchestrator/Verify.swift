import ArgumentParser
import Dialogue

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Checks a domain and says what is wrong with it, by file and line.")

    @Option(help: "The folder of the domain.")
    var domain: String

    func run() throws {
        let checked = try Domain.load(directory: domain)
        print("\(domain): domain \(checked.name) is well-formed")
    }
}
