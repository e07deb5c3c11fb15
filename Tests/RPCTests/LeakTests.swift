import Testing

@testable import RPC

@Suite(.timeLimit(.minutes(1))) struct LeakTests {
    /// After thousands of calls of every kind of end, each call that the core had was given back.
    @Test func everyObjectOfTheCoreIsGivenBack() async throws {
        let fail = RPC.Method.unary("Fail") { _, _ in throw RPCError(.aborted, "always") }
        let endless = RPC.Method.streaming("Endless") { requests, responses, _ in
            for try await request in requests { try await responses.write(request) }
        }
        let serverQueue = CompletionQueue()
        let queue = CompletionQueue()
        let server = try Server(Server.Configuration(), services: [Service("test.Test", [echo, fail, endless])], queue: serverQueue)
        let running = Task { await server.run() }
        let channel = try Channel("127.0.0.1:\(server.port)", queue: queue)
        _ = try await channel.unary("/test.Test/Echo", [])
        // The accepts that stay armed, and the server itself.
        let armed = 3 * ServerCore.acceptsPerMethod + ServerCore.acceptsOfUnknownMethods + 1
        await withTaskGroup(of: Void.self) { group in
            for caller in 0..<16 {
                group.addTask(executorPreference: queue) {
                    for number in 0..<250 {
                        switch (caller + number) % 5 {
                        case 0: _ = try? await channel.unary("/test.Test/Fail", [1])
                        case 1: _ = try? await channel.unary("/test.Test/Nothing", [1])
                        case 2: _ = try? await channel.unary("/test.Test/Echo", [1], options: CallOptions(timeout: .microseconds(number)))
                        case 3:
                            try? await channel.streaming("/test.Test/Endless") { requests, responses in
                                try await requests.write([1])
                                if number.isMultiple(of: 2) { _ = try await responses.next() }
                            }
                        default: _ = try? await channel.unary("/test.Test/Echo", [1])
                        }
                    }
                }
            }
        }
        #expect(queue.liveObjects == 1, "the channel")
        // The last calls may still be ending on the server's side.
        while serverQueue.liveObjects > armed { try await Task.sleep(for: .milliseconds(5)) }
        #expect(serverQueue.liveObjects == armed)
        await channel.close()
        #expect(queue.liveObjects == 0)
        server.beginShutdown(grace: .zero)
        await running.value
        // Whoever let go of the last one may still be at it. (A leak ends in the time limit.)
        while serverQueue.liveObjects > 0 { try await Task.sleep(for: .milliseconds(5)) }
        await queue.shutdown()
        await serverQueue.shutdown()
    }

    @Test func aChannelThatIsOnlyDroppedIsGivenBack() async throws {
        let queue = CompletionQueue()
        do { _ = try Channel("127.0.0.1:1", queue: queue) }
        #expect(queue.liveObjects == 0)
        do { _ = try Server(Server.Configuration(), services: [], queue: queue) }
        // Waits for the server, which is gone when the core says so.
        await queue.shutdown()
        #expect(queue.liveObjects == 0)
        // Again is harmless.
        await queue.shutdown()
    }

    /// Tasks that prefer a queue go on when it is gone.
    @Test func tasksOutliveTheirQueue() async throws {
        let queue = CompletionQueue()
        let answer = await Task(executorPreference: queue) {
            #expect(queue.isCurrent)
            await queue.shutdown()
            await Task.yield()
            #expect(!queue.isCurrent)
            return 42
        }.value
        #expect(answer == 42)
    }
}
