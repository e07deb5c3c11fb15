import Foundation
import Redis

/// EVALSHA a second of `Redis` beside `redis-benchmark` with pipelining, on a private redis-server and a unix socket.
///
/// `swift run -c release --package-path Benchmarks RedisScripts [rounds] [commands a round]`
@main
struct RedisScripts {
    /// Like the commit of a turn: compare a version, write a hash and its time to live. It always commits, so that every run does the same.
    static let script = RedisScript(
        """
        local version = redis.call('HGET', KEYS[1], 'version')
        if version and version ~= ARGV[1] then return {0, version} end
        redis.call('HSET', KEYS[1], 'version', ARGV[1], 'session', ARGV[2])
        redis.call('EXPIRE', KEYS[1], 1800)
        return {1, ARGV[1]}
        """)
    static let payload = String(repeating: "0123456789abcdef", count: 38)

    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        let rounds = arguments.first ?? 3
        let commands = arguments.dropFirst().first ?? 200_000
        let server = try PrivateServer()
        defer { server.stop() }
        var configuration = RedisClient.Configuration(endpoint: .unix(path: server.socketPath))
        configuration.commandTimeout = .seconds(30)
        let client = RedisClient(configuration)
        let running = Task { await client.run() }
        _ = try await client.evaluate(script, keys: ["{u}"], arguments: ["1", RedisBytes(payload)])

        print(
            "Date: \(Date().formatted(.iso8601)). Machine: \(machine()). \(rounds) rounds of \(commands) EVALSHA with \(payload.utf8.count) bytes."
        )
        print(
            "clients x pipeline | redis-benchmark/s | Redis/s | ratio | client CPU us | benchmark CPU us | server CPU us (Redis, benchmark)"
        )
        for (clients, pipeline) in [(1, 16), (1, 32), (8, 16), (8, 32)] {
            var theirs: [Run] = []
            var pooled: [Run] = []
            var ours: [Run] = []
            for _ in 0..<rounds {
                theirs.append(try measure(server, commands) { try runBenchmark(server, clients, pipeline, commands) })
                pooled.append(
                    try await measure(server, commands) { try await runClient(client, on: nil, inFlight: clients * pipeline, commands) })
                ours.append(
                    try await measure(server, commands) {
                        try await runClient(client, on: client.executor, inFlight: clients * pipeline, commands)
                    })
            }
            let their = median(theirs)
            for (name, run) in [("client.executor", median(ours)), ("global pool", median(pooled))] {
                print(
                    "\(clients) x \(pipeline) | \(name) | \(Int(their.rate)) | \(Int(run.rate)) | \(format(run.rate / their.rate)) | "
                        + "\(format(run.ownCPU)) | \(format(their.childCPU)) | \(format(run.serverCPU)), \(format(their.serverCPU))")
            }
        }
        running.cancel()
        await running.value
    }

    /// `inFlight` callers, each with one command at a time, until all of them together have sent `commands`.
    static func runClient(_ client: RedisClient, on executor: (any TaskExecutor)?, inFlight: Int, _ commands: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<inFlight {
                let share = commands / inFlight + (caller < commands % inFlight ? 1 : 0)
                group.addTask(executorPreference: executor) {
                    let payload = RedisBytes(payload)
                    for _ in 0..<share {
                        let reply = try await client.evaluate(script, keys: ["{u}"], arguments: ["1", payload])
                        guard reply.array?.first == .integer(1) else { throw RedisError(.serverError, "not committed: \(reply)") }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// redis-benchmark with the same command. With `-q` it prints its rate, but the clock around it is the same for both.
    static func runBenchmark(_ server: PrivateServer, _ clients: Int, _ pipeline: Int, _ commands: Int) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "redis-benchmark", "-q", "-s", server.socketPath, "-c", "\(clients)", "-P", "\(pipeline)", "-n", "\(commands)", "EVALSHA",
            script.sha1, "1",
            "{u}", "1", payload,
        ]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw RedisError(.serverError, "redis-benchmark failed") }
    }
}
