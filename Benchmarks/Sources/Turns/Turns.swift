import ArgumentParser
import Conversation
import Foundation
import RPC
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
        let channel = try Channel(stack.orchestrator.address, queue: queue)
        print("| in flight | turns/s | p50 ms | p99 ms | failed | CPU µs a turn: generator | orchestrator | intent-server | redis | sum |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for count in inFlight {
            _ = await load(channel, queue, inFlight: count, seconds: 1)
            let before = stack.cpu()
            let result = await load(channel, queue, inFlight: count, seconds: seconds)
            let used = zip(stack.cpu(), before).map { ($0 - $1) / Double(max(result.latencies.count, 1)) * 1e6 }
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

/// The processes of one deployment, with a Redis of its own.
private final class Stack {
    struct Server {
        var process: Process
        var address: String
    }

    private(set) var orchestrator = Server(process: Process(), address: "")
    private var processes: [Process] = []
    private let directory: URL

    init(bin: String, models: String) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "kefu-turns-\(getpid())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        do {
            let socket = try startRedis()
            let intentServer = try start("\(bin)/intent-server", ["serve", "--listen", "127.0.0.1:0", "--models", models])
            orchestrator = try start(
                "\(bin)/dialogue-orchestrator",
                ["serve", "--listen", "127.0.0.1:0", "--understanding", intentServer.address, "--redis", "unix://\(socket)"])
        } catch {
            stop()
            throw error
        }
    }

    private func startRedis() throws -> String {
        let socket = directory.appending(path: "redis.sock").path(percentEncoded: false)
        let redis = Process()
        redis.executableURL = URL(filePath: "/usr/bin/redis-server")
        redis.arguments = [
            "--port", "0", "--unixsocket", socket, "--dir", directory.path(percentEncoded: false), "--save", "", "--appendonly", "yes",
        ]
        redis.standardOutput = FileHandle.nullDevice
        try redis.run()
        processes.append(redis)
        while !FileManager.default.fileExists(atPath: socket) {
            guard redis.isRunning else { throw ValidationError("redis-server did not start") }
            usleep(10_000)
        }
        return socket
    }

    private func start(_ path: String, _ arguments: [String]) throws -> Server {
        let process = Process()
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        processes.append(process)
        var line = ""
        while !line.contains("\n") {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw ValidationError("\(path) did not start") }
            line += String(decoding: data, as: UTF8.self)
        }
        guard let address = line.split(whereSeparator: \.isWhitespace).first(where: { $0.hasPrefix("grpc=") })?.dropFirst(5) else {
            throw ValidationError("\(path) said '\(line)'")
        }
        return Server(process: process, address: String(address))
    }

    /// CPU seconds used so far: this process, orchestrator, intent server, Redis.
    func cpu() -> [Double] {
        ([getpid()] + processes.reversed().map(\.processIdentifier)).map { pid in
            guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else {
                return 0
            }
            let fields = stat[stat.index(after: end)...].split(separator: " ")
            return ((Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0)) / Double(sysconf(Int32(_SC_CLK_TCK)))
        }
    }

    func stop() {
        for process in processes.reversed() {
            // Children inherit the blocked signals of the thread that starts them, so SIGTERM may not reach them.
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: directory)
    }
}
