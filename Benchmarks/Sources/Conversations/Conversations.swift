import ArgumentParser
import Conversation
import Foundation
import RPC
import Synchronization
import Wire

/// Many conversations open at once on `Converse`, each on a stream of its own: what an idle one costs the server, and what it takes to have all of them come
/// back at the same time. `Benchmarks/conversations.py` starts the servers and calls this.
@main
struct Conversations: AsyncParsableCommand {
    @Option(help: "The orchestrator: HOST:PORT.")
    var server: String
    @Option(help: "The orchestrator's process, for its memory and threads.")
    var pid: Int32
    @Option(help: "How many conversations.")
    var streams = 10_000
    @Option(help: "Over how many connections.")
    var connections = 100
    @Option(help: "How long they are idle, in seconds.")
    var idle = 10.0

    func run() async throws {
        let queue = CompletionQueue(name: "customers")
        var configuration = Channel.Configuration()
        configuration.ownsConnections = true
        let channels = try (0..<connections).map { _ in try Channel(server, configuration: configuration, queue: queue) }
        let base = Memory(pid)
        print("| | streams | memory MB | KB a stream | threads | seconds | answered | attempts | p50 s | slowest s |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        show("nobody", 0, base, base, nil)

        for phase in [Phase(name: "open, nothing said", message: nil), Phase(name: "open, one turn taken", message: 1)] {
            let crowd = Crowd(channels: channels, count: streams, phase: phase)
            try await crowd.during {
                let seconds = await crowd.allReady()
                show(phase.name, streams, Memory(pid), base, (seconds, crowd.result))
                try await Task.sleep(for: .seconds(idle))
                show("the same, \(Int(idle)) s later", crowd.open, Memory(pid), base, nil)
            }
        }
        // Everybody was sent away, and comes back at once, over connections that are made anew.
        for channel in channels { await channel.close() }
        let fresh = try (0..<connections).map { _ in try Channel(server, configuration: configuration, queue: queue) }
        let crowd = Crowd(channels: fresh, count: streams, phase: Phase(name: "all come back at once, one turn each", message: 2))
        try await crowd.during {
            let seconds = await crowd.allReady()
            show("all come back at once, a turn each", streams, Memory(pid), base, (seconds, crowd.result))
        }
        for channel in fresh { await channel.close() }
        await queue.shutdown()
    }

    private func show(_ name: String, _ count: Int, _ memory: Memory, _ base: Memory, _ measured: (seconds: Double, result: Crowd.Result)?)
    {
        let each = count == 0 ? "" : String(format: "%.1f", Double(memory.kilobytes - base.kilobytes) / Double(count))
        var cells = [name, "\(count)", "\(memory.kilobytes / 1024)", each, "\(memory.threads)"]
        if let (seconds, result) = measured {
            let sorted = result.latencies.sorted()
            cells += [String(format: "%.1f", seconds), "\(sorted.count)", "\(result.attempts)"]
            cells += sorted.isEmpty ? ["", ""] : [sorted[sorted.count / 2], sorted[sorted.count - 1]].map { String(format: "%.2f", $0) }
        } else {
            cells += ["", "", "", "", ""]
        }
        print("| " + cells.joined(separator: " | ") + " |")
        fflush(nil)
    }
}

/// What `/proc` says of a process.
struct Memory {
    var kilobytes = 0
    var threads = 0

    init(_ pid: Int32) {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") {
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.first == "VmRSS:" { kilobytes = Int(words[1]) ?? 0 }
            if words.first == "Threads:" { threads = Int(words[1]) ?? 0 }
        }
    }
}

/// What every customer of a crowd does.
struct Phase: Sendable {
    var name: String
    /// The seq of the message that each writes; nil: none does.
    var message: UInt64?
}

/// Customers with a stream each.
final class Crowd: Sendable {
    struct Result: Sendable {
        var latencies: [Double] = []
        var attempts = 0
    }

    private struct State {
        var ready = 0
        var open = 0
        var result = Result()
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let channels: [Channel]
    private let count: Int
    private let phase: Phase
    private let began = ContinuousClock.now
    private let state = Mutex(State())

    init(channels: [Channel], count: Int, phase: Phase) {
        self.channels = channels
        self.count = count
        self.phase = phase
    }

    var result: Result { state.withLock { $0.result } }
    var open: Int { state.withLock { $0.open } }

    /// Opens the streams, and closes them when `body` is done.
    func during(_ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<count {
                let channel = channels[number % channels.count]
                group.addTask(executorPreference: channel.queue) { await self.customer(number, channel) }
            }
            try await body()
            group.cancelAll()
            try await group.waitForAll()
        }
    }

    /// Waits until everybody has what they came for; gives the seconds.
    func allReady() async -> Double {
        await withCheckedContinuation { continuation in
            let isReady = state.withLock { state in
                if state.ready < count { state.waiter = continuation }
                return state.ready == count
            }
            if isReady { continuation.resume() }
        }
        return (ContinuousClock.now - began) / .seconds(1)
    }

    /// Comes back until there is an answer, and then keeps the stream.
    private func customer(_ number: Int, _ channel: Channel) async {
        let first = ContinuousClock.now
        var hasAnswer = false
        while !Task.isCancelled {
            state.withLock { $0.result.attempts += 1 }
            var pause = Duration.milliseconds(100)
            do {
                try await channel.streaming("/kefu.dialogue.v1.Dialogue/Converse", options: CallOptions(waitForReady: true)) {
                    writer, responses in
                    state.withLock { $0.open += 1 }
                    defer { state.withLock { $0.open -= 1 } }
                    if !hasAnswer, let seq = phase.message {
                        let message = Message(uid: try UserID("customer-\(number)"), query: try Utterance("你好"), seq: seq)
                        try await writer.write(DialogueCodec.replyRequest(message))
                        guard let bytes = try await responses.next() else { return }
                        if case .failure(_, _, _, _, let retryAfter) = try DialogueCodec.replyResponse(decoding: bytes) {
                            pause = retryAfter ?? pause
                            return
                        }
                    }
                    if !hasAnswer { self.answered(after: ContinuousClock.now - first) }
                    hasAnswer = true
                    // Idle, as a customer who reads.
                    while try await responses.next() != nil {}
                }
            } catch {}
            try? await Task.sleep(for: pause)
        }
    }

    private func answered(after latency: Duration) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.ready += 1
            state.result.latencies.append(latency / .seconds(1))
            guard state.ready == count else { return nil }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }
}
