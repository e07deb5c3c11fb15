import CProtos
public import Conversation
import ProtobufC

/// The messages of `kefu.understanding.v1`.
public enum UnderstandingCodec {
    /// An utterance to recognise as it came in: what can be said of it even where it is not valid.
    public struct Incoming: Sendable {
        /// The request's id; empty where it is not valid text.
        public var requestID: String
        /// The request, or what is wrong with it.
        public var request: Result<RecognitionRequest, ConversationError>
    }

    /// What an `UnderstandResponse` holds.
    public enum Response: Sendable, Hashable {
        /// The utterance was recognised.
        case recognition(Recognition, requestID: String)
        /// The utterance failed, and the stream goes on: the google.rpc.Code and the message.
        case failure(requestID: String, code: Int, message: String)
    }

    /// Reads an `UnderstandRequest`.
    public static func understandRequest(decoding bytes: [UInt8]) -> Incoming {
        do throws(ConversationError) {
            return try reading(
                "kefu.understanding.v1.UnderstandRequest", bytes, unpack: kefu__understanding__v1__understand_request__unpack,
                free: kefu__understanding__v1__understand_request__free_unpacked
            ) { message throws(ConversationError) in
                let request = Result { () throws(ConversationError) in
                    let model = try text(message.model, "model")
                    return RecognitionRequest(
                        utterance: try Utterance(text(message.text, "text")), priority: try priority(message.priority),
                        model: model.isEmpty ? nil : try ModelSelector(model),
                        topK: message.top_k == 0 ? RecognitionRequest.defaultTopK : Int(message.top_k),
                        requestID: try text(message.request_id, "request_id"))
                }
                return Incoming(requestID: (try? text(message.request_id, "request_id")) ?? "", request: request)
            }
        } catch {
            return Incoming(requestID: "", request: .failure(error))
        }
    }

    /// Writes an `UnderstandRequest`.
    public static func understandRequest(_ request: RecognitionRequest) -> [UInt8] {
        packed(
            kefu__understanding__v1__understand_request__init, size: kefu__understanding__v1__understand_request__get_packed_size,
            pack: kefu__understanding__v1__understand_request__pack
        ) { message, arena in
            message.text = arena.text(request.utterance.text)
            message.priority = wire(request.priority)
            message.model = arena.text(request.model?.description ?? "")
            message.top_k = UInt32(clamping: request.topK)
            message.request_id = arena.text(request.requestID)
        }
    }

    /// Writes an `UnderstandResponse`.
    public static func understandResponse(_ recognition: Recognition, requestID: String) -> [UInt8] {
        packed(
            kefu__understanding__v1__understand_response__init, size: kefu__understanding__v1__understand_response__get_packed_size,
            pack: kefu__understanding__v1__understand_response__pack
        ) { message, arena in
            message.n_intents = recognition.intents.count
            message.intents = arena.messages(recognition.intents, wire)
            message.n_slots = recognition.slots.count
            message.slots = arena.messages(recognition.slots, wire)
            message.model = arena.text(recognition.model)
            message.route = wire(recognition.route)
            message.timing = arena.message(wire(recognition.timing))
            message.request_id = arena.text(requestID)
        }
    }

    /// Writes the `UnderstandResponse` that tells on a stream why an utterance was not recognised.
    public static func understandResponse(requestID: String, failure: ConversationError, code: Int) -> [UInt8] {
        packed(
            kefu__understanding__v1__understand_response__init, size: kefu__understanding__v1__understand_response__get_packed_size,
            pack: kefu__understanding__v1__understand_response__pack
        ) { message, arena in
            message.request_id = arena.text(requestID)
            var error: Kefu__Understanding__V1__Error = initial(kefu__understanding__v1__error__init)
            error.code = Int32(clamping: code)
            error.message = arena.text(failure.message)
            message.error = arena.message(error)
        }
    }

