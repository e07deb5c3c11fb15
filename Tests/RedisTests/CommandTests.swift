import Foundation
import Redis
import RedisTestSupport
import Testing

@Suite(.timeLimit(.minutes(1)))
struct CommandTests {
    @Test func repliesOfEveryKind() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                #expect(try await client.send("PING") == .status("PONG"))
                #expect(try await client.send("SET", "k", "值") == .status("OK"))
                #expect(try await client.send("GET", "k").string == "值")
                #expect(try await client.send("GET", "none") == .null)
                #expect(try await client.send("INCRBY", "n", 41) == .integer(41))
                #expect(try await client.send("INCRBY", "n", RedisBytes(Int64.min + 41)).integer == Int64.min + 82)
                #expect(try await client.send("RPUSH", "l", "a", "b", "c") == .integer(3))
                #expect(try await client.send("LRANGE", "l", 0, -1) == .array([.bulk([97]), .bulk([98]), .bulk([99])]))
                #expect(try await client.send("LRANGE", "none", 0, -1) == .array([]))
                #expect(try await client.send("SET", "", "") == .status("OK"))
                #expect(try await client.send("GET", "") == .bulk([]))
            }
        }
    }

    @Test func nestedArraysAndErrorsInside() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                let nested = RedisScript("return {1, {2, {3, 'x', false}}, {}, redis.error_reply('MY own words')}")
                let expected = RedisValue.array([
                    .integer(1), .array([.integer(2), .array([.integer(3), .bulk([0x78]), .null])]), .array([]),
                    .error(RedisValue.ServerError(message: "MY own words")),
                ])
                #expect(try await client.evaluate(nested) == expected)
                #expect(expected.array?.last == .error(.init(message: "MY own words")))
                let error = try await failure { try await client.evaluate(RedisScript("return redis.error_reply('MY own words')")) }
                #expect(error.code == .serverError)
                #expect(error.serverPrefix == "MY")
            }
        }
    }

    @Test func anyBytesComeBack() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                let all = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 31) } + Array("\r\n$-1\r\n\0*1\r\n".utf8)
                _ = try await client.send("SET", RedisBytes(all), RedisBytes(all))
                #expect(try await client.send("GET", RedisBytes(all)).bytes == all)
                #expect(try await client.send(["ECHO", RedisBytes([0xFF, 0, 0xFE])]) == .bulk([0xFF, 0, 0xFE]))
                #expect(try await client.send("ECHO", RedisBytes([0xFF])).string == nil)
            }
        }
    }

    @Test func tenMegabytes() async throws {
        try await TestServer.running { server in
            for configuration in [server.unix, server.tcp] {
                try await withClient(configuration) { client async throws in
                    let large = [UInt8](unsafeUninitializedCapacity: 10 << 20) { buffer, count in
                        for index in 0..<(10 << 20) { buffer[index] = UInt8(truncatingIfNeeded: index &* 7 &+ index >> 8) }
                        count = 10 << 20
                    }
                    async let set = client.send("SET", "large", RedisBytes(large))
                    async let ping = client.send("PING")
                    #expect(try await set == .status("OK"))
                    #expect(try await ping == .status("PONG"))
                    #expect(try await client.send("GET", "large").bytes == large)
                }
            }
        }
    }

    @Test func tenThousandAtOnceEachGetItsOwnReply() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                let right = try await withThrowingTaskGroup(of: Bool.self) { group in
                    for index in 0..<10_000 {
                        group.addTask { try await client.send("ECHO", RedisBytes("value-\(index)")).string == "value-\(index)" }
                    }
                    return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
                }
                #expect(right == 10_000)
                #expect(client.pendingCommandCount == 0)
                // They shared one connection, and went in far fewer writes than there were commands.
                let clients = try #require(try await client.send("CLIENT", "LIST").string)
                #expect(clients.split(separator: "\n").count == 1)
            }
        }
    }

    @Test func oneCallersCommandsRunInOrder() async throws {
        try await TestServer.running { server in
            try await withClient(server.tcp) { client async throws in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for caller in 0..<16 {
                        group.addTask { () async throws in
                            for step in 1...100 {
                                #expect(try await client.send("RPUSH", "list-\(caller)", RedisBytes(step)) == .integer(Int64(step)))
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let list = try #require(try await client.send("LRANGE", "list-7", 0, -1).array)
                #expect(list.compactMap(\.string) == (1...100).map(String.init))
            }
        }
    }

    @Test func callersMayRunOnTheClientsThread() async throws {
        try await TestServer.running { server in
            let client = RedisClient(server.unix)
            let running = Task { await client.run() }
            _ = try await client.send("PING")
            let callers = (0..<200).map { caller in
                Task(executorPreference: client.executor) { () async throws in
                    for step in 0..<20 {
                        #expect(try await client.send("ECHO", RedisBytes("\(caller).\(step)")).string == "\(caller).\(step)")
                    }
                }
            }
            for caller in callers { try await caller.value }
            // A task that is on the client's thread when the client ends goes on elsewhere.
            let last = Task(executorPreference: client.executor) { () async throws -> RedisError.Code in
                while true {
                    do { _ = try await client.send("PING") } catch let error as RedisError { return error.code }
                }
            }
            running.cancel()
            await running.value
            #expect(try await last.value == .closed)
            #expect(await Task(executorPreference: client.executor) { 42 }.value == 42)
        }
    }

    @Test func scriptsHealWhenTheServerForgetsThem() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                let script = RedisScript("redis.call('SET', KEYS[1], ARGV[1]); return {KEYS[1], ARGV[1], #ARGV} -- 中文")
                let expected = RedisValue.array([.bulk([0x6B]), .bulk([0, 0xFF]), .integer(2)])
                #expect(try await client.evaluate(script, keys: ["k"], arguments: [RedisBytes([0, 0xFF]), 7]) == expected)
                #expect(try await client.send("SCRIPT", "EXISTS", RedisBytes(script.sha1)) == .array([.integer(1)]))
                #expect(try await client.evaluate(script, keys: ["k"], arguments: [RedisBytes([0, 0xFF]), 7]) == expected)
                #expect(try await client.send("SCRIPT", "FLUSH") == .status("OK"))
                try await withThrowingTaskGroup(of: RedisValue.self) { group in
                    for _ in 0..<100 {
                        group.addTask { try await client.evaluate(script, keys: ["k"], arguments: [RedisBytes([0, 0xFF]), 7]) }
                    }
                    for try await value in group { #expect(value == expected) }
                }
                #expect(try await client.send("SCRIPT", "LOAD", RedisBytes(script.source)).string == script.sha1)
            }
        }
    }

    @Test func errorsOfTheServerAreTyped() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("SET", "text", "x")
                let wrongType = try await failure { try await client.send("LPUSH", "text", "y") }
                #expect(wrongType.code == .serverError)
                #expect(wrongType.serverPrefix == "WRONGTYPE")
                #expect(wrongType.message.contains("wrong kind of value"))
                let unknown = try await failure { try await client.send("NOSUCHCOMMAND") }
                #expect(unknown.serverPrefix == "ERR")
                let noScript = try await failure { try await client.send("EVALSHA", "0000000000000000000000000000000000000000", 0) }
                #expect(noScript.serverPrefix == "NOSCRIPT")
                #expect(!noScript.mayHaveRun)
                let broken = try await failure { try await client.evaluate(RedisScript("this is not Lua")) }
                #expect(broken.serverPrefix == "ERR")
                _ = try await client.send("CONFIG", "SET", "maxmemory", 1)
                let full = try await failure { try await client.send("SET", "more", "x") }
                #expect(full.serverPrefix == "OOM")
                // The server is still there, and in step.
                #expect(try await client.send("PING") == .status("PONG"))
            }
        }
    }

    @Test(
        arguments: [["MULTI"], ["subscribe", "c"], ["Monitor"], ["SELECT", "1"], ["CLIENT", "reply", "OFF"], [], [""]] as [[RedisBytes]])
    func commandsThatWouldHurtOtherCallersAreRefused(words: [RedisBytes]) async throws {
        let client = RedisClient(.init(endpoint: .unix(path: "/nowhere")))
        let error = try await failure { try await client.send(words) }
        #expect(error.code == .invalidCommand)
        #expect(!error.mayHaveRun)
    }
}
