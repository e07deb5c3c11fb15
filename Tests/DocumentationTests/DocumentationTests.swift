import Batching
import CProtos
import Conversation
import Dialogue
import DialogueService
import Foundation
import Logging
import ProtobufC
import RPC
import RPCServices
import Redis
import RedisTestSupport
import ServiceKit
import Testing
import Tokenization
import Torch
import Understanding
import UnderstandingService
import Wire

private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// The example of each library's page, as it stands there: `.ci/docs` holds the two to each other.
@Suite(.timeLimit(.minutes(2))) struct DocumentationTests {
    @Test func torch() async throws {
        let path = root.appending(path: "Tests/TorchTests/Resources/bert-gru-scripted.pt").path(percentEncoded: false)
        // Two threads a pass, set once, before the first model.
        try TorchRuntime.setIntraOpThreads(1)
        let model = try await ModelInstance.load(path: path, name: "torch-0")
        // A shape's first pass is the slowest: let nobody wait for it.
        try await model.warm([BatchShape(rows: 1, length: 8)])
        let outputs = try await model.forward(inputIDs: [2, 5, 3, 0], attentionMask: [1, 1, 1, 0], rows: 1, length: 4)
        let intents = outputs[0].values  // [1, number of intents], row by row
        await model.unload()
        #expect(!intents.isEmpty)
    }

    @Test func rpc() async throws {
        let queue = CompletionQueue(name: "greeter")
        let greet = Method.unary("Greet") { request, context in
            // Throw an RPCError to answer with another status than OK.
            guard request.count <= 128 else { throw RPCError(.invalidArgument, "a name has at most 128 bytes") }
            return Array("你好，".utf8) + request
        }
        let server = try Server(Server.Configuration(address: "127.0.0.1:0"), services: [Service("demo.Greeter", [greet])], queue: queue)
        async let serving: Void = server.run()

        let channel = try Channel("127.0.0.1:\(server.port)", queue: queue)
        let options = CallOptions(timeout: .seconds(5))
        let answer = try await channel.unary("/demo.Greeter/Greet", Array("Kefu".utf8), options: options)

        await channel.close()
        server.beginShutdown(grace: .seconds(1))
        await serving
        await queue.shutdown()
        #expect(answer.message == Array("你好，Kefu".utf8))
    }

    @Test func rpcServices() throws {
        let health = Health(services: ["demo.Greeter"])
        let reflection = try Reflection(services: ["kefu.dialogue.v1.Dialogue", "grpc.health.v1.Health"])
        let services = [health.service] + reflection.services  // give them to an RPC.Server beside your own

        // When models are warm, the store is reached, …
        health.set(.serving)
        // On SIGTERM: watchers hear NOT_SERVING, and nothing sets it back.
        health.drain()

        let trace = TraceContext(traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        let isSampled = trace?.isSampled ?? false
        #expect(isSampled && services.count == 3 && health.status(of: "demo.Greeter") == .notServing)
    }

    @Test func redis() async throws {
        try await TestServer.running { server in
            try await Self.redisExample(server.unix)
        }
    }

    private static func redisExample(_ configuration: RedisClient.Configuration) async throws {
        let client = RedisClient(configuration)  // or try .init(url: "redis+sentinel://h1,h2,h3/orders")
        let running = Task { await client.run() }

        _ = try await client.send("SET", "greeting", "你好")
        let greeting = try await client.send("GET", "greeting").string

        // Sent by its digest, and in full where the server does not know it.
        let script = RedisScript("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        let count = try await client.evaluate(script, keys: ["visits"], arguments: [3]).integer
        running.cancel()
        #expect(greeting == "你好" && count == 3)
    }

    @Test func protobufC() {
        let bytes = packed(
            grpc__health__v1__health_check_request__init, size: grpc__health__v1__health_check_request__get_packed_size,
            pack: grpc__health__v1__health_check_request__pack
        ) { message, arena in
            message.service = arena.text("demo.Greeter")
        }
        let service = withUnpacked(
            bytes, unpack: grpc__health__v1__health_check_request__unpack, free: grpc__health__v1__health_check_request__free_unpacked
        ) { message in
            message.service.len
        }
        #expect(service == 12)
    }

    @Test func conversation() throws {
        let uid = try UserID("customer-1")
        let query = try Utterance("我要退款")
        var session = Session(uid: uid, id: "s1", startedAt: Timestamp(milliseconds: 0), timeToLive: .seconds(3600))
        session.slots["order_id"] = SlotValue(name: "order_id", value: "２０２４１１１１０００１", normalized: "202411110001")

        // Which messages were answered, so that none is answered twice.
        let isNew = session.answered.state(of: 1) == .new
        let position = session.answered.insert(1)
        #expect(isNew && position == 0 && session.uid == uid && query.text == "我要退款")
    }

    @Test func wire() throws {
        let message = Message(uid: try UserID("u1"), query: try Utterance("我要改地址"), seq: 1)
        let bytes = DialogueCodec.replyRequest(message)

        // A server reads what it can, so that it can say on a stream whose message was wrong.
        let incoming = DialogueCodec.replyRequest(decoding: bytes)
        let received = try incoming.message.get()
        #expect(received == message)
    }

    @Test func tokenization() throws {
        let vocabulary = try Vocabulary(pieces: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "退", "款", "iphone", "##1", "##5"])
        let tokenizer = Tokenizer(vocabulary: vocabulary, options: Tokenizer.Options(fullWidthToHalfWidth: true))
        let encoding = tokenizer.encode("退款 ｉＰｈｏｎｅ１５", maximumLength: 16)
        // encoding.ids == [2, 4, 5, 6, 7, 8, 3]
        // encoding.ranges[3] == 3..<9: ｉＰｈｏｎｅ in the text as it was sent
        #expect(encoding.ids == [2, 4, 5, 6, 7, 8, 3] && encoding.ranges[3] == 3..<9)
    }

    @Test func batching() async throws {
        let limits = BatchQueue.Limits(batchSize: 8)
        let batcher = Batcher<ContinuousClock, String, Int>(workers: 1, limits: limits, clock: ContinuousClock()) { worker, texts, length in
            texts.map(\.count)  // one output an input, in the same order
        }
        let answer = try await batcher.submit("我要退款", length: 4, priority: .interactive, deadline: .now + .seconds(30))
        // answer.output == 4; answer.queue and answer.compute say where the time went
        await batcher.drain()
        #expect(answer.output == 4)
    }

    @Test func understanding() async throws {
        let directory = root.appending(path: "Deploy/models/ecommerce-light").path(percentEncoded: false)
        let versions = try FileManager.default.contentsOfDirectory(atPath: directory)
        try await Self.understandingExample(directory: directory + "/" + (versions.first { !$0.hasPrefix(".") } ?? ""))
    }

    private static func understandingExample(directory: String) async throws {
        struct Uniform: ForwardPass {
            let intents: Int
            let labels: Int
            func forward(_ batch: TokenBatch) async throws -> Logits {
                let slots = batch.rows * batch.length * labels
                return Logits(intent: [Float](repeating: 0, count: batch.rows * intents), slots: [Float](repeating: 0, count: slots))
            }
        }

        let bundle = try ModelBundle(directory: directory)
        let model = Uniform(intents: bundle.manifest.intents.count, labels: bundle.manifest.slotLabels.names.count)
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        let recognition = try await engine.recognize(try Utterance("我要退款"), topK: 2, deadline: .now + .seconds(30))
        await engine.drain()
        #expect(recognition.intents.count == 2)
    }

    @Test func dialogue() throws {
        let directory = root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false)
        let domain = try Domain.load(directory: directory)
        let now = Timestamp(milliseconds: 1_795_344_000_000)
        let session = domain.newSession(uid: try UserID("u1"), id: "s1", now: now)
        let recognition = Recognition(intents: [Intent(name: "address_change", confidence: 0.98)], slots: [], model: "ecommerce@3")
        let decision = domain.decide(session, query: try Utterance("我要改地址"), seq: 1, recognition: recognition, now: now)
        // decision.text asks for the order's number; decision.session waits for it.
        #expect(decision.session.awaiting == .slot("order_id") && decision.text.contains("订单号"))
    }

    @Test func serviceKit() async throws {
        let settings = try await Settings(flags: ["listen": "127.0.0.1:0"], file: nil, environment: ["KEFU_GRACE_MS": "2000"])
        let grace = try settings.milliseconds("grace-ms", default: .seconds(10))

        let registry = MetricsRegistry()
        let turns = registry.counters("demo_turns_total", "Turns that were answered.", labels: ["source"])
        turns("template").increment()

        let queue = CompletionQueue(name: "demo")
        let reply = Method.unary("Reply") { request, _ in request }
        let listen = settings.string("listen", default: "127.0.0.1:50052")
        let service = Service("kefu.dialogue.v1.Dialogue", [reply])
        let server = try StandardServer(listen: listen, services: [service], queue: queue, grace: grace)
        server.health.set(.serving)
        // try await Program.run([server], grace: grace, logger: logger) serves until SIGTERM, and drains.
        #expect(grace == .seconds(2) && server.port > 0 && registry.text().contains("demo_turns_total{source=\"template\"} 1"))
    }

    /// Compiled only: it reads the shipped models.
    func understandingService(logger: Logger) async throws -> (Recognition, RPC.Service) {
        let registry = MetricsRegistry()
        let metrics = UnderstandingMetrics(registry: registry)
        let host = try ModelHost(
            directory: "Deploy/models", configuration: ModelHost.Configuration(),
            loader: .torch(TorchOptions(threads: 1), engine: RecognitionEngine.Configuration(), observe: metrics.observer), logger: logger)
        metrics.watch(host, in: registry)
        try await host.load()
        let recognition = try await host.recognize(RecognitionRequest(utterance: try Utterance("我要退款")))
        let service = UnderstandingEndpoint(host: host, metrics: metrics).service  // for a ServiceKit.StandardServer
        return (recognition, service)
    }

    @Test func dialogueService() throws {
        let directory = root.appending(path: "Deploy/domains/ecommerce").path(percentEncoded: false)
        let logger = Logger(label: "documentation")
        let understanding = try Channel("127.0.0.1:1", queue: CompletionQueue(name: "documentation"))
        let domains = DomainCatalog(try Domain.load(directory: directory))
        let taker = TurnTaker(
            domains: domains, store: MemoryStore(now: { Program.now() }), recognizer: RemoteRecognizer(channel: understanding),
            environment: TurnEnvironment(now: { Program.now() }, newSessionID: { Program.newID() }))
        let observer = TurnObserver(metrics: DialogueMetrics(registry: MetricsRegistry()))
        let turns = ObservedTurns(taker, observer: observer, domains: domains, logger: logger)
        let service = DialogueEndpoint(turns: turns).service  // for a ServiceKit.StandardServer
        #expect(service.name == "kefu.dialogue.v1.Dialogue")
    }
}