    /// Reads an `UnderstandResponse`.
    public static func understandResponse(decoding bytes: [UInt8]) throws(ConversationError) -> Response {
        try reading(
            "kefu.understanding.v1.UnderstandResponse", bytes, unpack: kefu__understanding__v1__understand_response__unpack,
            free: kefu__understanding__v1__understand_response__free_unpacked
        ) { message throws(ConversationError) in
            let requestID = try text(message.request_id, "request_id")
            if let error = message.error?.pointee {
                return .failure(requestID: requestID, code: Int(error.code), message: try text(error.message, "error.message"))
            }
            let recognition = Recognition(
                intents: try each(message.intents, message.n_intents, intent), slots: try each(message.slots, message.n_slots, slot),
                model: try text(message.model, "model"), route: route(message.route),
                timing: message.timing.map { timing($0.pointee) } ?? Timing())
            return .recognition(recognition, requestID: requestID)
        }
    }

    /// Writes a `ListModelsRequest`.
    public static func listModelsRequest() -> [UInt8] { [] }

    /// Writes a `ListModelsResponse`.
    public static func listModelsResponse(_ models: [ModelDescription]) -> [UInt8] {
        packed(
            kefu__understanding__v1__list_models_response__init,
            size: kefu__understanding__v1__list_models_response__get_packed_size,
            pack: kefu__understanding__v1__list_models_response__pack
        ) { message, arena in
            message.n_models = models.count
            message.models = arena.messages(models, wire)
        }
    }

    /// Reads a `ListModelsResponse`.
    public static func listModelsResponse(decoding bytes: [UInt8]) throws(ConversationError) -> [ModelDescription] {
        try reading(
            "kefu.understanding.v1.ListModelsResponse", bytes, unpack: kefu__understanding__v1__list_models_response__unpack,
            free: kefu__understanding__v1__list_models_response__free_unpacked
        ) { message throws(ConversationError) in try each(message.models, message.n_models, model) }
    }
}

// MARK: Parts

private func wire(_ priority: Priority) -> Kefu__Understanding__V1__Priority {
    switch priority {
    case .interactive: KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_INTERACTIVE
    case .standard: KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_STANDARD
    case .background: KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_BACKGROUND
    }
}

private func priority(_ priority: Kefu__Understanding__V1__Priority) throws(ConversationError) -> Priority {
    switch priority {
    case KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_UNSPECIFIED, KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_INTERACTIVE: .interactive
    case KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_STANDARD: .standard
    case KEFU__UNDERSTANDING__V1__PRIORITY__PRIORITY_BACKGROUND: .background
    default: throw ConversationError(.invalidArgument, "priority is \(priority.rawValue); 0 to 3 are expected")
    }
}

private func wire(_ intent: Intent, _ arena: inout Arena) -> Kefu__Understanding__V1__Intent {
    var message: Kefu__Understanding__V1__Intent = initial(kefu__understanding__v1__intent__init)
    message.name = arena.text(intent.name)
    message.confidence = intent.confidence
    return message
}

private func intent(_ message: Kefu__Understanding__V1__Intent) throws(ConversationError) -> Intent {
    Intent(name: try text(message.name, "intent.name"), confidence: try finite(message.confidence, "intent.confidence"))
}

private func wire(_ slot: RecognizedSlot, _ arena: inout Arena) -> Kefu__Understanding__V1__Slot {
    var message: Kefu__Understanding__V1__Slot = initial(kefu__understanding__v1__slot__init)
    message.name = arena.text(slot.value.name)
    message.value = arena.text(slot.value.value)
    message.normalized = arena.text(slot.value.normalized)
    message.start = UInt32(clamping: slot.range.lowerBound)
    message.end = UInt32(clamping: slot.range.upperBound)
    message.confidence = slot.confidence
    return message
}

private func slot(_ message: Kefu__Understanding__V1__Slot) throws(ConversationError) -> RecognizedSlot {
    guard message.start <= message.end else {
        throw ConversationError(.internalError, "a slot that starts at \(message.start) and ends at \(message.end)")
    }
    return RecognizedSlot(
        value: SlotValue(
            name: try text(message.name, "slot.name"), value: try text(message.value, "slot.value"),
            normalized: try text(message.normalized, "slot.normalized")), range: Int(message.start)..<Int(message.end),
        confidence: try finite(message.confidence, "slot.confidence"))
}

