import Foundation
import Redis
import RedisTestSupport
import Testing

@Suite(.timeLimit(.minutes(1)))
struct FailureTests {
    @Test func aTimeOutLeavesThePipelineInStep() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("PING")
                server.freeze()
                async let late = failure { try await client.send("INCR", "n", deadline: .now + .milliseconds(500)) }
                let error = try await late
                #expect(error.code == .timedOut)
                #expect(error.mayHaveRun)
                // Commands behind it, on the same connection, while the server still sleeps.
                async let first = client.send("ECHO", "first")
                async let second = client.send("ECHO", "second")
                server.thaw()
                #expect(try await first.string == "first")
                #expect(try await second.string == "second")
                #expect(try await client.send("GET", "n").string == "1")
                #expect(try await client.send("INFO", "stats").string?.contains("total_connections_received:1\r\n") == true)
            }
        }
    }

    @Test func deadlinesOfDifferentLengthEndInTheirOrder() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("PING")
                server.freeze()
                let start = ContinuousClock.now
                let ends = try await withThrowingTaskGroup(of: (Int, Duration).self) { group in
                    for milliseconds in [2400, 800, 1600] {
                        group.addTask {
                            let error = try await failure { try await client.send("PING", deadline: start + .milliseconds(milliseconds)) }
                            #expect(error.code == .timedOut)
                            return (milliseconds, start.duration(to: .now))
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                server.thaw()
                #expect(ends.map(\.0) == [800, 1600, 2400])
                for (milliseconds, duration) in ends { #expect(duration >= .milliseconds(milliseconds)) }
                #expect(try await client.send("PING") == .status("PONG"))
            }
        }
    }

    @Test func aDeadlineInThePastIsATimeOut() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("PING")
                let error = try await failure { try await client.send("INCR", "n", deadline: .now - .seconds(1)) }
                #expect(error.code == .timedOut)
                #expect(!error.mayHaveRun)
                #expect(try await client.send("GET", "n") == .null)
            }
        }
    }

    @Test func cancellationLeavesATombstone() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("PING")
                server.freeze()
                let cancelled = Task { try await failure { try await client.send("INCR", "n") } }
                try await waitUntil { client.pendingCommandCount > 0 }
                async let behind = client.send("ECHO", "behind")
                try await waitUntil { client.pendingCommandCount >= 2 }
                // Only a command that has left the inbox can have run.
                try await allHandedOver(client)
                let pending = client.pendingCommandCount
                cancelled.cancel()
                #expect(try await cancelled.value.code == .cancelled)
                #expect(client.pendingCommandCount == pending)
                server.thaw()
                #expect(try await behind.string == "behind")
                #expect(try await client.send("ECHO", "after").string == "after")
                #expect(client.pendingCommandCount == 0)
            }
        }
    }

    @Test func aCancelledCallerSendsNothing() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                let task = Task {
                    try? await Task.sleep(for: .seconds(60))
                    return try await failure { try await client.send("INCR", "n") }
                }
                task.cancel()
                let error = try await task.value
                #expect(error.code == .cancelled)
                #expect(!error.mayHaveRun)
                #expect(try await client.send("GET", "n") == .null)
            }
        }
    }

    @Test func aKilledServerAnswersEveryCaller() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("PING")
                server.freeze()
                try await withThrowingTaskGroup(of: RedisError.self) { group in
                    for _ in 0..<500 { group.addTask { try await failure { try await client.send("INCR", "n") } } }
                    try await waitUntil { client.pendingCommandCount >= 500 }
                    try await allHandedOver(client)
                    server.kill()
                    for try await error in group {
                        #expect(error.code == .connectionLost)
                        #expect(error.mayHaveRun)
                    }
                }
                let away = try await failure { try await client.send("INCR", "n", deadline: .now + .seconds(1)) }
                #expect(away.code == .connectionFailed)
                #expect(!away.mayHaveRun)
                #expect(away.cause != nil)
            }
        }
    }

    @Test func callersWaitForARestartWithinTheirDeadline() async throws {
        try await TestServer.running { server in
            try await withClient(server.tcp) { client async throws in
                _ = try await client.send("SET", "before", "1")
                server.kill()
                // The client may or may not have seen the end of the connection yet; this one sees it.
                _ = try? await client.send("PING", deadline: .now + .milliseconds(50))
                async let waiting = withThrowingTaskGroup(of: RedisValue.self) { group in
                    for index in 0..<200 { group.addTask { try await client.send("ECHO", RedisBytes(index)) } }
                    return try await group.reduce(into: 0) { count, _ in count += 1 }
                }
                try await waitUntil { client.pendingCommandCount >= 200 }
                try server.start()
                #expect(try await waiting == 200)
                #expect(client.pendingCommandCount == 0)
            }
        }
    }

    @Test(arguments: [true, false]) func aRefusedConnectionAnswersEveryCaller(overTCP: Bool) async throws {
        let server = try TestServer()
        var configuration = overTCP ? server.tcp : server.unix
        configuration.commandTimeout = .seconds(1)
        try await withClient(configuration) { client async throws in
            try await withThrowingTaskGroup(of: RedisError.self) { group in
                for _ in 0..<100 { group.addTask { try await failure { try await client.send("PING") } } }
                for try await error in group {
                    #expect(error.code == .connectionFailed)
                    #expect(!error.mayHaveRun)
                    #expect("\(error)".contains(overTCP ? "Connection refused" : "No such file or directory"))
                }
            }
            #expect(client.pendingCommandCount == 0)
        }
    }

    @Test func anUnknownHostIsNamed() async throws {
        var configuration = RedisClient.Configuration(endpoint: .tcp(host: "no-such-host.invalid", port: 1))
        configuration.commandTimeout = .seconds(5)
        configuration.connectTimeout = .milliseconds(500)
        configuration.backoff = Backoff(initial: .milliseconds(5), maximum: .seconds(5))
        try await withClient(configuration) { client async throws in
            let error = try await failure { try await client.send("PING", deadline: .now + .seconds(3)) }
            #expect(error.code == .connectionFailed)
            #expect("\(error)".contains("no-such-host.invalid"))
        }
    }

    @Test func tooMuchAtOnceIsRefused() async throws {
        try await TestServer.running { server in
            var configuration = server.unix
            configuration.maximumPendingCommands = 10
            configuration.maximumPendingBytes = 100_000
            try await withClient(configuration) { client async throws in
                _ = try await client.send("PING")
                let large = try await failure { try await client.send("ECHO", RedisBytes([UInt8](repeating: 0, count: 100_000))) }
                #expect(large.code == .overloaded)
                server.freeze()
                let outcomes = try await withThrowingTaskGroup(of: Result<RedisValue, RedisError>.self) { group in
                    for _ in 0..<30 {
                        group.addTask {
                            do { return .success(try await client.send("PING")) } catch let error as RedisError { return .failure(error) }
                        }
                    }
                    var outcomes: [Result<RedisValue, RedisError>] = []
                    while outcomes.count < 20, let outcome = try await group.next() { outcomes.append(outcome) }
                    server.thaw()
                    for try await outcome in group { outcomes.append(outcome) }
                    return outcomes
                }
                let refused = outcomes.compactMap { if case .failure(let error) = $0 { error } else { nil } }
                #expect(refused.count == 20)
                #expect(refused.allSatisfy { $0.code == .overloaded && !$0.mayHaveRun })
                #expect(try await client.send("PING") == .status("PONG"))
            }
        }
    }

    @Test func aSilentServerIsLeft() async throws {
        try await TestServer.running { server in
            var configuration = server.tcp
            configuration.silenceTimeout = .milliseconds(200)
            try await withClient(configuration) { client async throws in
                _ = try await client.send("PING")
                server.freeze()
                let error = try await failure { try await client.send("PING") }
                #expect(error.code == .connectionLost)
                #expect("\(error)".contains("silent"))
                server.thaw()
                #expect(try await client.send("PING") == .status("PONG"))
            }
        }
    }

    @Test func anArrayWithoutBoundsEndsTheConnection() async throws {
        try await TestServer.running { server in
            var configuration = server.unix
            configuration.commandTimeout = .seconds(30)
            configuration.silenceTimeout = .seconds(30)
            try await withClient(configuration) { client async throws in
                let script: RedisBytes = "local t = {} for i = 1, tonumber(ARGV[1]) do t[i] = 1 end return t"
                #expect(try await client.send("EVAL", script, 0, 100_000).array?.count == 100_000)
                let error = try await failure { try await client.send("EVAL", script, 0, 1_048_577) }
                #expect(error.code == .connectionLost)
                #expect(try await client.send("PING") == .status("PONG"))
            }
        }
    }

    @Test func aServerThatLoadsItsDataIsTyped() async throws {
        try await TestServer.running { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("DEBUG", "POPULATE", 1000)
                _ = try await client.send("SAVE")
            }
            server.kill()
            // Each of the thousand keys now takes 2 ms to load.
            let slow = try TestServer(arguments: ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"])
            try FileManager.default.copyItem(
                at: server.directory.appendingPathComponent("dump.rdb"), to: slow.directory.appendingPathComponent("dump.rdb"))
            try slow.start()
            try await withClient(slow.unix) { client async throws in
                let error = try await failure { try await client.send("GET", "key:1") }
                #expect(error.code == .serverError)
                #expect(error.serverPrefix == "LOADING")
                #expect(!error.mayHaveRun)
            }
        }
    }

    @Test func endingTheClientAnswersEveryCaller() async throws {
        try await TestServer.running { server in
            var configuration = server.unix
            configuration.commandTimeout = .milliseconds(200)
            let client = RedisClient(configuration)
            let running = Task { await client.run() }
            _ = try await client.send("PING", deadline: .now + .seconds(20))
            server.freeze()
            let callers = (0..<50).map { _ in
                Task { try await failure { try await client.send("INCR", "n", deadline: .now + .seconds(20)) } }
            }
            try await waitUntil { client.pendingCommandCount >= 50 }
            try await allHandedOver(client)
            running.cancel()
            await running.value
            for caller in callers {
                let error = try await caller.value
                #expect(error.code == .connectionLost)
                #expect(error.mayHaveRun)
            }
            let after = try await failure { try await client.send("PING") }
            #expect(after.code == .closed)
            #expect(client.pendingCommandCount == 0)
        }
    }

    @Test func endingTheClientLetsRepliesComeIn() async throws {
        try await TestServer.running { server in
            let client = RedisClient(server.unix)
            let running = Task { await client.run() }
            _ = try await client.send("PING")
            server.freeze()
            let callers = (0..<50).map { index in Task { try await client.send("ECHO", RedisBytes(index)) } }
            try await waitUntil { client.pendingCommandCount >= 50 }
            try await allHandedOver(client)
            running.cancel()
            server.thaw()
            for (index, caller) in callers.enumerated() { #expect(try await caller.value.string == "\(index)") }
            await running.value
        }
    }

    @Test func commandsBeforeTheStartWait() async throws {
        try await TestServer.running { server in
            let client = RedisClient(server.unix)
            let early = try await failure { try await client.send("PING", deadline: .now + .milliseconds(30)) }
            #expect(early.code == .timedOut)
            #expect(!early.mayHaveRun)
            async let waiting = client.send("PING")
            try await waitUntil { client.pendingCommandCount >= 2 }
            let running = Task { await client.run() }
            #expect(try await waiting == .status("PONG"))
            running.cancel()
            await running.value
        }
    }

    @Test func aClientThatIsCancelledAtOnceEnds() async throws {
        let server = try TestServer()
        let client = RedisClient(server.unix)
        let running = Task { await client.run() }
        running.cancel()
        await running.value
        #expect(try await failure { try await client.send("PING") }.code == .closed)
    }
}
