import ArgumentParser
import Conversation
import Dialogue
import DialogueService

struct Assign: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says which variant of an experiment users get: uid, bucket (0 to 999999) and variant, with tabs between.")

    @Option(help: "The file of the experiment.")
    var experiment: String
    @Argument(help: "Users' ids; without any, the lines of standard input.")
    var uids: [String] = []

    func run() throws {
        let experiment = try Experiment.load(file: experiment)
        func show(_ text: String) throws {
            let bucket = experiment.bucket(of: try UserID(text))
            print("\(text)\t\(bucket)\t\(experiment.variants[experiment.variant(ofBucket: bucket)].name)")
        }
        for uid in uids { try show(uid) }
        if uids.isEmpty { while let line = readLine() { try show(line) } }
    }
}
