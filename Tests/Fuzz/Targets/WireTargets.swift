import Conversation
import Wire

@testable import RPCServices

extension FuzzTarget {
    static let wire: [FuzzTarget] = [dialogue, understanding, inference, tensorFlow, actions, handOff, store, reflection]

    /// `kefu.dialogue.v1`.
    private static let dialogue = FuzzTarget("dialogue", maximumLength: 2048) { input in
        var parts = Parts(input)
        switch parts.choice(6) {
        case 0:
            roundTrip(parts.bytes, read: { try DialogueCodec.replyRequest(decoding: $0).message.get() }, write: DialogueCodec.replyRequest)
        case 1: roundTrip(parts.bytes, read: DialogueCodec.getSessionRequest, write: DialogueCodec.getSessionRequest)
        case 2: roundTrip(parts.bytes, read: DialogueCodec.endSessionRequest, write: DialogueCodec.endSessionRequest)
        case 3:
            roundTrip(parts.bytes, read: DialogueCodec.replyResponse(decoding:)) { response in
                switch response {
                case .reply(let reply): return DialogueCodec.replyResponse(reply)
                case .agents(let uid, let messages): return DialogueCodec.replyResponse(uid: try UserID(uid), agentMessages: messages)
                case .failure(let uid, let seq, let code, let message, let retryAfter):
                    let error = ConversationError(.unavailable, message, retryAfter: retryAfter)
                    return DialogueCodec.replyResponse(uid: uid, seq: seq, failure: error, code: code)
                }
            }
        case 4: roundTrip(parts.bytes, read: DialogueCodec.session(decoding:), write: DialogueCodec.session)
        default: roundTrip(parts.bytes, read: DialogueCodec.endSessionResponse, write: DialogueCodec.endSessionResponse)
        }
    }

    /// `kefu.understanding.v1`.
    private static let understanding = FuzzTarget("understanding", maximumLength: 2048) { input in
        var parts = Parts(input)
        switch parts.choice(3) {
        case 0:
            roundTrip(
                parts.bytes, read: { try UnderstandingCodec.understandRequest(decoding: $0).request.get() },
                write: UnderstandingCodec.understandRequest)
        case 1:
            roundTrip(parts.bytes, read: UnderstandingCodec.understandResponse(decoding:)) { response in
                switch response {
                case .recognition(let recognition, let id): UnderstandingCodec.understandResponse(recognition, requestID: id)
                case .failure(let id, let code, let message):
                    UnderstandingCodec.understandResponse(
                        requestID: id, failure: ConversationError(.internalError, message), code: code)
                }
            }
        default: roundTrip(parts.bytes, read: UnderstandingCodec.listModelsResponse, write: UnderstandingCodec.listModelsResponse)
        }
    }

    /// `inference.GRPCInferenceService`, raw tensors among it.
    private static let inference = FuzzTarget("inference", maximumLength: 1024) { input in
        var parts = Parts(input)
        switch parts.choice(3) {
        case 0:
            guard let request = try? InferenceCodec.inferRequest(decoding: parts.bytes, rowLimit: 64) else { return }
            require((1...64).contains(request.utterances.count), "there are \(request.utterances.count) rows")
            require(Set(request.outputs).count == request.outputs.count && !request.outputs.isEmpty, "the outputs are \(request.outputs)")
            let recognitions = request.utterances.map { utterance in
                Recognition(
                    intents: [Intent(name: "a", confidence: 1)],
                    slots: utterance.text.utf8.prefix(3).map { byte in
                        RecognizedSlot(value: SlotValue(name: "s", value: "\(byte)", normalized: ""), range: 0..<1, confidence: 0.5)
                    }, model: "m@1")
            }
            let response = InferenceCodec.inferResponse(recognitions, to: request, defaultModel: "m")
            require(!response.isEmpty, "the response is empty")
        case 1: _ = try? InferenceCodec.modelReadyRequest(decoding: parts.bytes)
        default: _ = try? InferenceCodec.modelMetadataRequest(decoding: parts.bytes)
        }
    }

    /// What TensorFlow Serving answers.
    private static let tensorFlow = FuzzTarget("tensorflow", maximumLength: 512) { input in
        var parts = Parts(input)
        if parts.choice(4) > 0 {
            _ = try? TensorFlowCodec.firstString(of: "reply", inPredictResponse: parts.bytes)
        } else {
            _ = try? TensorFlowCodec.availableVersions(inModelStatusResponse: parts.bytes)
        }
    }

    /// `kefu.actions.v1`.
    private static let actions = FuzzTarget("actions", maximumLength: 512) { input in
        var parts = Parts(input)
        if parts.choice(2) == 0 {
            roundTrip(parts.bytes, read: ActionsCodec.performRequest(decoding:), write: ActionsCodec.performRequest)
        } else {
            roundTrip(parts.bytes, read: ActionsCodec.performResponse(decoding:), write: ActionsCodec.performResponse)
        }
    }

    /// `kefu.handoff.v1`.
    private static let handOff = FuzzTarget("handoff", maximumLength: 512) { input in
        var parts = Parts(input)
        switch parts.choice(5) {
        case 0:
            guard let limit = try? HandOffCodec.listWaitingRequest(decoding: parts.bytes) else { return }
            require((1...200).contains(limit), "the limit is \(limit)")
        case 1:
            guard let claim = try? HandOffCodec.claimRequest(decoding: parts.bytes) else { return }
            require(claim.span >= .seconds(1) && claim.span <= .seconds(3600), "the lease is \(claim.span)")
        case 2:
            guard let answer = try? HandOffCodec.answerRequest(decoding: parts.bytes) else { return }
            require(answer.number > 0 && !answer.text.isEmpty && !answer.lease.isEmpty, "\(answer)")
        case 3: _ = try? HandOffCodec.renewRequest(decoding: parts.bytes)
        default: _ = try? HandOffCodec.giveBackRequest(decoding: parts.bytes)
        }
    }

    /// What the store keeps: `kefu.store.v1`.
    private static let store = FuzzTarget("store", maximumLength: 2048) { input in
        var parts = Parts(input)
        switch parts.choice(4) {
        case 0, 3:
            roundTrip(parts.bytes, read: { try SessionCodec.session(decoding: $0, uid: UserID("u")) }, write: SessionCodec.state)
        case 1:
            guard let query = try? DeskCodec.query(decoding: parts.bytes) else { return }
            let again = try? DeskCodec.query(decoding: DeskCodec.query(query.text, seq: query.seq))
            require(again?.seq == query.seq && again?.text == query.text, "\(query)")
        case 2:
            roundTrip(parts.bytes, read: DeskCodec.recent(decoding:), write: DeskCodec.recent)
            // What is written one after the other is read as one.
            roundTrip(parts.bytes, read: { try DeskCodec.outbox(decoding: $0) { $0 } }) { messages in
                messages.flatMap { DeskCodec.outbox($0) }
            }
        default: break
        }
    }

    private static let reflecting = try? Reflection(services: ["kefu.dialogue.v1.Dialogue", "grpc.health.v1.Health"])

    /// Server reflection.
    private static let reflection = FuzzTarget("reflection", maximumLength: 256) { input in
        require(reflecting != nil, "there is no reflection")
        guard let answer = try? reflecting?.answer(input) else { return }
        require(!answer.isEmpty, "the answer is empty")
    }
}
