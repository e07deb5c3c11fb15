import Foundation

/// The processes of one deployment on loopback: a Redis of its own with AOF, an intent server, an orchestrator.
public final class Stack {
    /// Why a deployment did not start.
    public struct StackError: Error, CustomStringConvertible {
        /// What went wrong.
        public let description: String
    }

    private var processes: [(name: String, process: Process)] = []
    private let directory: URL
    /// Where the orchestrator listens for gRPC: `127.0.0.1:PORT`.
    public private(set) var orchestrator = ""

    /// Starts everything, and returns when all serve.
    ///
    /// - Parameters:
    ///   - bin: The folder of the programs' release binaries.
    ///   - models: The folder of the model bundles.
    ///   - intentServer: Further arguments of `intent-server serve`.
    /// - Throws: ``StackError`` where a part does not start; what was started is ended.
    public init(bin: String, models: String, intentServer: [String] = []) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "kefu-stack-\(getpid())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        do {
            let socket = try startRedis()
            let understanding = try start(
                "intent-server", "\(bin)/intent-server", ["serve", "--listen", "127.0.0.1:0", "--models", models] + intentServer)
            orchestrator = try start(
                "orchestrator", "\(bin)/dialogue-orchestrator",
                ["serve", "--listen", "127.0.0.1:0", "--understanding", understanding, "--redis", "unix://\(socket)"])
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
        processes.append(("redis", redis))
        while !FileManager.default.fileExists(atPath: socket) {
            guard redis.isRunning else { throw StackError(description: "redis-server did not start") }
            usleep(10_000)
        }
        return socket
    }

    /// Starts a program, and returns the address that it prints when it serves.
    private func start(_ name: String, _ path: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        processes.append((name, process))
        var line = ""
        while !line.contains("\n") {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw StackError(description: "\(path) did not start") }
            line += String(decoding: data, as: UTF8.self)
        }
        guard let address = line.split(whereSeparator: \.isWhitespace).first(where: { $0.hasPrefix("grpc=") })?.dropFirst(5) else {
            throw StackError(description: "\(path) said '\(line)'")
        }
        return String(address)
    }

    /// CPU seconds used so far: by this process, the generator, and by those of the deployment.
    public func cpu() -> [(name: String, seconds: Double)] {
        ([("generator", getpid())] + processes.reversed().map { ($0.name, $0.process.processIdentifier) }).map { name, pid in
            guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else {
                return (name, 0)
            }
            let fields = stat[stat.index(after: end)...].split(separator: " ")
            return (name, ((Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0)) / Double(sysconf(Int32(_SC_CLK_TCK))))
        }
    }

    /// Ends everything.
    public func stop() {
        for (_, process) in processes.reversed() {
            // Children inherit the blocked signals of the thread that starts them, so SIGTERM may not reach them.
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        processes = []
        try? FileManager.default.removeItem(at: directory)
    }
}
