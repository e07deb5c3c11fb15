import Foundation
import RPC

/// Unary echo of 100 bytes over loopback, server and client in a process each.
///
///     rpc-echo [--seconds S]                                      server and clients with 1, 32 and 256 in flight; a table
///     rpc-echo server [--listen 127.0.0.1:0]                      prints its address; ends with its standard input
///     rpc-echo client --server ADDRESS [--in-flight N] [--seconds S]
@main struct RPCEcho {
    static func main() async throws {
        var arguments = Array(CommandLine.arguments.dropFirst())
        let command = arguments.first.map { $0.hasPrefix("--") } == false ? arguments.removeFirst() : "all"
        let options = try Options(arguments)
        switch command {
        case "server": try await serve(options)
        case "client": print(try await measure(options).line)
        case "all": try await all(options)
        default: throw UsageError(message: "unknown command '\(command)'; server, client or nothing is expected")
        }
    }

    /// Runs a server process and a client process after the other, and prints their lines as a table.
    static func all(_ options: Options) async throws {
        let server = try Child(["server"])
        defer { server.end() }
        guard let first = server.readLine(), let address = first.split(separator: "=").last else {
            throw UsageError(message: "the server did not print its address")
        }
        print(
            "unary echo of \(Options.requestBytes) bytes, \(ProcessInfo.processInfo.hostName), "
                + "\(ProcessInfo.processInfo.activeProcessorCount) cores, \(ISO8601DateFormatter().string(from: Date()))")
        print(Figures.header)
        for inFlight in [1, 32, 256] {
            let client = try Child(["client", "--server", String(address), "--in-flight", "\(inFlight)", "--seconds", "\(options.seconds)"])
            while let line = client.readLine() { print(line) }
            client.end()
        }
    }

    /// Answers until standard input ends.
    static func serve(_ options: Options) async throws {
        let queue = CompletionQueue(name: "echo-server")
        let echo = Service(
            "bench.Echo",
            [
                .unary("Echo") { request, _ in request },
                // Microseconds of CPU that this process used so far, in decimal.
                .unary("CPU") { _, _ in Array("\(cpuMicroseconds())".utf8) },
            ])
        let server = try Server(Server.Configuration(address: options.listen), services: [echo], queue: queue)
        print("listening grpc=127.0.0.1:\(server.port)")
        fflush(nil)
        async let running: Void = server.run()
        await Task.detached { while readLine() != nil {} }.value
        server.beginShutdown(grace: .seconds(1))
        await running
        await queue.shutdown()
    }

    /// Calls as fast as `inFlight` callers can.
    static func measure(_ options: Options) async throws -> Figures {
        let queue = CompletionQueue(name: "echo-client")
        let channel = try Channel(options.server, queue: queue)
        let request = [UInt8](repeating: 7, count: Options.requestBytes)
        _ = try await call(for: .milliseconds(500), options.inFlight, channel, request)
        let serverCPU = try await remoteCPU(channel)
        let clientCPU = cpuMicroseconds()
        let began = ContinuousClock.now
        var latencies = try await call(for: .seconds(options.seconds), options.inFlight, channel, request)
        let elapsed = ContinuousClock.now - began
        let clientUsed = cpuMicroseconds() - clientCPU
        let serverUsed = try await remoteCPU(channel) - serverCPU
        await channel.close()
        await queue.shutdown()
        latencies.sort()
        return Figures(inFlight: options.inFlight, latencies: latencies, elapsed: elapsed, clientCPU: clientUsed, serverCPU: serverUsed)
    }

    /// - Returns: The latency of each call in microseconds.
    static func call(for time: Duration, _ inFlight: Int, _ channel: Channel, _ request: [UInt8]) async throws -> [Double] {
        let end = ContinuousClock.now + time
        return try await withThrowingTaskGroup(of: [Double].self) { group in
            for _ in 0..<inFlight {
                group.addTask(executorPreference: channel.queue) {
                    var latencies: [Double] = []
                    var start = ContinuousClock.now
                    while start < end {
                        _ = try await channel.unary("/bench.Echo/Echo", request)
                        let now = ContinuousClock.now
                        latencies.append((now - start) / .microseconds(1))
                        start = now
                    }
                    return latencies
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    static func remoteCPU(_ channel: Channel) async throws -> Int {
        Int(String(decoding: try await channel.unary("/bench.Echo/CPU", []).message, as: UTF8.self)) ?? 0
    }
}

/// Microseconds of CPU, user and system, that this process used so far.
func cpuMicroseconds() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000 + Int(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
}

struct Figures {
    let inFlight: Int
    let latencies: [Double]
    let elapsed: Duration
    let clientCPU: Int
    let serverCPU: Int

    static let header = "in flight   calls/s   p50 us   p99 us   client CPU us/call   server CPU us/call"

    var line: String {
        let calls = Double(max(latencies.count, 1))
        return String(
            format: "%9d %9.0f %8.0f %8.0f %20.1f %20.1f", inFlight, calls / (elapsed / .seconds(1)), percentile(0.5), percentile(0.99),
            Double(clientCPU) / calls, Double(serverCPU) / calls)
    }

    private func percentile(_ part: Double) -> Double {
        latencies.isEmpty ? 0 : latencies[min(latencies.count - 1, Int(Double(latencies.count) * part))]
    }
}

struct UsageError: Error, CustomStringConvertible {
    let message: String
    var description: String { message }
}

struct Options {
    static let requestBytes = 100

    var listen = "127.0.0.1:0"
    var server = ""
    var inFlight = 1
    var seconds = 3.0

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        while let name = rest.popFirst() {
            guard let value = rest.popFirst() else { throw UsageError(message: "\(name) needs a value") }
            switch name {
            case "--listen": listen = value
            case "--server": server = value
            case "--in-flight": inFlight = Int(value) ?? 1
            case "--seconds": seconds = Double(value) ?? 3
            default: throw UsageError(message: "unknown option \(name)")
            }
        }
    }
}

/// Another process of this program.
final class Child {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffered = Data()

    init(_ arguments: [String]) throws {
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    /// The next line that it prints; nil: it ended.
    func readLine() -> String? {
        while true {
            if let end = buffered.firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffered = Data(buffered[(end + 1)...]) }
                return String(decoding: buffered[..<end], as: UTF8.self)
            }
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { return nil }
            buffered.append(data)
        }
    }

    /// Ends its standard input and waits for it.
    func end() {
        input.fileHandleForWriting.closeFile()
        process.waitUntilExit()
    }
}
