import ArgumentParser
import Foundation
import Histogram
import RPC
import Stack

/// Many people in conversation, each waiting some seconds between an answer and the next message.
@main
struct Load: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Load on a whole deployment: thousands of users in conversation over gRPC.",
        discussion: """
            Each user thinks for --think seconds (evenly distributed) after an answer; a message is due then, and its latency counts from when it was due, \
            not from when the generator came to send it. Redis, intent-server and orchestrator are started as processes of their own on this machine.
            """)

    @Option(help: "The folder of the programs' release binaries.")
    var bin = ".build/release"
    @Option(help: "The folder of the model bundles.")
    var models = "Deploy/models"
    @Option(parsing: .upToNextOption, help: "How many users, one run each.")
    var users: [Int] = [1000, 3000, 5000, 8000]
    @Option(help: "Seconds a run that count, after --warmup-seconds in which users come in.")
    var seconds = 20.0
    @Option(help: "Seconds before the first that count.")
    var warmupSeconds = 4.0
    @Option(help: "Seconds that a user thinks, LEAST-MOST.")
    var think = "0.5-2"
    @Option(help: "How long a reply is waited for, in milliseconds.")
    var timeoutMs = 2000
    @Option(help: "The model that answers.")
    var model = "ecommerce-light"
    @Option(help: "Bytes of answers that intent-server keeps for texts that come again; 0: none.")
    var cacheBytes = 64 << 20
    @Option(help: "Threads of a forward pass. On cores that the other processes need too, a small model answers most with one.")
    var threads = 1
    @Option(help: "A file for the figures, as JSON.")
    var json: String?

    func run() async throws {
        let ends = think.split(separator: "-").compactMap { Double($0) }
        guard ends.count == 2, ends[0] >= 0, ends[1] > ends[0] else {
            throw ValidationError("--think is '\(think)'; LEAST-MOST in seconds, such as 0.5-2, is expected")
        }
        let stack = try Stack(
            bin: bin, models: models,
            intentServer: ["--default-model", model, "--cache-bytes", "\(cacheBytes)", "--threads", "\(threads)"])
        defer { stack.stop() }
        let queue = CompletionQueue(name: "generator")
        let channel = try Channel(stack.orchestrator, queue: queue)
        var rows: [Figures] = []
        print(
            "| users | turns/s | TP50 ms | TP99 ms | mean ms | errors | CPU µs a turn: \(stack.cpu().map(\.name).joined(separator: " | ")) | sum |"
        )
        print("|\(String(repeating: "---:|", count: 7 + stack.cpu().count))")
        for count in users {
            let crowd = Crowd(
                channel: channel, users: count, think: ends[0]...ends[1], timeout: .milliseconds(timeoutMs),
                warmUp: .seconds(warmupSeconds),
                counted: .seconds(seconds))
            let result = await crowd.run(on: queue, cpu: { stack.cpu().map(\.seconds) })
            let row = Figures(users: count, seconds: seconds, result: result, processes: stack.cpu().map(\.name))
            print(row.line)
            fflush(nil)
            rows.append(row)
        }
        await channel.close()
        await queue.shutdown()
        if let json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try encoder.encode(rows).write(to: URL(filePath: json))
        }
    }
}

/// The figures of one run.
struct Figures: Encodable {
    var users: Int
    var turnsPerSecond: Double
    var p50: Double
    var p99: Double
    var mean: Double
    /// Of all messages that were due, 0 to 1.
    var errors: Double
    var failures: [String: Int]
    /// CPU microseconds a turn, by process.
    var cpu: [String: Double]
    private let order: [String]

    private enum CodingKeys: String, CodingKey { case users, turnsPerSecond, p50, p99, mean, errors, failures, cpu }

    init(users: Int, seconds: Double, result: Tally, processes: [String]) {
        let answered = Int(result.latencies.totalCount)
        let failed = result.failures.values.reduce(0, +)
        self.users = users
        turnsPerSecond = Double(answered) / seconds
        p50 = Double(result.latencies.valueAtPercentile(50)) / 1000
        p99 = Double(result.latencies.valueAtPercentile(99)) / 1000
        mean = result.latencies.mean / 1000
        errors = Double(failed) / Double(max(answered + failed, 1))
        failures = result.failures
        cpu = Dictionary(uniqueKeysWithValues: zip(processes, result.cpu.map { $0 / Double(max(answered, 1)) * 1e6 }))
        order = processes
    }

    /// A row of the table.
    var line: String {
        let used = order.map { cpu[$0] ?? 0 }
        let told =
            failures.isEmpty ? "" : " (\(failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")))"
        let cells =
            [
                "\(users)", format(turnsPerSecond, 0), format(p50, 1), format(p99, 1), format(mean, 1),
                "\(format(errors * 100, 2)) %\(told)",
            ] + (used + [used.reduce(0, +)]).map { format($0, 0) }
        return "| " + cells.joined(separator: " | ") + " |"
    }

    private func format(_ number: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", number) }
}
