import ArgumentParser
import Conversation
import Foundation
import RPC
import Stack
import Wire

/// Turns per second end to end: Redis, intent-server and orchestrator as processes of their own, and this generator.
@main
struct Turns: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures turns/s, latency and CPU by process, at some numbers of turns in flight (closed loop).")

    @Option(help: "The folder of the programs' release binaries.")
    var bin = ".build/release"
    @Option(help: "The folder of the model bundles.")
    var models = "Deploy/models"
    @Option(help: "Turns in flight, one run each.")
    var inFlight: [Int] = [1, 32, 256]
    @Option(help: "Seconds a run, after one second of warming up.")
    var seconds = 5.0

    func run() async throws {
        let stack = try Stack(bin: bin, models: models)
        defer { stack.stop() }
        let queue = CompletionQueue(name: "generator")
        let channel = try Channel(stack.orchestrator, queue: queue)
        print("| in flight | turns/s | p50 ms | p99 ms | failed | CPU µs a turn: generator | orchestrator | intent-server | redis | sum |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for count in inFlight {
            _ = await load(channel, queue, inFlight: count, seconds: 1)
            let before = stack.cpu()
            let result = await load(channel, queue, inFlight: count, seconds: seconds)
            let used = zip(stack.cpu(), before).map { ($0.seconds - $1.seconds) / Double(max(result.latencies.count, 1)) * 1e6 }
            let sorted = result.latencies.sorted()
            let cells =
                [
                    "\(count)", format(Double(sorted.count) / result.seconds, 0), format(percentile(sorted, 0.5) * 1e3, 2),
                    format(percentile(sorted, 0.99) * 1e3, 2), "\(result.failed)",
                ] + (used + [used.reduce(0, +)]).map { format($0, 0) }
            print("| " + cells.joined(separator: " | ") + " |")
            fflush(nil)
        }
        await channel.close()
        await queue.shutdown()
    }

    private struct Result {
        var latencies: [Double] = []
        var failed = 0
        var seconds = 0.0
    }

    private func load(_ channel: Channel, _ queue: CompletionQueue, inFlight: Int, seconds: Double) async -> Result {
        let began = ContinuousClock.now
        let end = began + .seconds(seconds)
        // The callers run on the channel's own thread, as a service on RPC does.
        return await withTaskExecutorPreference(queue) {
            await withTaskGroup(of: Result.self) { group in
                for _ in 0..<inFlight { group.addTask { await customer(channel, until: end) } }
                var sum = Result()
                for await part in group {
                    sum.latencies += part.latencies
                    sum.failed += part.failed
                }
                sum.seconds = (ContinuousClock.now - began) / .seconds(1)
                return sum
            }
        }
    }

    /// One customer after another changes an address, and talks of this and that.
    private func customer(_ channel: Channel, until end: ContinuousClock.Instant) async -> Result {
        let script = [
            "你好", "我要改地址", "订单号是202411110001", "退货运费谁出", "浙江省杭州市西湖区文三路100号", "对的", "快递到哪了", "今天天气怎么样", "谢谢", "再见",
        ]
        var result = Result()
        while true {
            let uid = UUID().uuidString
            for (index, text) in script.enumerated() {
                let began = ContinuousClock.now
                guard began < end else { return result }
                do {
                    let message = Message(uid: try UserID(uid), query: try Utterance(text), seq: UInt64(index + 1))
                    let response = try await channel.unary(
                        "/kefu.dialogue.v1.Dialogue/Reply", DialogueCodec.replyRequest(message), options: CallOptions(timeout: .seconds(30))
                    )
                    guard case .reply(let reply) = try DialogueCodec.replyResponse(decoding: response.message), reply.degradedParts.isEmpty
                    else {
                        result.failed += 1
                        continue
                    }
                    result.latencies.append((ContinuousClock.now - began) / .seconds(1))
                } catch {
                    result.failed += 1
                }
            }
        }
    }

    private func percentile(_ sorted: [Double], _ share: Double) -> Double {
        sorted.isEmpty ? .nan : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
    }

    private func format(_ number: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", number) }
}