private func wire(_ route: Route) -> Kefu__Understanding__V1__Route {
    switch route {
    case .model: KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_MODEL
    case .light: KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_LIGHT
    case .heavy: KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_HEAVY
    case .cache: KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_CACHE
    }
}

/// A route that this version does not know reads as the model's.
private func route(_ route: Kefu__Understanding__V1__Route) -> Route {
    switch route {
    case KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_LIGHT: .light
    case KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_HEAVY: .heavy
    case KEFU__UNDERSTANDING__V1__ROUTE__ROUTE_CACHE: .cache
    default: .model
    }
}

private func wire(_ timing: Timing) -> Kefu__Understanding__V1__Timing {
    var message: Kefu__Understanding__V1__Timing = initial(kefu__understanding__v1__timing__init)
    message.queue_us = microseconds(timing.queue)
    message.compute_us = microseconds(timing.compute)
    message.batch_size = UInt32(clamping: timing.batchSize)
    message.padded_length = UInt32(clamping: timing.paddedLength)
    return message
}

private func microseconds(_ duration: Duration) -> UInt32 {
    let (seconds, attoseconds) = duration.components
    return UInt32(clamping: min(max(seconds, 0), Int64(UInt32.max)) * 1_000_000 + attoseconds / 1_000_000_000_000)
}

private func timing(_ message: Kefu__Understanding__V1__Timing) -> Timing {
    Timing(
        queue: .microseconds(message.queue_us), compute: .microseconds(message.compute_us), batchSize: Int(message.batch_size),
        paddedLength: Int(message.padded_length))
}

private func wire(_ model: ModelDescription, _ arena: inout Arena) -> Kefu__Understanding__V1__Model {
    var message: Kefu__Understanding__V1__Model = initial(kefu__understanding__v1__model__init)
    message.name = arena.text(model.name)
    message.version = arena.text(model.version)
    message.state = wire(model.state)
    message.is_default = model.isDefault ? 1 : 0
    message.device = arena.text(model.device)
    message.precision = arena.text(model.precision)
    message.n_intents = model.intents.count
    message.intents = arena.texts(model.intents)
    message.n_slot_labels = model.slotLabels.count
    message.slot_labels = arena.texts(model.slotLabels)
    message.memory_bytes = model.memoryBytes
    message.sha256 = arena.text(model.sha256)
    return message
}

private func model(_ message: Kefu__Understanding__V1__Model) throws(ConversationError) -> ModelDescription {
    ModelDescription(
        name: try text(message.name, "model.name"), version: try text(message.version, "model.version"), state: state(message.state),
        isDefault: message.is_default != 0, device: try text(message.device, "model.device"),
        precision: try text(message.precision, "model.precision"),
        intents: try texts(message.intents, message.n_intents, "model.intents"),
        slotLabels: try texts(message.slot_labels, message.n_slot_labels, "model.slot_labels"), memoryBytes: message.memory_bytes,
        sha256: try text(message.sha256, "model.sha256"))
}

private func wire(_ state: ModelDescription.State) -> Kefu__Understanding__V1__ModelState {
    switch state {
    case .loading: KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_LOADING
    case .warming: KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_WARMING
    case .ready: KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_READY
    case .draining: KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_DRAINING
    case .failed: KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_FAILED
    }
}

/// A state that this version does not know reads as failed: such a model is not to be counted on.
private func state(_ state: Kefu__Understanding__V1__ModelState) -> ModelDescription.State {
    switch state {
    case KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_LOADING: .loading
    case KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_WARMING: .warming
    case KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_READY: .ready
    case KEFU__UNDERSTANDING__V1__MODEL_STATE__MODEL_STATE_DRAINING: .draining
    default: .failed
    }
}
