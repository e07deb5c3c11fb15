import Conversation
public import RPC
import ServiceKit
import Understanding
import Wire

/// `kefu.understanding.v1.Understanding` over the models of a host.
public struct UnderstandingEndpoint: Sendable {
    /// The full name of the service.
    public static let name = "kefu.understanding.v1.Understanding"

    private let host: ModelHost
    private let metrics: UnderstandingMetrics
    /// How long an utterance may take where the client sets no deadline, and at the most where it does.
    private let timeout: Duration
    /// How many utterances of one stream may be waiting or under way.
    private let utterancesPerStream: Int

    /// An endpoint over the models of a host.
    public init(host: ModelHost, metrics: UnderstandingMetrics, timeout: Duration = .seconds(10), utterancesPerStream: Int = 256) {
        self.host = host
        self.metrics = metrics
        self.timeout = timeout
        self.utterancesPerStream = utterancesPerStream
    }

    /// The service, to be given to a server.
    public var service: Service {
        Service(
            Self.name,
            [
                .unary("Understand") { [self] request, context in
                    do throws(ConversationError) {
                        return try await understand(UnderstandingCodec.understandRequest(decoding: request).request, context)
                    } catch {
                        throw RPCError(error)
                    }
                },
                .streaming("UnderstandStream") { [self] requests, responses, context in
                    try await answerSideBySide(
                        requests, responses, limit: utterancesPerStream, decode: { UnderstandingCodec.understandRequest(decoding: $0) },
                        lane: { _ in nil }, respond: { await understand($0, context) })
                },
                .unary("ListModels") { [self] _, _ in UnderstandingCodec.listModelsResponse(host.descriptions) },
            ])
    }

    private func understand(_ incoming: UnderstandingCodec.Incoming, _ context: ServerContext) async -> [UInt8] {
        do throws(ConversationError) {
            return try await understand(incoming.request, context)
        } catch {
            return UnderstandingCodec.understandResponse(
                requestID: incoming.requestID, failure: error, code: RPCError.Code(error.code).rawValue)
        }
    }

    private func understand(
        _ incoming: Result<RecognitionRequest, ConversationError>, _ context: ServerContext
    ) async throws(ConversationError) -> [UInt8] {
        let request = try metrics.counting { () throws(ConversationError) in try incoming.get() }
        let own = ContinuousClock.now + timeout
        let recognition = try await metrics.recognize(request, with: host, deadline: context.deadline.map { min($0, own) } ?? own)
        return UnderstandingCodec.understandResponse(recognition, requestID: request.requestID)
    }
}
