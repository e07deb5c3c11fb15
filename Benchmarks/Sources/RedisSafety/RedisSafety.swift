import Foundation
import Redis

/// What the settings that keep a commit safe cost: one at a time (latency) and 64 at a time (rate), on private servers, in alternating rounds.
///
/// `swift run -c release --package-path Benchmarks RedisSafety [rounds]`
@main
struct RedisSafety {
    /// Like the commit of a turn: compares a version, writes a hash of about 2 KB, and starts its time to live anew.
    static let script = RedisScript(
        """
        local now = redis.call('HMGET', KEYS[1], 'schema', 'id', 'version', 'state', 'recent', 'until', 'outbox', 'commit')
        if now[3] and now[3] ~= ARGV[1] then return {now[1], now[2], now[3]} end
        redis.call('HSET', KEYS[1], 'version', ARGV[1], 'state', ARGV[2], 'reply:1', ARGV[2], 'query:1', ARGV[3], 'recent', ARGV[3])
        redis.call('PEXPIRE', KEYS[1], 3600000)
        return 1
        """)
    static let large = RedisBytes([UInt8](repeating: 7, count: 900))
    static let small = RedisBytes([UInt8](repeating: 8, count: 100))

    static func main() async throws {
        let rounds = CommandLine.arguments.dropFirst().compactMap { Int($0) }.first ?? 7
        let one = RedisClient.Replication(replicas: 1, timeout: .seconds(5))
        let everysec = ["--appendonly", "yes", "--appendfsync", "everysec"]
        let always = ["--appendonly", "yes", "--appendfsync", "always"]
        let minimum = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"]
        let candidates = try [
            Candidate("no AOF", []),
            Candidate("AOF everysec", everysec),
            Candidate("AOF always", always),
            Candidate("AOF everysec, a replica", everysec, replicas: 1),
            Candidate("AOF everysec, a replica, min-replicas-to-write 1", everysec + minimum, replicas: 1),
            Candidate("AOF everysec, a replica, WAIT 1", everysec, replicas: 1, replication: one),
            Candidate("AOF always, a replica, WAIT 1, min-replicas-to-write 1", always + minimum, replicas: 1, replication: one),
        ]
        defer { for candidate in candidates { candidate.stop() } }
        for candidate in candidates { try await candidate.start() }
        for _ in 0..<rounds {
            for candidate in candidates { try await candidate.measure() }
        }
        print(
            "Date: \(Date().formatted(.iso8601)). Cores: \(ProcessInfo.processInfo.activeProcessorCount). Rounds: \(rounds), alternating; medians."
        )
        print("setting | 1 at a time: us | p99 us | ratio | 64 at a time: commits/s | time ratio")
        let base = candidates[1]
        for candidate in candidates {
            let latency = median(candidate.latencies)
            let rate = median(candidate.rates)
            print(
                "\(candidate.name) | \(Int(latency)) | \(Int(median(candidate.tails))) | \(format(latency / median(base.latencies))) | "
                    + "\(Int(rate)) | \(format(median(base.rates) / rate))")
        }
        for candidate in candidates { await candidate.end() }
    }

    static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
    static func format(_ number: Double) -> String { String(format: "%.2f", number) }
}

/// A server with its settings, and what was measured on it.
final class Candidate {
    let name: String
    private(set) var latencies: [Double] = []
    private(set) var tails: [Double] = []
    private(set) var rates: [Double] = []
    private let replication: RedisClient.Replication?
    private let directory: URL
    private var processes: [Process] = []
    private let client: RedisClient
    private var running: Task<Void, Never>?

    init(_ name: String, _ arguments: [String], replicas: Int = 0, replication: RedisClient.Replication? = nil) throws {
        self.name = name
        self.replication = replication
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("kefu-safety-\(UUID().uuidString.prefix(8))")
        let port = try Self.freePort()
        let socket = directory.appendingPathComponent("redis.sock").path
        var configuration = RedisClient.Configuration(endpoint: .unix(path: socket))
        configuration.commandTimeout = .seconds(30)
        client = RedisClient(configuration)
        try launch("master", ["--port", "\(port)", "--unixsocket", socket, "--repl-diskless-sync-delay", "0"] + arguments)
        for number in 0..<replicas {
            try launch("replica-\(number)", ["--port", "\(try Self.freePort())", "--replicaof", "127.0.0.1", "\(port)"])
        }
    }

    private func launch(_ name: String, _ arguments: [String]) throws {
        let folder = directory.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["redis-server", "--bind", "127.0.0.1", "--dir", folder.path, "--save", ""] + arguments
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        processes.append(process)
    }

    /// Connects, and waits for the replicas.
    func start() async throws {
        let client = client
        running = Task { await client.run() }
        if processes.count > 1 {
            while try await client.send("INFO", "replication").string?.contains("state=online") != true {
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        for number in 0..<64 { try await Self.commit(client, number, replication) }
    }

    func measure() async throws {
        var times: [Double] = []
        for _ in 0..<300 {
            let start = ContinuousClock.now
            try await Self.commit(client, 0, replication)
            times.append(start.duration(to: .now) / .microseconds(1))
        }
        times.sort()
        latencies.append(times[times.count / 2])
        tails.append(times[times.count * 99 / 100])
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<64 {
                group.addTask { [client, replication] in
                    for _ in 0..<100 { try await Self.commit(client, number, replication) }
                }
            }
            try await group.waitForAll()
        }
        rates.append(6400 / (start.duration(to: .now) / .seconds(1)))
    }

    private static func commit(_ client: RedisClient, _ number: Int, _ replication: RedisClient.Replication?) async throws {
        let answer = try await client.evaluate(
            RedisSafety.script, keys: [RedisBytes("chat:{\(number)}")], arguments: ["1", RedisSafety.large, RedisSafety.small],
            replication: replication)
        guard answer == .integer(1) else { throw RedisError(.serverError, "not committed") }
    }

    func end() async {
        running?.cancel()
        await running?.value
    }

    func stop() {
        for process in processes where process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: directory)
    }

    private static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) | getsockname(descriptor, $0, &length) }
        }
        guard status == 0 else { throw POSIXError(.EADDRINUSE) }
        return UInt16(bigEndian: address.sin_port)
    }
}
