import RPC
import Testing

@Suite(.timeLimit(.minutes(1))) struct UnaryTests {
    @Test func answers() async throws {
        let response = try await withPeers([echo]) { channel, _ in try await channel.unary("/test.Test/Echo", Array("你好".utf8)) }
        #expect(response.message == Array("你好".utf8))
    }

    @Test func emptyAndLargeMessages() async throws {
        try await withPeers([echo]) { channel, _ in
            let empty = try await channel.unary("/test.Test/Echo", [])
            #expect(empty.message == [])
            let large = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let response = try await channel.unary("/test.Test/Echo", large)
            #expect(response.message == large)
        }
    }

    @Test func overUnixSocket() async throws {
        let path = temporarySocketPath()
        try await withPeers([echo], server: { $0.address = "unix:\(path)" }, target: { _ in "unix:\(path)" }) { channel, server in
            #expect(server.port == 0)
            let response = try await channel.unary("/test.Test/Echo", [1, 2, 3])
            #expect(response.message == [1, 2, 3])
        }
    }

    @Test func oneQueueServesBothSides() async throws {
        let queue = CompletionQueue()
        let server = try Server(Server.Configuration(), services: [Service("test.Test", [echo])], queue: queue)
        let channel = try Channel("127.0.0.1:\(server.port)", queue: queue)
        async let running: Void = server.run()
        for count in 0..<100 {
            let response = try await channel.unary("/test.Test/Echo", [UInt8(count)])
            #expect(response.message == [UInt8(count)])
        }
        await channel.close()
        server.beginShutdown(grace: .seconds(1))
        await running
        await queue.shutdown()
    }

    @Test func manyAtOnce() async throws {
        let total = try await withPeers([echo]) { channel, _ in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for task in 0..<64 {
                    group.addTask(executorPreference: task.isMultiple(of: 2) ? channel.queue : nil) {
                        var sum = 0
                        for call in 0..<50 {
                            let request = [UInt8(task), UInt8(call)]
                            let response = try await channel.unary("/test.Test/Echo", request)
                            #expect(response.message == request)
                            sum += 1
                        }
                        return sum
                    }
                }
                return try await group.reduce(0, +)
            }
        }
        #expect(total == 3200)
    }

    @Test func unknownMethodIsUnimplementedAtOnce() async throws {
        try await withPeers([echo]) { channel, _ in
            for path in ["/test.Test/Nothing", "/other.Service/Echo", "/x"] {
                let error = await rpcError { try await channel.unary(path, [], options: CallOptions(timeout: .seconds(5))) }
                #expect(error?.code == .unimplemented)
                #expect(error?.message.contains(path) == true)
            }
        }
    }
}
