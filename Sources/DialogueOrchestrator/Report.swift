import ArgumentParser
import Dialogue
import Foundation
import ServiceKit

struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares the variants of an experiment by the events of its turns.",
        discussion: """
            Per variant: turns, sessions, users, intent accuracy where labels are given, mean and TP99 of the reply time, hand-off, repair and \
            flow completion, with confidence intervals, and tests against the control. What is computed, and how, stands in Deploy/README.md. \
            It is computed by Python with numpy, scipy and statsmodels, which are not part of this program.
            """)

    @Option(help: "The file of the experiment.")
    var experiment: String
    @Option(parsing: .upToNextOption, help: "The files of events, those of all orchestrators and the older ones too.")
    var events: [String]
    @Option(help: "A table of what was meant, with a head: id and intent, or session, seq and intent, with commas or tabs between.")
    var labels: String?
    @Flag(help: "Print JSON in place of tables.")
    var json = false
    @Option(help: "A file for a plot, such as report.png.")
    var plot: String?
    @Option(help: "The seed of what is drawn at random.")
    var seed = 1
    @Option(help: "How often is drawn for an interval or a test.")
    var resamples = 2000
    @Option(help: "The Python that has the libraries. (default: KEFU_PYTHON, else python3)")
    var python: String?

    func validate() throws {
        guard !events.isEmpty else { throw ValidationError("--events names no file; one or more are expected") }
        guard (100...1_000_000).contains(resamples) else {
            throw ValidationError("--resamples is \(resamples); a whole number from 100 to 1000000 is expected")
        }
        guard (0...Int(UInt32.max)).contains(seed) else {
            throw ValidationError("--seed is \(seed); a whole number from 0 to \(UInt32.max) is expected")
        }
    }

    /// What the tool is told of the experiment.
    private struct Summary: Encodable {
        struct Variant: Encodable {
            var name: String
            /// 0 to 1.
            var share: Double
        }

        var name: String
        var control: String
        var variants: [Variant]

        init(_ experiment: Experiment) {
            name = experiment.name
            control = experiment.variants[experiment.control].name
            variants = experiment.variants.map { Variant(name: $0.name, share: Double($0.share) / Double(Experiment.buckets)) }
        }
    }

    func run() throws {
        let summary = try JSONEncoder().encode(Summary(try Experiment.load(file: experiment)))
        let python = python ?? Program.environment["KEFU_PYTHON"] ?? "python3"
        var arguments = [
            python, "-c", String(decoding: PackageResources.report_py, as: UTF8.self), "--experiment-json",
            String(decoding: summary, as: UTF8.self), "--seed", "\(seed)", "--resamples", "\(resamples)",
        ]
        if json { arguments.append("--json") }
        if let labels { arguments += ["--labels", labels] }
        if let plot { arguments += ["--plot", plot] }
        arguments += ["--events"] + events
        // In place of this program: its output and its exit code are the tool's.
        let words = arguments.map { strdup($0) } + [nil]
        execvp(python, words)
        throw ValidationError(
            "'\(python)' cannot be run: \(String(cString: strerror(errno))); Python 3.10 or later with numpy, scipy and statsmodels is expected, "
                + "by --python, KEFU_PYTHON or on the PATH")
    }
}
