import CProtos
public import Conversation
import ProtobufC

/// The messages of TensorFlow Serving that a model of small talk needs: one string in and its context, one string out.
public enum TensorFlowCodec {
    /// Writes a `PredictRequest` of one-element string tensors.
    ///
    /// - Parameter version: The model's version; nil: the newest.
    public static func predictRequest(model: String, signature: String, version: Int64? = nil, inputs: [(name: String, text: String)])
        -> [UInt8]
    {
        packed(
            tensorflow__serving__predict_request__init, size: tensorflow__serving__predict_request__get_packed_size,
            pack: tensorflow__serving__predict_request__pack
        ) { request, arena in
            request.model_spec = arena.message(wire(model: model, signature: signature, version: version, &arena))
            request.n_inputs = inputs.count
            request.inputs = arena.messages(inputs) { input, arena in
                var entry: Tensorflow__Serving__PredictRequest__InputsEntry = initial(
                    tensorflow__serving__predict_request__inputs_entry__init)
                entry.key = arena.terminated(input.name)
                var tensor: Tensorflow__TensorProto = initial(tensorflow__tensor_proto__init)
                tensor.dtype = TENSORFLOW__DATA_TYPE__DT_STRING
                var shape: Tensorflow__TensorShapeProto = initial(tensorflow__tensor_shape_proto__init)
                var dimension: Tensorflow__TensorShapeProto__Dim = initial(tensorflow__tensor_shape_proto__dim__init)
                dimension.size = 1
                shape.n_dim = 1
                shape.dim = arena.messages([dimension]) { dimension, _ in dimension }
                tensor.tensor_shape = arena.message(shape)
                tensor.n_string_val = 1
                tensor.string_val = arena.texts([input.text])
                entry.value = arena.message(tensor)
                return entry
            }
        }
    }

    /// The first string of an output of a `PredictResponse`.
    ///
    /// - Throws: ``ConversationError`` where there is no such output, or it is not a string of valid UTF-8.
    public static func firstString(of output: String, inPredictResponse bytes: [UInt8]) throws(ConversationError) -> String {
        try reading(
            "tensorflow.serving.PredictResponse", bytes, unpack: tensorflow__serving__predict_response__unpack,
            free: tensorflow__serving__predict_response__free_unpacked
        ) { response throws(ConversationError) in
            for index in 0..<response.n_outputs {
                guard let entry = response.outputs?[index]?.pointee, String(cString: entry.key) == output else { continue }
                guard let tensor = entry.value?.pointee, tensor.dtype == TENSORFLOW__DATA_TYPE__DT_STRING else {
                    throw ConversationError(.internalError, "the model's output '\(output)' is not of type DT_STRING")
                }
                guard let first = try strings(tensor, output).first else {
                    throw ConversationError(.internalError, "the model's output '\(output)' is empty")
                }
                return first
            }
            throw ConversationError(.internalError, "the model has no output '\(output)'")
        }
    }

    /// Writes a `GetModelStatusRequest` for all versions of a model.
    public static func modelStatusRequest(model: String) -> [UInt8] {
        packed(
            tensorflow__serving__get_model_status_request__init, size: tensorflow__serving__get_model_status_request__get_packed_size,
            pack: tensorflow__serving__get_model_status_request__pack
        ) { request, arena in request.model_spec = arena.message(wire(model: model, signature: "", version: nil, &arena)) }
    }

    /// The versions of a `GetModelStatusResponse` that can be asked.
    public static func availableVersions(inModelStatusResponse bytes: [UInt8]) throws(ConversationError) -> [Int64] {
        try reading(
            "tensorflow.serving.GetModelStatusResponse", bytes, unpack: tensorflow__serving__get_model_status_response__unpack,
            free: tensorflow__serving__get_model_status_response__free_unpacked
        ) { response in
            (0..<response.n_model_version_status).compactMap { index in
                guard let status = response.model_version_status?[index]?.pointee,
                    status.state == TENSORFLOW__SERVING__MODEL_VERSION_STATUS__STATE__AVAILABLE
                else { return nil }
                return status.version
            }
        }
    }

    private static func wire(model: String, signature: String, version: Int64?, _ arena: inout Arena) -> Tensorflow__Serving__ModelSpec {
        var spec: Tensorflow__Serving__ModelSpec = initial(tensorflow__serving__model_spec__init)
        spec.name = arena.text(model)
        spec.signature_name = arena.text(signature)
        if let version {
            var wrapped: Google__Protobuf__Int64Value = initial(google__protobuf__int64_value__init)
            wrapped.value = version
            spec.version_choice_case = TENSORFLOW__SERVING__MODEL_SPEC__VERSION_CHOICE_VERSION
            spec.version = arena.message(wrapped)
        }
        return spec
    }

    /// The strings of a tensor, in either of the two forms.
    private static func strings(_ tensor: Tensorflow__TensorProto, _ name: String) throws(ConversationError) -> [String] {
        let count = try elements(tensor, name)
        if tensor.tensor_content.len > 0, let start = tensor.tensor_content.data {
            return try strings(inContent: UnsafeBufferPointer(start: start, count: tensor.tensor_content.len), count: count, name)
        }
        // The last value stands for all that follow it.
        let values = try texts(tensor.string_val, tensor.n_string_val, name)
        return Array(values.prefix(count))
    }

    /// The number of elements by the shape; no shape is a scalar.
    private static func elements(_ tensor: Tensorflow__TensorProto, _ name: String) throws(ConversationError) -> Int {
        guard let shape = tensor.tensor_shape?.pointee else { return 1 }
        var count: Int64 = 1
        for index in 0..<shape.n_dim {
            guard let size = shape.dim?[index]?.pointee.size, size >= 0, size <= 1 << 16 else {
                throw ConversationError(.internalError, "the model's output '\(name)' has a dimension out of bounds")
            }
            count *= size
            if count > 1 << 16 { throw ConversationError(.internalError, "the model's output '\(name)' has too many elements") }
        }
        return Int(count)
    }

    /// Packed strings: all lengths as varints, then all bytes.
    private static func strings(inContent bytes: UnsafeBufferPointer<UInt8>, count: Int, _ name: String) throws(ConversationError)
        -> [String]
    {
        func broken() -> ConversationError {
            ConversationError(.internalError, "the tensor_content of the model's output '\(name)' is not \(count) packed strings")
        }
        var position = 0
        var lengths: [Int] = []
        for _ in 0..<count {
            var length: UInt64 = 0
            var shift: UInt64 = 0
            while true {
                guard position < bytes.count, shift < 35 else { throw broken() }
                let byte = bytes[position]
                position += 1
                length |= UInt64(byte & 0x7F) << shift
                if byte & 0x80 == 0 { break }
                shift += 7
            }
            lengths.append(Int(length))
        }
        guard lengths.allSatisfy({ $0 <= bytes.count }), lengths.reduce(0, +) == bytes.count - position else { throw broken() }
        var strings: [String] = []
        for length in lengths {
            let part = UnsafeMutablePointer(mutating: bytes.baseAddress.map { $0 + position })
            strings.append(try text(ProtobufCBinaryData(len: length, data: part), name))
            position += length
        }
        return strings
    }
}

extension Arena {
    /// A copy of `string` as C has it; the names of inputs have no NUL.
    mutating func terminated(_ string: String) -> UnsafeMutablePointer<CChar> {
        let bytes = string.utf8CString
        let copy = allocate(CChar.self, count: bytes.count)
        for (index, byte) in bytes.enumerated() { (copy + index).initialize(to: byte) }
        return copy
    }
}
