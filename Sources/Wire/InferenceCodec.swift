import CProtos
public import Conversation
import ProtobufC

/// Utterances to recognise as `inference.ModelInferRequest` brings them: one input `text`, BYTES, of shape [N] or [N, 1].
public struct InferenceRequest: Sendable, Hashable {
    /// The model asked for; nil: the server's default.
    public var model: ModelSelector?
    /// Echoed in the answer.
    public var id: String
    /// One utterance a row; never empty.
    public var utterances: [Utterance]
    /// Who waits for the answer.
    public var priority: Priority
    /// When an answer is of no use any more; nil: not told.
    public var timeout: Duration?
    /// How many intents to return.
    public var topK: Int
    /// The tensors to return, in this order.
    public var outputs: [InferenceOutput]
}

/// The messages of KServe's Open Inference Protocol v2, `inference.GRPCInferenceService`.
public enum InferenceCodec {
    /// The name of the only input.
    static let input = "text"

    /// Reads a `ModelInferRequest`.
    ///
    /// - Parameter rowLimit: The most utterances of one request.
    /// - Throws: ``ConversationError`` with code `.invalidArgument`.
    public static func inferRequest(decoding bytes: [UInt8], rowLimit: Int) throws(ConversationError) -> InferenceRequest {
        try reading(
            "inference.ModelInferRequest", bytes, unpack: inference__model_infer_request__unpack,
            free: inference__model_infer_request__free_unpacked
        ) { message throws(ConversationError) in
            let parameters = try InferenceParameters(message.parameters, message.n_parameters)
            return InferenceRequest(
                model: try selector(message.model_name, message.model_version, prefix: "model_"), id: try text(message.id, "id"),
                utterances: try utterances(message, rowLimit: rowLimit), priority: parameters.priority, timeout: parameters.timeout,
                topK: parameters.topK, outputs: try requestedOutputs(message))
        }
    }

    /// Writes the `ModelInferResponse`.
    ///
    /// - Parameters:
    ///   - recognitions: One a row of the request.
    ///   - defaultModel: The name of the model that is asked where the request names none.
    public static func inferResponse(_ recognitions: [Recognition], to request: InferenceRequest, defaultModel: String) -> [UInt8] {
        let table = InferenceTable(recognitions)
        let model = request.model?.name ?? defaultModel
        // Behind a cascade other models answer, each of a version of its own.
        let answered = recognitions.first.flatMap { try? ModelSelector($0.model) }
        let version = answered?.name == model ? answered?.version ?? "" : ""
        return packed(
            inference__model_infer_response__init, size: inference__model_infer_response__get_packed_size,
            pack: inference__model_infer_response__pack
        ) { message, arena in
            message.model_name = arena.text(model)
            message.model_version = arena.text(version)
            message.id = arena.text(request.id)
            message.n_outputs = request.outputs.count
            message.outputs = arena.messages(request.outputs) { output, arena in
                var tensor: Inference__ModelInferResponse__InferOutputTensor = initial(
                    inference__model_infer_response__infer_output_tensor__init)
                let shape = table.shape(output)
                tensor.name = arena.text(output.rawValue)
                tensor.datatype = arena.text(output.datatype)
                tensor.n_shape = shape.count
                tensor.shape = arena.values(shape)
                return tensor
            }
            message.n_raw_output_contents = request.outputs.count
            message.raw_output_contents = arena.values(request.outputs.map { arena.bytes(table.raw($0)) })
        }
    }

    /// Writes a `ServerLiveResponse`: a server that answers is live.
    public static func serverLiveResponse() -> [UInt8] {
        packed(
            inference__server_live_response__init, size: inference__server_live_response__get_packed_size,
            pack: inference__server_live_response__pack
        ) { message, _ in message.live = 1 }
    }

    /// Writes a `ServerReadyResponse`.
    public static func serverReadyResponse(_ ready: Bool) -> [UInt8] {
        packed(
            inference__server_ready_response__init, size: inference__server_ready_response__get_packed_size,
            pack: inference__server_ready_response__pack
        ) { message, _ in message.ready = ready ? 1 : 0 }
    }

