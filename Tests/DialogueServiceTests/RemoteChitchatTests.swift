import Dialogue
import DialogueService
import Foundation
import Logging
import RPC
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct RemoteChitchatTests {
    private let filter: SmallTalkFilter

    init() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        filter = try Domain.load(directory: root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false)).smallTalk
    }

    /// A PredictResponse with one output of one string, by hand: no code of ours writes one.
    private static func response(_ reply: String) -> [UInt8] {
        func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
            precondition(bytes.count < 128, "one byte of length is written")
            return [number << 3 | 2, UInt8(bytes.count)] + bytes
        }
        let tensor: [UInt8] = [0x08, 0x07] + field(2, field(2, [0x08, 0x01])) + field(8, Array(reply.utf8))
        return field(1, field(1, Array("reply".utf8)) + field(2, tensor))
    }

    private func withModel<R: Sendable>(
        _ configure: (inout RemoteChitchat.Configuration) -> Void = { _ in }, _ answer: @escaping @Sendable () async throws -> String,
        _ body: (RemoteChitchat) async throws -> R
    ) async throws -> R {
        var configuration = RemoteChitchat.Configuration()
        configuration.budget = .seconds(20)
        configure(&configuration)
        return try await withPeer("tensorflow.serving.PredictionService", "Predict") { _ in
            Self.response(try await answer())
        } _: { channel in
            try await body(
                RemoteChitchat(
                    channel: channel, filter: { [filter] in filter }, configuration: configuration,
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        }
    }

    @Test func theModelAnswers() async throws {
        let said = try await withModel({ _ in }) {
            "您好呀"
        } _: {
            await $0.answer("你好", recent: ["在吗", "在的"], deadline: nil)
        }
        #expect(said == "您好呀")
    }

    @Test func theVersionsThatCanBeAskedAreTold() async throws {
        let versions = try await withPeer("tensorflow.serving.ModelService", "GetModelStatus") { _ in
            // Of the official stubs: version 3 has ended, version 4 is available.
            [0x0A, 0x04, 0x08, 0x03, 0x10, 0x32, 0x0A, 0x04, 0x08, 0x04, 0x10, 0x1E]
        } _: { channel in
            let chitchat = RemoteChitchat(
                channel: channel, filter: { [filter] in filter }, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            return try await chitchat.availableVersions(timeout: .seconds(10))
        }
        #expect(versions == [4])
    }

    @Test(arguments: ["", "您的订单明天到", "赔您100元", "单号2024111100"])
    func whatMayNotBeSaidIsNot(_ reply: String) async throws {
        let said = try await withModel({ _ in }) {
            reply
        } _: {
            await $0.answer("你好", recent: [], deadline: nil)
        }
        #expect(said == nil)
    }

    @Test func theBudgetAndTheDeadlineBoundAnAnswer() async throws {
        for (budget, deadline) in [(Duration.milliseconds(100), Duration?.none), (.seconds(30), .milliseconds(100))] {
            let seconds = try await withModel({ $0.budget = budget }) {
                try await Task.sleep(for: .seconds(60))
                return ""
            } _: { chitchat in
                let began = ContinuousClock.now
                #expect(await chitchat.answer("你好", recent: [], deadline: deadline.map { began + $0 }) == nil)
                return ContinuousClock.now - began
            }
            #expect(seconds < .seconds(5))
        }
    }

    @Test func aServerThatFailsIsLeftAlone() async throws {
        let asked = Mutex(0)
        try await withModel({
            $0.breaker.failures = 3
            $0.breaker.pause = .seconds(600)
        }) {
            asked.withLock { $0 += 1 }
            throw RPCError(.unavailable, "not now")
        } _: { chitchat in
            for _ in 0..<10 { #expect(await chitchat.answer("你好", recent: [], deadline: nil) == nil) }
        }
        #expect(asked.withLock { $0 } == 3)
    }

    @Test func soManyCallsAndNoMore() async throws {
        let (arrivals, arrived) = AsyncStream.makeStream(of: Void.self)
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        let answers = try await withModel({ $0.concurrency = 2 }) {
            arrived.yield()
            for await _ in gate {}
            return "您好呀"
        } _: { chitchat in
            await withTaskGroup(of: String?.self) { group in
                for _ in 0..<2 { group.addTask { await chitchat.answer("你好", recent: [], deadline: nil) } }
                var arrival = arrivals.makeAsyncIterator()
                for _ in 0..<2 { _ = await arrival.next() }
                // Both places are taken: the third does not wait.
                let third = await chitchat.answer("你好", recent: [], deadline: nil)
                open.finish()
                return await group.reduce(into: [third]) { $0.append($1) }
            }
        }
        #expect(answers == [nil, "您好呀", "您好呀"])
    }
}
