import Conversation
public import RPC
public import RPCServices
public import ServiceKit
import Wire

/// KServe's Open Inference Protocol v2, `inference.GRPCInferenceService`, over the models of a host.
public struct InferenceEndpoint: Sendable {
    /// The full name of the service.
    public static let name = "inference.GRPCInferenceService"

    private let host: ModelHost
    private let health: Health
    private let metrics: UnderstandingMetrics
    private let tracer: Tracer?
    /// The most utterances of one request.
    private let rowLimit: Int
    /// How long a request may take where the client sets no deadline, and at the most where it does.
    private let timeout: Duration

    /// An endpoint over the models of a host.
    ///
    /// - Parameter health: Tells whether the server is ready.
    public init(
        host: ModelHost, health: Health, metrics: UnderstandingMetrics, tracer: Tracer? = nil, rowLimit: Int,
        timeout: Duration = .seconds(10)
    ) {
        self.host = host
        self.health = health
        self.metrics = metrics
        self.tracer = tracer
        self.rowLimit = rowLimit
        self.timeout = timeout
    }

    /// The service, to be given to a server.
    public var service: Service {
        Service(
            Self.name,
            [
                .unary("ServerLive") { _, _ in InferenceCodec.serverLiveResponse() },
                .unary("ServerReady") { [health] _, _ in InferenceCodec.serverReadyResponse(health.status() == .serving) },
                .unary("ModelReady") { [self] request, _ in
                    let model = try decoded { () throws(ConversationError) in try InferenceCodec.modelReadyRequest(decoding: request) }
                    return InferenceCodec.modelReadyResponse((try? host.description(of: model))?.state == .ready)
                },
                .unary("ServerMetadata") { _, _ in
                    InferenceCodec.serverMetadataResponse(
                        name: "kefu-intent-server", version: Program.version, extensions: ["schedule_policy"])
                },
                .unary("ModelMetadata") { [self] request, _ in
                    try decoded { () throws(ConversationError) in
                        try modelMetadata(InferenceCodec.modelMetadataRequest(decoding: request))
                    }
                },
                .unary("ModelInfer") { [self] request, context in
                    do throws(ConversationError) {
                        return try await infer(request, context)
                    } catch {
                        throw RPCError(error)
                    }
                },
            ])
    }

    private func decoded<T>(_ body: () throws(ConversationError) -> T) throws(RPCError) -> T {
        do throws(ConversationError) { return try body() } catch { throw RPCError(error) }
    }

    private func modelMetadata(_ selector: ModelSelector?) throws(ConversationError) -> [UInt8] {
        let name = try host.description(of: selector).name
        let versions = host.descriptions.filter { $0.name == name }.map(\.version)
        return InferenceCodec.modelMetadataResponse(name: name, versions: versions.filter { !$0.isEmpty })
    }

    private func infer(_ bytes: [UInt8], _ context: ServerContext) async throws(ConversationError) -> [UInt8] {
        let span = tracer?.begin("infer", parent: TraceContext(context.metadata))
        do throws(ConversationError) {
            let (response, rows) = try await response(to: bytes, context)
            span?.end([("kefu.rows", .integer(Int64(rows)))])
            return response
        } catch {
            span?.end(failure: error.code.description)
            throw error
        }
    }

    private func response(to bytes: [UInt8], _ context: ServerContext) async throws(ConversationError) -> (response: [UInt8], rows: Int) {
        let request = try metrics.counting { () throws(ConversationError) in
            try InferenceCodec.inferRequest(decoding: bytes, rowLimit: rowLimit)
        }
        let now = ContinuousClock.now
        let deadline = [now + timeout, request.timeout.map { now + $0 }, context.answerDeadline(at: now)].compactMap(\.self).min()
        let recognitions = try await eachRow(request.utterances) { utterance async throws(ConversationError) in
            let row = RecognitionRequest(utterance: utterance, priority: request.priority, model: request.model, topK: request.topK)
            return try await metrics.recognize(row, with: host, deadline: deadline)
        }
        return (InferenceCodec.inferResponse(recognitions, to: request, defaultModel: host.defaultModel.name), recognitions.count)
    }

    /// Recognises the rows side by side. The first that fails cancels those that still wait, and its failure is that of all.
    private func eachRow(
        _ rows: [Utterance], _ recognize: @escaping @Sendable (Utterance) async throws(ConversationError) -> Recognition
    ) async throws(ConversationError) -> [Recognition] {
        var results = [Result<Recognition, ConversationError>?](repeating: nil, count: rows.count)
        await withTaskGroup(of: (row: Int, result: Result<Recognition, ConversationError>).self) { group in
            for (row, utterance) in rows.enumerated() {
                group.addTask { (row, await Self.result { () async throws(ConversationError) in try await recognize(utterance) }) }
            }
            for await (row, result) in group {
                results[row] = result
                if case .failure = result { group.cancelAll() }
            }
        }
        // A row that failed by itself tells more than those that were cancelled for its sake.
        let failures = results.enumerated().compactMap { row, result -> (row: Int, error: ConversationError)? in
            if case .failure(let error)? = result { (row, error) } else { nil }
        }
        if let (row, error) = failures.first(where: { $0.error.code != .cancelled }) ?? failures.first {
            throw ConversationError(error.code, "row \(row): \(error.message)", retryAfter: error.retryAfter)
        }
        return results.compactMap { try? $0?.get() }
    }

    private static func result(_ body: () async throws(ConversationError) -> Recognition) async -> Result<Recognition, ConversationError> {
        do throws(ConversationError) { return .success(try await body()) } catch { return .failure(error) }
    }
}