    /// Writes a `ServerMetadataResponse`.
    public static func serverMetadataResponse(name: String, version: String, extensions: [String]) -> [UInt8] {
        packed(
            inference__server_metadata_response__init, size: inference__server_metadata_response__get_packed_size,
            pack: inference__server_metadata_response__pack
        ) { message, arena in
            message.name = arena.text(name)
            message.version = arena.text(version)
            message.n_extensions = extensions.count
            message.extensions = arena.texts(extensions)
        }
    }

    /// Reads a `ModelReadyRequest`: the model, or nil for the server's default.
    ///
    /// - Throws: ``ConversationError`` with code `.invalidArgument`.
    public static func modelReadyRequest(decoding bytes: [UInt8]) throws(ConversationError) -> ModelSelector? {
        try reading(
            "inference.ModelReadyRequest", bytes, unpack: inference__model_ready_request__unpack,
            free: inference__model_ready_request__free_unpacked
        ) { message throws(ConversationError) in try selector(message.name, message.version) }
    }

    /// Writes a `ModelReadyResponse`.
    public static func modelReadyResponse(_ ready: Bool) -> [UInt8] {
        packed(
            inference__model_ready_response__init, size: inference__model_ready_response__get_packed_size,
            pack: inference__model_ready_response__pack
        ) { message, _ in message.ready = ready ? 1 : 0 }
    }

    /// Reads a `ModelMetadataRequest`: the model, or nil for the server's default.
    ///
    /// - Throws: ``ConversationError`` with code `.invalidArgument`.
    public static func modelMetadataRequest(decoding bytes: [UInt8]) throws(ConversationError) -> ModelSelector? {
        try reading(
            "inference.ModelMetadataRequest", bytes, unpack: inference__model_metadata_request__unpack,
            free: inference__model_metadata_request__free_unpacked
        ) { message throws(ConversationError) in try selector(message.name, message.version) }
    }

    /// Writes the `ModelMetadataResponse` of a TorchScript model.
    public static func modelMetadataResponse(name: String, versions: [String]) -> [UInt8] {
        packed(
            inference__model_metadata_response__init, size: inference__model_metadata_response__get_packed_size,
            pack: inference__model_metadata_response__pack
        ) { message, arena in
            message.name = arena.text(name)
            message.n_versions = versions.count
            message.versions = arena.texts(versions)
            message.platform = arena.text("pytorch_libtorch")
            let outputs = InferenceOutput.allCases.map { ($0.rawValue, $0.datatype, [Int64](repeating: -1, count: $0.isColumn ? 1 : 2)) }
            message.n_inputs = 1
            message.inputs = arena.messages([(input, "BYTES", [-1])], tensorMetadata)
            message.n_outputs = outputs.count
            message.outputs = arena.messages(outputs, tensorMetadata)
        }
    }
}

// MARK: Parts

private func tensorMetadata(
    _ tensor: (name: String, datatype: String, shape: [Int64]), _ arena: inout Arena
) -> Inference__ModelMetadataResponse__TensorMetadata {
    var message: Inference__ModelMetadataResponse__TensorMetadata = initial(inference__model_metadata_response__tensor_metadata__init)
    message.name = arena.text(tensor.name)
    message.datatype = arena.text(tensor.datatype)
    message.n_shape = tensor.shape.count
    message.shape = arena.values(tensor.shape)
    return message
}

/// A model by name and version; nil where neither is given.
private func selector(
    _ name: ProtobufCBinaryData, _ version: ProtobufCBinaryData, prefix: String = ""
) throws(ConversationError) -> ModelSelector? {
    let (name, version) = (try text(name, "\(prefix)name"), try text(version, "\(prefix)version"))
    guard !version.isEmpty else { return name.isEmpty ? nil : try ModelSelector(name) }
    guard !name.isEmpty else {
        throw ConversationError(.invalidArgument, "\(prefix)version is \"\(version)\" without a name; a version is one of a model's")
    }
    return try ModelSelector("\(name)@\(version)")
}

