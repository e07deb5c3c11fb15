import RPC
import Testing

@Suite(.timeLimit(.minutes(1))) struct ShutdownTests {
    /// Callers that never pause, and a server that shuts down in the middle: whatever the handler began is answered, and whatever is not
    /// answered was not begun and says UNAVAILABLE.
    @Test(arguments: 0..<10) func noAcceptedCallIsLostUnderLoad(round: Int) async throws {
        let handled = Shared(0)
        let enough = Event()
        let count = Method.unary("Count") { request, _ in
            let number = handled.update {
                $0 += 1
                return $0
            }
            if number == 500 { enough.happen() }
            await Task.yield()
            return request
        }
        let outcomes = Shared<[String: Int]>([:])
        try await withPeers([count]) { channel, server in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for caller in 0..<32 {
                    group.addTask(executorPreference: caller.isMultiple(of: 2) ? channel.queue : nil) {
                        while true {
                            do {
                                _ = try await channel.unary("/test.Test/Count", [1])
                                outcomes.update { $0["OK", default: 0] += 1 }
                            } catch let error as RPCError {
                                outcomes.update { $0["\(error.code)", default: 0] += 1 }
                                return
                            }
                        }
                    }
                }
                #expect(await enough.wait())
                server.beginShutdown(grace: .seconds(20))
                try await group.waitForAll()
            }
        }
        #expect(outcomes.value == ["OK": handled.value, "UNAVAILABLE": 32])
    }

    @Test func callsUnderWayFinish() async throws {
        let began = Event()
        let proceed = Event()
        let slow = Method.unary("Slow") { request, _ in
            began.happen()
            #expect(await proceed.wait())
            return request
        }
        try await withPeers([slow]) { channel, server in
            async let response = channel.unary("/test.Test/Slow", [9])
            #expect(await began.wait())
            server.beginShutdown(grace: .seconds(30))
            let error = await rpcError { try await channel.unary("/test.Test/Slow", []) }
            #expect(error?.code == .unavailable)
            proceed.happen()
            let message = try await response.message
            #expect(message == [9])
        }
    }

    @Test func whatIsLeftAfterGraceIsCancelled() async throws {
        let began = Event()
        let cancelled = Event()
        let endless = Method.unary("Endless") { request, _ in
            began.happen()
            do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.happen() }
            return request
        }
        try await withPeers([endless]) { channel, server in
            async let error = rpcError { try await channel.unary("/test.Test/Endless", [9]) }
            #expect(await began.wait())
            server.beginShutdown(grace: .milliseconds(50))
            #expect(await cancelled.wait())
            #expect(await error?.code == .unavailable)
        }
    }

    @Test func cancellingRunShutsDown() async throws {
        let queue = CompletionQueue()
        var configuration = Server.Configuration()
        configuration.shutdownGrace = .seconds(1)
        let server = try Server(configuration, services: [Service("test.Test", [echo])], queue: queue)
        let channel = try Channel("127.0.0.1:\(server.port)", queue: queue)
        let running = Task { await server.run() }
        _ = try await channel.unary("/test.Test/Echo", [1])
        running.cancel()
        await running.value
        let error = await rpcError { try await channel.unary("/test.Test/Echo", [1]) }
        #expect(error?.code == .unavailable)
        await channel.close()
        await queue.shutdown()
    }

    @Test func serverThatNeverRanGivesItsPortBack() async throws {
        let queue = CompletionQueue()
        let port: Int
        do {
            let server = try Server(Server.Configuration(), services: [], queue: queue)
            port = server.port
            server.beginShutdown(grace: .zero)
            await server.run()
        }
        _ = try Server(Server.Configuration(address: "127.0.0.1:\(port)"), services: [], queue: queue)
        await queue.shutdown()
    }

    @Test func addressInUse() async throws {
        let queue = CompletionQueue()
        let server = try Server(Server.Configuration(), services: [], queue: queue)
        let error = await rpcError { try Server(Server.Configuration(address: "127.0.0.1:\(server.port)"), services: [], queue: queue) }
        #expect(error?.code == .unavailable)
        #expect(error?.message == "cannot listen on 127.0.0.1:\(server.port): Address already in use")
        let path = temporarySocketPath()
        let onSocket = try Server(Server.Configuration(address: "unix:\(path)"), services: [], queue: queue)
        let refused = await rpcError { try Server(Server.Configuration(address: "unix:\(path)"), services: [], queue: queue) }
        #expect(refused?.message.contains("another process is listening there") == true)
        for address in ["", "256.1.1.1:80", "127.0.0.1:99999", "unix:/no/such/folder/socket"] {
            let error = await rpcError { try Server(Server.Configuration(address: address), services: [], queue: queue) }
            #expect(error?.message.contains("cannot listen on \(address)") == true)
        }
        let twice = await rpcError {
            try Server(Server.Configuration(), services: [Service("test.Test", [echo, echo])], queue: queue)
        }
        #expect(twice?.code == .invalidArgument)
        for each in [server, onSocket] {
            each.beginShutdown(grace: .zero)
            await each.run()
        }
        await queue.shutdown()
    }

    @Test func closingAChannelCancelsItsCalls() async throws {
        let began = Event()
        let cancelled = Event()
        let endless = Method.unary("Endless") { request, _ in
            began.happen()
            do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.happen() }
            return request
        }
        try await withPeers([endless]) { channel, _ in
            async let error = rpcError { try await channel.unary("/test.Test/Endless", [9]) }
            #expect(await began.wait())
            await channel.close()
            #expect(await error?.code == .cancelled)
            #expect(await cancelled.wait())
            let late = await rpcError { try await channel.unary("/test.Test/Endless", []) }
            #expect(late?.code == .cancelled)
        }
    }
}
