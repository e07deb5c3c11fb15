import Conversation
import RPC
import ServiceKit
import Synchronization
import Testing

/// `answerSideBySide` on a real stream.
@Suite(.timeLimit(.minutes(1))) struct LanesTests {
    private final class Gauge: Sendable {
        private let state = Mutex((now: 0, most: 0))
        var most: Int { state.withLock { $0.most } }
        func enter() { state.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) } }
        func leave() { state.withLock { $0.now -= 1 } }
    }

    /// Serves a stream that answers each message with itself, by lanes of its first byte (0: no lane), and runs `body` as its client.
    private func withStream(
        limit: Int, maximumResponseBytes: Int = .max, respond: @escaping @Sendable ([UInt8]) async -> [UInt8],
        _ body: (RequestWriter, ResponseStream) async throws -> Void
    ) async throws {
        let queue = CompletionQueue(name: "lanes")
        let service = Service(
            "t.S",
            [
                .streaming("M") { requests, responses, _ in
                    try await answerSideBySide(
                        requests, responses, limit: limit, decode: { $0 }, lane: { $0[0] == 0 ? nil : "\($0[0])" }, respond: respond)
                }
            ])
        var configuration = Server.Configuration(address: "127.0.0.1:0")
        configuration.maximumResponseBytes = maximumResponseBytes
        let server = try Server(configuration, services: [service], queue: queue)
        let running = Task { await server.run() }
        let channel = try Channel("127.0.0.1:\(server.port)", queue: queue)
        let result: Result<Void, any Error>
        do {
            result = .success(try await channel.streaming("/t.S/M", options: CallOptions(timeout: .seconds(30)), body))
        } catch {
            result = .failure(error)
        }
        await channel.close()
        server.beginShutdown(grace: .seconds(5))
        await running.value
        await queue.shutdown()
        try result.get()
    }

    private func send(_ messages: [[UInt8]], _ writer: RequestWriter, _ responses: ResponseStream) async throws -> [[UInt8]] {
        async let sending: Void = {
            for message in messages { try await writer.write(message) }
            writer.finish()
        }()
        var answers: [[UInt8]] = []
        for try await answer in responses { answers.append(answer) }
        try await sending
        return answers
    }

    @Test func aLaneKeepsItsOrderAndLanesDoNotWaitForEachOther() async throws {
        let gauge = Gauge()
        try await withStream(limit: 16) { message in
            gauge.enter()
            defer { gauge.leave() }
            // Lane 1 waits until lane 2 has begun: it would hang if lanes waited for each other.
            if message == [1, 0] { while gauge.most < 2 { await Task.yield() } }
            return message
        } _: { writer, responses async throws in
            let messages: [[UInt8]] = (0..<10).flatMap { number in [[1, UInt8(number)], [2, UInt8(number)]] }
            let answers = try await send(messages, writer, responses)
            #expect(answers.count == 20)
            for lane in UInt8(1)...2 { #expect(answers.filter { $0[0] == lane }.map { $0[1] } == Array(0..<10)) }
        }
    }

    @Test func noMoreThanTheLimitAreUnderWay() async throws {
        let gauge = Gauge()
        try await withStream(limit: 4) { message in
            gauge.enter()
            await Task.yield()
            gauge.leave()
            return message
        } _: { writer, responses async throws in
            let answers = try await send((0..<200).map { [0, UInt8($0)] }, writer, responses)
            #expect(Set(answers.map { $0[1] }).count == 200)
        }
        #expect(gauge.most <= 4 && gauge.most >= 1)
    }

    @Test func anAnswerThatCannotBeWrittenEndsTheStream() async throws {
        // More messages than places: the reader waits for one when the write fails.
        await #expect(throws: RPCError.self) {
            try await withStream(limit: 1, maximumResponseBytes: 10) { message in
                [UInt8](repeating: 0, count: message.count + 10)
            } _: { writer, responses async throws in
                for number in UInt8(1)...3 { try await writer.write([number]) }
                do throws(RPCError) {
                    while try await responses.next() != nil {}
                } catch {
                    #expect(error.code == .resourceExhausted)
                    throw error
                }
            }
        }
    }

    @Test func aClientThatLeavesEndsTheWork() async throws {
        let (began, beginning) = AsyncStream.makeStream(of: Void.self)
        let (ended, ending) = AsyncStream.makeStream(of: Void.self)
        try await withStream(limit: 2) { message in
            beginning.finish()
            do { try await Task.sleep(for: .seconds(600)) } catch { ending.finish() }
            return message
        } _: { writer, _ async throws in
            try await writer.write([1, 1])
            // A message that the server has not read when its client leaves is never begun.
            for await _ in began {}
        }
        // Without cancellation this is not reached within the time limit.
        for await _ in ended {}
    }
}

@Suite struct ErrorMappingTests {
    @Test func aTimeToTryAgainGoesIntoTheMetadata() {
        let error = RPCError(ConversationError(.resourceExhausted, "full", retryAfter: .milliseconds(1250)))
        #expect(error.code == .resourceExhausted && error.message == "full")
        #expect(error.metadata["grpc-retry-pushback-ms"] == "1250")
    }

    @Test(arguments: [
        ConversationError.Code.invalidArgument, .notFound, .aborted, .resourceExhausted, .deadlineExceeded, .unavailable, .cancelled,
        .internalError,
    ])
    func everyCodeComesBack(_ code: ConversationError.Code) {
        let error = RPCError(ConversationError(code, "x"))
        #expect(error.code.description == code.description)
        #expect(ConversationError(error, from: "there").code == code)
    }

    @Test func codesThatTheContractsDoNotNameAreInternal() {
        #expect(ConversationError(RPCError(.dataLoss, "x"), from: "there").code == .internalError)
    }
}
