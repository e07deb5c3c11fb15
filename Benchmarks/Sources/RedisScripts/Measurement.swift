import Foundation

/// One run: commands a second, and CPU microseconds a command.
struct Run {
    var rate: Double
    var ownCPU: Double
    var childCPU: Double
    var serverCPU: Double
}

/// Times `body`, and the CPU of this process, of its ended children and of the server.
nonisolated(nonsending) func measure(_ server: PrivateServer, _ commands: Int, _ body: () async throws -> Void) async throws -> Run {
    let before = Snapshot(server)
    try await body()
    return Snapshot(server).run(since: before, commands)
}

/// The same for a body that blocks.
func measure(_ server: PrivateServer, _ commands: Int, _ body: () throws -> Void) rethrows -> Run {
    let before = Snapshot(server)
    try body()
    return Snapshot(server).run(since: before, commands)
}

/// The clock and the CPU seconds used so far.
private struct Snapshot {
    let time = ContinuousClock.now
    let own = cpuSeconds(RUSAGE_SELF)
    let children = cpuSeconds(RUSAGE_CHILDREN)
    let server: Double

    init(_ server: PrivateServer) {
        self.server = server.cpuSeconds
    }

    func run(since before: Snapshot, _ commands: Int) -> Run {
        let elapsed = before.time.duration(to: time) / .seconds(1)
        let micros = 1e6 / Double(commands)
        return Run(
            rate: Double(commands) / elapsed, ownCPU: (own - before.own) * micros, childCPU: (children - before.children) * micros,
            serverCPU: (server - before.server) * micros)
    }
}

private func cpuSeconds(_ who: __rusage_who) -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(who.rawValue), &usage)
    let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
    return Double(seconds) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
}

/// The run in the middle by rate.
func median(_ runs: [Run]) -> Run {
    runs.sorted { $0.rate < $1.rate }[runs.count / 2]
}

func format(_ number: Double) -> String {
    String(format: "%.2f", number)
}

/// The processor and how many of its cores there are.
func machine() -> String {
    let information = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let model = information.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last ?? " unknown processor"
    return "\(ProcessInfo.processInfo.activeProcessorCount) cores of\(model)"
}

/// A redis-server of the benchmark's own, on a unix socket in a temporary directory.
final class PrivateServer: Sendable {
    let socketPath: String
    private let directory: URL
    private let process: Process

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("kefu-redis-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        socketPath = directory.appendingPathComponent("redis.sock").path
        process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["redis-server", "--port", "0", "--unixsocket", socketPath, "--dir", directory.path, "--save", ""]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
    }

    func stop() {
        kill(process.processIdentifier, SIGTERM)
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: directory)
    }

    /// The CPU time of the server so far.
    var cpuSeconds: Double {
        guard let text = try? String(contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8),
            let end = text.lastIndex(of: ")")
        else { return .nan }
        let fields = text[end...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else { return .nan }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
