import Testing

@testable import RPC

@Suite(.timeLimit(.minutes(1))) struct ChannelTests {
    /// A server on a queue of its own that answers `Who` with a number.
    private struct Numbered {
        let queue = CompletionQueue(name: "test-numbered")
        let server: Server
        let running: Task<Void, Never>

        init(_ number: UInt8, port: Int = 0) throws {
            let who = RPC.Method.unary("Who") { _, _ in [number] }
            let server = try Server(
                Server.Configuration(address: "127.0.0.1:\(port)"), services: [Service("test.Test", [who])], queue: queue)
            self.server = server
            running = Task { await server.run() }
        }

        func stop(grace: Duration = .zero) async {
            server.beginShutdown(grace: grace)
            await running.value
            await queue.shutdown()
        }
    }

    private func withChannel(
        _ target: String, _ configure: (inout Channel.Configuration) -> Void = { _ in }, _ body: (Channel) async throws -> Void
    ) async throws {
        let queue = CompletionQueue(name: "test-channel")
        var configuration = Channel.Configuration()
        configure(&configuration)
        let channel = try Channel(target, configuration: configuration, queue: queue)
        do { try await body(channel) } catch {
            await channel.close()
            await queue.shutdown()
            throw error
        }
        await channel.close()
        await queue.shutdown()
    }

    private func who(_ channel: Channel, _ options: CallOptions = CallOptions(timeout: .seconds(20), waitForReady: true)) async throws
        -> UInt8?
    {
        try await channel.unary("/test.Test/Who", [], options: options).message.first
    }

    @Test func callsGoRoundAllAddresses() async throws {
        let servers = [try Numbered(1), try Numbered(2), try Numbered(3)]
        let target = "ipv4:" + servers.map { "127.0.0.1:\($0.server.port)" }.joined(separator: ",")
        try await withChannel(target) { channel in
            var counts: [UInt8: Int] = [:]
            // The first answers may come before all are connected.
            while counts.count < 3 { if let number = try await who(channel) { counts[number, default: 0] += 1 } }
            counts = [:]
            for _ in 0..<30 { if let number = try await who(channel) { counts[number, default: 0] += 1 } }
            #expect(counts == [1: 10, 2: 10, 3: 10])
            // One goes away: the others answer.
            await servers[0].stop(grace: .seconds(5))
            for _ in 0..<30 { #expect(try await who(channel).map { [2, 3].contains($0) } == true) }
        }
        for server in servers.dropFirst() { await server.stop() }
    }

    @Test func aNameIsResolved() async throws {
        let server = try Numbered(7)
        for target in ["localhost:\(server.server.port)", "dns:///localhost:\(server.server.port)"] {
            try await withChannel(target) { channel in
                let number = try await who(channel)
                #expect(number == 7)
            }
        }
        await server.stop()
    }

    @Test func aNameThatIsNotThere() async throws {
        try await withChannel("dns:///no-such-host.invalid:1") { channel in
            let error = await rpcError { try await channel.unary("/test.Test/Who", [], options: CallOptions(timeout: .seconds(20))) }
            #expect(error?.code == .unavailable)
        }
    }

    @Test func withoutWaitingACallFailsAtOnceAndWithItWaits() async throws {
        let first = try Numbered(1)
        let port = first.server.port
        await first.stop()
        try await withChannel(
            "127.0.0.1:\(port)",
            {
                $0.initialBackoff = .milliseconds(50); $0.maximumBackoff = .milliseconds(100)
            }
        ) { channel in
            let error = await rpcError { try await who(channel, CallOptions(timeout: .seconds(20))) }
            #expect(error?.code == .unavailable)
            let late = await rpcError { try await who(channel, CallOptions(timeout: .milliseconds(200), waitForReady: true)) }
            #expect(late?.code == .deadlineExceeded)
            async let waiting = who(channel)
            let second = try Numbered(2, port: port)
            let number = try await waiting
            #expect(number == 2)
            await second.stop()
        }
    }

    @Test func reconnectsAfterARestart() async throws {
        var server = try Numbered(1)
        let port = server.server.port
        try await withChannel(
            "127.0.0.1:\(port)",
            {
                $0.initialBackoff = .milliseconds(50); $0.maximumBackoff = .milliseconds(100)
            }
        ) { channel in
            for number in 2...4 {
                var answer: UInt8?
                while answer == nil {
                    // A call that is written to the broken connection before the channel has noticed is UNAVAILABLE.
                    do { answer = try await who(channel) } catch let error as RPCError where error.code == .unavailable {}
                }
                #expect(answer == UInt8(number - 1))
                await server.stop()
                server = try Numbered(UInt8(number), port: port)
            }
        }
        await server.stop()
    }

    @Test func retriesByServiceConfig() async throws {
        let attempts = Shared(0)
        let flaky = RPC.Method.unary("Flaky") { _, context in
            let attempt = attempts.update {
                $0 += 1
                return $0
            }
            if attempt < 3 { throw RPCError(.unavailable, "not yet") }
            return Array((context.metadata["grpc-previous-rpc-attempts"] ?? "").utf8)
        }
        let retry = RetryPolicy(maximumAttempts: 4, initialBackoff: .milliseconds(5))
        try await withPeers([flaky], channel: { $0.serviceConfig = retry.serviceConfig }) { channel, _ in
            let response = try await channel.unary("/test.Test/Flaky", [])
            #expect(response.message == Array("2".utf8))
            #expect(attempts.value == 3)
        }
        // Without a policy nothing is repeated.
        attempts.update { $0 = 0 }
        try await withPeers([flaky]) { channel, _ in
            let error = await rpcError { try await channel.unary("/test.Test/Flaky", []) }
            #expect(error?.code == .unavailable)
            #expect(attempts.value == 1)
        }
    }

    @Test func callsBeyondTheBoundOfAConnectionWait() async throws {
        let underWay = Shared((now: 0, most: 0))
        let method = RPC.Method.unary("Count") { request, _ in
            underWay.update {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            try await Task.sleep(for: .milliseconds(5))
            underWay.update { $0.now -= 1 }
            return request
        }
        try await withPeers([method], server: { $0.maximumCallsPerConnection = 4 }) { channel, _ in
            // The bound holds from the server's first settings frame on.
            _ = try await channel.unary("/test.Test/Count", [])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<40 { group.addTask { _ = try await channel.unary("/test.Test/Count", []) } }
                try await group.waitForAll()
            }
        }
        #expect(underWay.value.most <= 4)
    }

    /// Two servers, one of which goes away under load: with a retry policy no caller notices.
    @Test(arguments: 0..<5) func aRollingRestartUnderLoadIsNotNoticed(round: Int) async throws {
        let servers = [try Numbered(1), try Numbered(2)]
        let target = "ipv4:" + servers.map { "127.0.0.1:\($0.server.port)" }.joined(separator: ",")
        let retry = RetryPolicy(maximumAttempts: 5, initialBackoff: .milliseconds(5))
        try await withChannel(
            target,
            {
                $0.serviceConfig = retry.serviceConfig; $0.waitForReady = true
            }
        ) { channel in
            let seen = Shared<Set<UInt8>>([])
            let stopped = Shared(false)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<16 {
                    group.addTask(executorPreference: channel.queue) {
                        var after = 0
                        while after < 50 {
                            let number = try await channel.unary("/test.Test/Who", []).message[0]
                            seen.update { _ = $0.insert(number) }
                            if stopped.value { after += 1 }
                        }
                    }
                }
                while seen.value.count < 2 { await Task.yield() }
                await servers[0].stop(grace: .seconds(20))
                stopped.update { $0 = true }
                try await group.waitForAll()
            }
        }
        await servers[1].stop()
    }

    @Test func configurationThatIsNotLegal() async throws {
        let queue = CompletionQueue()
        let empty = await rpcError { try Channel("", queue: queue) }
        #expect(empty?.code == .invalidArgument)
        var configuration = Channel.Configuration()
        for config in ["nonsense", #"{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":"many"}}]}"#] {
            configuration.serviceConfig = config
            let error = await rpcError { try Channel("127.0.0.1:1", configuration: configuration, queue: queue) }
            #expect(error?.code == .invalidArgument)
        }
        for target in ["ipv4:not-an-address", "ipv4:127.0.0.1:99999"] {
            let error = await rpcError { try Channel(target, queue: queue) }
            #expect(error?.code == .invalidArgument, "\(target)")
        }
        #expect(queue.liveObjects == 0)
        await queue.shutdown()
    }
}