private func utterances(_ message: Inference__ModelInferRequest, rowLimit: Int) throws(ConversationError) -> [Utterance] {
    let name = InferenceCodec.input
    guard message.n_inputs == 1, let input = message.inputs?[0]?.pointee else {
        throw ConversationError(.invalidArgument, "there are \(message.n_inputs) inputs; one is expected: \(name), BYTES, [N] or [N, 1]")
    }
    let (given, datatype) = (try text(input.name, "the input's name"), try text(input.datatype, "the input's datatype"))
    guard given == name else {
        throw ConversationError(.invalidArgument, "there is no input \"\(given)\"; \(name) is expected: BYTES, [N] or [N, 1]")
    }
    guard datatype == "BYTES" else {
        throw ConversationError(.invalidArgument, "the datatype of \(name) is \"\(datatype)\"; BYTES is expected")
    }
    try refuseParameters(input.parameters, input.n_parameters, of: "the input \(name)")
    let shape = UnsafeBufferPointer(start: input.shape, count: input.n_shape)
    guard shape.count == 1 || (shape.count == 2 && shape[1] == 1) else {
        throw ConversationError(.invalidArgument, "the shape of \(name) is \(brief(shape)); [N] or [N, 1] is expected")
    }
    guard (1...Int64(rowLimit)).contains(shape[0]) else {
        throw ConversationError(.invalidArgument, "the shape of \(name) is \(brief(shape)); 1 to \(rowLimit) rows are expected")
    }

    let rows = Int(shape[0])
    let contents = input.contents?.pointee
    let texts: [ProtobufCBinaryData]
    if message.n_raw_input_contents > 0 {
        guard contents == nil else {
            throw ConversationError(.invalidArgument, "\(name) has contents, and there are raw_input_contents; one of them is expected")
        }
        guard message.n_raw_input_contents == 1 else {
            throw ConversationError(
                .invalidArgument, "raw_input_contents has \(message.n_raw_input_contents) elements; one is expected, as there is one input")
        }
        texts = try elements(message.raw_input_contents[0], count: rows, name)
    } else {
        texts = Array(UnsafeBufferPointer(start: contents?.bytes_contents, count: contents?.n_bytes_contents ?? 0))
        guard texts.count == rows else {
            throw ConversationError(
                .invalidArgument, "the bytes_contents of \(name) have \(texts.count) elements; its shape says \(rows)")
        }
    }
    var utterances: [Utterance] = []
    utterances.reserveCapacity(rows)
    for (row, data) in texts.enumerated() {
        let string = try text(data, "\(name)[\(row)]")
        do {
            utterances.append(try Utterance(string))
        } catch {
            throw ConversationError(error.code, "\(name)[\(row)]: \(error.message)")
        }
    }
    return utterances
}

/// A shape for a message; a long one is cut.
private func brief(_ shape: UnsafeBufferPointer<Int64>) -> String {
    "[" + shape.prefix(4).map(String.init).joined(separator: ", ") + (shape.count > 4 ? ", …]" : "]")
}

private func requestedOutputs(_ message: Inference__ModelInferRequest) throws(ConversationError) -> [InferenceOutput] {
    guard message.n_outputs > 0, let requested = message.outputs else { return InferenceOutput.allCases }
    var outputs: [InferenceOutput] = []
    for index in 0..<message.n_outputs {
        guard let tensor = requested[index]?.pointee else { continue }
        let name = try text(tensor.name, "the name of an output")
        guard let output = InferenceOutput(rawValue: name) else {
            let known = InferenceOutput.allCases.map(\.rawValue).joined(separator: ", ")
            throw ConversationError(.invalidArgument, "there is no output \"\(name)\"; there is \(known)")
        }
        guard !outputs.contains(output) else {
            throw ConversationError(.invalidArgument, "the output \(name) is asked for twice; once is expected")
        }
        try refuseParameters(tensor.parameters, tensor.n_parameters, of: "the output \(name)")
        outputs.append(output)
    }
    return outputs
}
