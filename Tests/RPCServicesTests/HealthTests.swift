import CProtos
import RPC
import RPCServices
import Testing

/// The health service on a real server and channel. (Stock clients are tried in Tests/Python.)
@Suite(.timeLimit(.minutes(1))) struct HealthTests {
    /// A serialised HealthCheckRequest.
    private func request(_ service: String) -> [UInt8] { service.isEmpty ? [] : [0x0A, UInt8(service.utf8.count)] + Array(service.utf8) }

    private let serving: [UInt8] = [0x08, 1]
    private let notServing: [UInt8] = [0x08, 2]
    private let unknown: [UInt8] = [0x08, 3]

    private func withServer(_ health: Health, _ body: (Channel) async throws -> Void) async throws {
        let queue = CompletionQueue(name: "health")
        let server = try Server(Server.Configuration(address: "127.0.0.1:0"), services: [health.service], queue: queue)
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

    @Test func checkTellsTheStatusOfEachService() async throws {
        let health = Health(services: ["a.B"])
        try await withServer(health) { channel async throws in
            func check(_ service: String) async throws -> [UInt8] {
                try await channel.unary("/grpc.health.v1.Health/Check", request(service), options: CallOptions(timeout: .seconds(20)))
                    .message
            }
            #expect(try await check("") == notServing)
            health.set(.serving)
            #expect(try await check("") == serving)
            #expect(try await check("a.B") == serving)
            await #expect {
                try await check("no.Such")
            } throws: { ($0 as? RPCError)?.code == .notFound }
            health.drain()
            #expect(try await check("a.B") == notServing)
            health.set(.serving)
            #expect(try await check("a.B") == notServing, "what drains does not serve again")
        }
    }

    @Test func watchTellsEveryChangeAndEndsWithTheServer() async throws {
        let health = Health(services: ["a.B"])
        try await withServer(health) { channel async throws in
            try await channel.streaming("/grpc.health.v1.Health/Watch", options: CallOptions(timeout: .seconds(20))) {
                writer, responses async throws in
                try await writer.write(request("a.B"))
                writer.finish()
                var iterator = responses.makeAsyncIterator()
                #expect(try await iterator.next() == notServing)
                health.set(.serving)
                #expect(try await iterator.next() == serving)
                health.drain()
                #expect(try await iterator.next() == notServing)
                do {
                    _ = try await iterator.next()
                    Issue.record("the watch goes on")
                } catch {
                    #expect((error as? RPCError)?.code == .unavailable)
                }
            }
        }
    }

    @Test func watchingAServiceThatIsNotKnownStaysOpen() async throws {
        let health = Health(services: [])
        try await withServer(health) { channel async throws in
            try await channel.streaming("/grpc.health.v1.Health/Watch", options: CallOptions(timeout: .seconds(20))) {
                writer, responses async throws in
                try await writer.write(request("no.Such"))
                var iterator = responses.makeAsyncIterator()
                #expect(try await iterator.next() == unknown)
            }
        }
    }
}
