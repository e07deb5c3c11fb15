import RPC
import ServiceKit
import Testing

/// Long-lived streams are ended when nothing happens on them and when the process drains, and what was read from them is answered.
@Suite(.timeLimit(.minutes(1))) struct StreamRegistryTests {
    /// Serves an echo through a registry, and runs `body` with a channel to it.
    private func withServer(
        _ registry: StreamRegistry, respond: @escaping @Sendable ([UInt8]) async -> [UInt8] = { $0 }, _ body: (Channel) async throws -> Void
    ) async throws {
        let queue = CompletionQueue(name: "streams")
        let service = Service(
            "t.S",
            [
                .streaming("M") { requests, responses, _ in
                    try await registry.during(requests) { note in
                        try await answerSideBySide(
                            requests, responses, limit: 8,
                            decode: {
                                note(1)
                                return $0
                            }, lane: { _ in nil },
                            respond: {
                                defer { note(-1) }
                                return await respond($0)
                            })
                    }
                }
            ])
        let server = try Server(Server.Configuration(address: "127.0.0.1:0"), services: [service], queue: queue)
        let running = Task { await server.run() }
        let channel = try Channel("127.0.0.1:\(server.port)", queue: queue)
        let result: Result<Void, any Error>
        do { result = .success(try await body(channel)) } catch { result = .failure(error) }
        await channel.close()
        server.beginShutdown(grace: .seconds(5))
        await running.value
        await queue.shutdown()
        try result.get()
    }

    private func status(_ body: () async throws -> Void) async -> RPCError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? RPCError)?.code
        }
    }

    @Test func anIdleStreamIsEndedAndABusyOneIsNot() async throws {
        let registry = StreamRegistry(idleTimeout: .milliseconds(400))
        try await withServer(registry) { channel in
            let code = await status {
                try await channel.streaming("/t.S/M", options: CallOptions(timeout: .seconds(30))) { writer, responses in
                    // Busy for longer than the time-out.
                    for n in 0..<10 {
                        try await writer.write([UInt8(n)])
                        #expect(try await responses.next() == [UInt8(n)])
                        try await Task.sleep(for: .milliseconds(60))
                    }
                    while try await responses.next() != nil {}
                }
            }
            #expect(code == .unavailable)
        }
        #expect(registry.count == 0)
    }

    @Test func drainingAnswersWhatWasReadAndEndsTheStream() async throws {
        let registry = StreamRegistry()
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        let (over, end) = AsyncStream.makeStream(of: Void.self)
        try await withServer(
            registry,
            respond: { message in
                begin.yield()
                for await _ in over { break }
                return message
            }
        ) { channel in
            var answer: [UInt8]?
            let code = await status {
                try await channel.streaming("/t.S/M", options: CallOptions(timeout: .seconds(30))) { writer, responses in
                    try await writer.write([1])
                    for await _ in begun { break }
                    registry.drain()
                    end.yield()
                    answer = try await responses.next()
                    while try await responses.next() != nil {}
                }
            }
            #expect(answer == [1])
            #expect(code == .unavailable)
            // Whoever comes later is told at once.
            let late = await status {
                try await channel.streaming("/t.S/M", options: CallOptions(timeout: .seconds(30))) { _, responses in
                    while try await responses.next() != nil {}
                }
            }
            #expect(late == .unavailable)
        }
    }
}
