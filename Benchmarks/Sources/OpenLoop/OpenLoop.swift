import ArgumentParser
import Foundation

/// Sends utterances at the times that a plan says, whatever the server does, and counts the time of each from when it was due.
@main
struct OpenLoop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Open-loop load on a recognition server: Poisson arrivals, latency from the scheduled send time.",
        discussion: """
            --target kefu:HOST:PORT speaks kefu.understanding.v1 over gRPC; --target http://HOST:PORT/PATH posts {"text": "…"} as JSON, as mosec and \
            LitServe take it. Texts are random words of Chinese characters; a server reads one character as one token, and adds two.
            """)

    @Option(help: "The server: kefu:HOST:PORT, or an http URL.")
    var target: String
    @Option(help: "Requests a second; one run each.")
    var rate: [Double] = [100]
    @Option(help: "Seconds a run, after --warmup-seconds.")
    var seconds = 10.0
    @Option(help: "Seconds at the first rate before the first run.")
    var warmupSeconds = 2.0
    @Option(help: "Tokens of an utterance, LEAST-MOST, evenly distributed.")
    var lengths = "4-64"
    @Option(help: "Shares of the classes: interactive=0.2,standard=0.8.")
    var classes = "interactive=1"
    @Option(help: "How long an answer is waited for, in milliseconds.")
    var timeoutMs = 5000
    @Option(help: "The model that is asked for; empty: the server's default.")
    var model = ""
    @Option(help: "Where the random numbers begin: the same seed sends the same texts at the same times.")
    var seed: UInt64 = 1
    @Option(help: "A process of the server, of which the CPU time is shown by the names of its threads; repeatable.")
    var pid: [Int32] = []

    func run() async throws {
        let plan = try Plan(lengths: lengths, classes: classes, seed: seed)
        let sender = try Senders.make(target: target, model: model, timeout: .milliseconds(timeoutMs))
        if warmupSeconds > 0, let first = rate.first {
            _ = await Run(sender).execute(plan.requests(rate: first, seconds: warmupSeconds))
        }
        print(
            "| requests/s | class | sent | answered | in time/s | tokens/s | p50 ms | p90 ms | p99 ms | longest ms | not answered | client CPU µs a request |"
        )
        print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|")
        for rate in rate {
            let before = CPU(of: pid)
            let outcome = await Run(sender).execute(plan.requests(rate: rate, seconds: seconds))
            outcome.print(rate: rate)
            CPU(of: pid).print(since: before, requests: outcome.answered)
            fflush(nil)
        }
        await sender.close()
    }
}
