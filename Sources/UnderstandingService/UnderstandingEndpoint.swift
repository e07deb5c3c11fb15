import Conversation
public import RPC
import RPCServices
public import ServiceKit
import Understanding
import Wire

/// `kefu.understanding.v1.Understanding` over the models of a host.
public struct UnderstandingEndpoint: Sendable {
    /// The full name of the service.
    public static let name = "kefu.understanding.v1.Understanding"

    private let host: ModelHost
    private let metrics: UnderstandingMetrics
    private let tracer: Tracer?
    /// How long an utterance may take where the client sets no deadline, and at the most where it does.
    private let timeout: Duration
    /// How many utterances of one stream may be waiting or under way.
    private let utterancesPerStream: Int

    /// An endpoint over the models of a host.
    public init(
        host: ModelHost, metrics: UnderstandingMetrics, tracer: Tracer? = nil, timeout: Duration = .seconds(10),
        utterancesPerStream: Int = 256
    ) {
        self.host = host
        self.metrics = metrics
        self.tracer = tracer
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
        let now = ContinuousClock.now
        let deadline = [now + timeout, context.answerDeadline(at: now)].compactMap(\.self).min()
        let span = tracer?.begin("understand", parent: TraceContext(context.metadata))
        let recognition: Recognition
        do throws(ConversationError) {
            recognition = try await metrics.recognize(request, with: host, deadline: deadline)
        } catch {
            span?.end(failure: error.code.description)
            throw error
        }
        span?.end(recognition)
        return UnderstandingCodec.understandResponse(recognition, requestID: request.requestID)
    }
}

extension OpenSpan {
    /// Ends the span of a recognition, with its time in the queue and of its batch's computing as parts. Of these the lengths were measured; they are laid end
    /// to end from the start of the span.
    func end(_ recognition: Recognition) {
        let timing = recognition.timing
        // An answer that was kept took neither.
        if timing.compute > .zero {
            addPart("queue", offset: .zero, duration: timing.queue)
            addPart("compute", offset: timing.queue, duration: timing.compute)
        }
        end([
            ("kefu.intent", .text(recognition.intents.first?.name ?? "")), ("kefu.model", .text(recognition.model)),
            ("kefu.batch_size", .integer(Int64(timing.batchSize))), ("kefu.padded_length", .integer(Int64(timing.paddedLength))),
        ])
    }
}
