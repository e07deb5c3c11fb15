import Conversation
import Dialogue
import DialogueService
import Foundation
import Redis

/// The size of a session, and what a turn of it costs (load, and commit), after 20 and after 10,000 turns: alternating rounds on one private Redis.
///
/// `swift run -c release --package-path Benchmarks SessionAge [rounds]`
@main
struct SessionAge {
    static func main() async throws {
        let rounds = CommandLine.arguments.dropFirst().compactMap { Int($0) }.first ?? 15
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("kefu-age-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let socket = directory.appendingPathComponent("redis.sock").path
        let server = Process()
        server.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        server.arguments = ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", directory.path, "--save", ""]
        server.standardOutput = FileHandle.nullDevice
        try server.run()
        defer {
            server.terminate()
            server.waitUntilExit()
        }
        var configuration = RedisClient.Configuration(endpoint: .unix(path: socket))
        configuration.commandTimeout = .seconds(30)
        let client = RedisClient(configuration)
        let running = Task { await client.run() }

        let old = try Customer("old", client)
        try await old.talk(until: 10_000)
        let oldBytes = try await old.bytes()
        var (youngTimes, oldTimes): ([Double], [Double]) = ([], [])
        var youngBytes: Int64 = 0
        for round in 0..<rounds {
            let young = try Customer("young-\(round)", client)
            try await young.talk(until: 20)
            youngBytes = try await young.bytes()
            youngTimes.append(try await young.timed(200))
            oldTimes.append(try await old.timed(200))
        }
        func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
        print(
            "Date: \(Date().formatted(.iso8601)). Cores: \(ProcessInfo.processInfo.activeProcessorCount). \(rounds) rounds of 200 turns, medians."
        )
        print("turns | bytes in Redis | us a turn (load and commit)")
        print("20 | \(youngBytes) | \(Int(median(youngTimes)))")
        print("10000 | \(oldBytes) | \(Int(median(oldTimes)))")
        print(String(format: "ratio | %.3f | %.3f", Double(oldBytes) / Double(youngBytes), median(oldTimes) / median(youngTimes)))
        running.cancel()
        await running.value
    }
}

/// One customer, whose every turn fills the session as far as turns do.
final class Customer {
    private let uid: UserID
    private let client: RedisClient
    private let store: RedisSessionStore
    private var turn: UInt64 = 0

    init(_ name: String, _ client: RedisClient) throws {
        uid = try UserID(name)
        self.client = client
        store = RedisSessionStore(client: client)
    }

    func talk(until last: UInt64) async throws {
        while turn < last { try await takeTurn() }
    }

    /// Microseconds a turn.
    func timed(_ count: Int) async throws -> Double {
        let start = ContinuousClock.now
        for _ in 0..<count { try await takeTurn() }
        return start.duration(to: .now) / .microseconds(1) / Double(count)
    }

    func bytes() async throws -> Int64 {
        try await client.send("MEMORY", "USAGE", RedisBytes("chat:{\(uid.string)}"), "SAMPLES", "0").integer ?? 0
    }

    private func takeTurn() async throws {
        turn += 1
        let deadline = ContinuousClock.now + .seconds(30)
        let loaded = try await store.load(uid, deadline: deadline)
        let now = Timestamp(milliseconds: 1_700_000_000_000 + Int64(turn))
        var session = loaded?.session ?? Session(uid: uid, id: "0123456789abcdef", startedAt: now, timeToLive: .seconds(3600))
        session.turns = turn
        session.lastSeq = turn
        session.updatedAt = now
        for name in ["order_id", "phone", "address"] {
            session.slots[name] = SlotValue(name: name, value: "\(1_000_000 + turn)", normalized: "\(1_000_000 + turn)")
        }
        session.remember(Turn(seq: turn, intent: "inform", confidence: 0.9, at: now, source: .template))
        let position = session.answered.insert(turn)
        let reply = Reply(
            uid: uid, seq: turn, text: "好的，已为您登记，订单号是\(1_000_000 + turn)。", source: .template, recognition: nil,
            session: SessionSnapshot(session, timeLeft: .seconds(3600)))
        let commit = SessionCommit(
            session: session, reply: reply, position: position, query: "我的订单号是\(1_000_000 + turn)",
            recent: (0..<6).map { "第\($0)句 \(1_000_000 + turn)" })
        guard try await store.commit(commit, expected: loaded?.version, deadline: deadline).isCommitted else {
            throw ConversationError(.aborted, "not committed")
        }
    }
}
