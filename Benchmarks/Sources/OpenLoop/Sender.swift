import ArgumentParser
import AsyncHTTPClient
import Conversation
import Foundation
import NIOCore
import NIOHTTP1
import RPC
import Wire

/// Sends one utterance and waits for its answer.
protocol Sender: Sendable {
    /// Where the tasks of the run are to run; nil: the global pool.
    var executor: (any TaskExecutor)? { get }
    /// Returns nil where the utterance was recognised, else the name of what went wrong.
    func send(_ text: String, _ priority: Priority) async -> String?
    func close() async
}

/// Which sender speaks to a target.
enum Senders {
    static func make(target: String, model: String, timeout: Duration) throws -> any Sender {
        if target.hasPrefix("kefu:") { return try KefuSender(String(target.dropFirst(5)), model: model, timeout: timeout) }
        if target.hasPrefix("http://") { return HTTPSender(url: target, timeout: timeout) }
        throw ValidationError("--target is '\(target)'; kefu:HOST:PORT or http://HOST:PORT/PATH is expected")
    }
}

/// `kefu.understanding.v1` over gRPC.
struct KefuSender: Sender {
    private let queue = CompletionQueue(name: "generator")
    private let channel: RPC.Channel
    private let model: ModelSelector?
    private let timeout: Duration

    init(_ address: String, model: String, timeout: Duration) throws {
        channel = try RPC.Channel(address, queue: queue)
        self.model = model.isEmpty ? nil : try ModelSelector(model)
        self.timeout = timeout
    }

    var executor: (any TaskExecutor)? { queue }

    func send(_ text: String, _ priority: Priority) async -> String? {
        do {
            let request = RecognitionRequest(utterance: try Utterance(text), priority: priority, model: model, topK: 1, requestID: "")
            let response = try await channel.unary(
                "/kefu.understanding.v1.Understanding/Understand", UnderstandingCodec.understandRequest(request),
                options: CallOptions(timeout: timeout))
            guard case .recognition = try UnderstandingCodec.understandResponse(decoding: response.message) else { return "failure" }
            return nil
        } catch let error as RPCError {
            return "\(error.code)"
        } catch {
            return "\(error)"
        }
    }

    func close() async {
        await channel.close()
        await queue.shutdown()
    }
}

/// JSON over HTTP/1.1, with as many connections as there are requests under way.
struct HTTPSender: Sender {
    let url: String
    let timeout: Duration
    private let client: HTTPClient

    init(url: String, timeout: Duration) {
        self.url = url
        self.timeout = timeout
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 4096
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    var executor: (any TaskExecutor)? { nil }

    func send(_ text: String, _ priority: Priority) async -> String? {
        do {
            var request = HTTPClientRequest(url: url)
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: try JSONEncoder().encode(["text": text])))
            let response = try await client.execute(request, timeout: TimeAmount(timeout))
            _ = try await response.body.collect(upTo: 1 << 20)
            return response.status == .ok ? nil : "HTTP \(response.status.code)"
        } catch let error as HTTPClientError where error == .deadlineExceeded {
            return "DEADLINE_EXCEEDED"
        } catch {
            return "\(error)"
        }
    }

    func close() async { try? await client.shutdown() }
}
