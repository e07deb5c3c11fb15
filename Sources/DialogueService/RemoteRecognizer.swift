public import Conversation
public import Dialogue
public import RPC
import RPCServices
import ServiceKit
import Wire

/// The intent server as a recogniser.
public struct RemoteRecognizer: Recognizer {
    private let channel: Channel
    private let model: ModelSelector?
    private let priority: Priority

    /// A recogniser behind a channel to `kefu.understanding.v1.Understanding`.
    ///
    /// - Parameters:
    ///   - model: The model, or cascade, that is asked for; nil: the server's default.
    ///   - priority: Who waits; by default a person.
    public init(channel: Channel, model: ModelSelector? = nil, priority: Priority = .interactive) {
        self.channel = channel
        self.model = model
        self.priority = priority
    }

    /// Recognises an utterance.
    public func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        let request = UnderstandingCodec.understandRequest(RecognitionRequest(utterance: utterance, priority: priority, model: model))
        let bytes: [UInt8]
        do throws(RPCError) {
            bytes = try await channel.unary(
                "/kefu.understanding.v1.Understanding/Understand", request,
                options: CallOptions(deadline: deadline, metadata: TraceContext.outgoing)
            ).message
        } catch {
            throw ConversationError(error, from: "the intent server")
        }
        switch try UnderstandingCodec.understandResponse(decoding: bytes) {
        case .recognition(let recognition, _) where !recognition.intents.isEmpty: return recognition
        case .recognition: throw ConversationError(.internalError, "the intent server recognised no intent")
        case .failure(_, _, let message): throw ConversationError(.internalError, "the intent server: \(message)")
        }
    }
}
