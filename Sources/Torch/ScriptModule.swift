internal import CTorch

/// The element type that a model computes in, whatever its file stores.
public enum Precision: String, Sendable, Hashable, CaseIterable {
    /// 32-bit floating point.
    case float32
    /// 16-bit "brain" floating point, with 8 bits of precision: on GPUs, and on CPUs with AMX-BF16 or AVX512-BF16. On a CPU the products of linear layers are
    /// computed in it, with 32-bit sums; all else stays in 32 bits. Results are still `Float`.
    case bfloat16
    /// 16-bit floating point: on GPUs only. Results are still `Float`.
    case float16

    /// Whether the CPU of this machine computes in this precision.
    public var isSupportedOnCPU: Bool { ctorch_cpu_supports(code) }

    /// What the CPU of this machine computes fastest in: ``bfloat16`` where it has a matrix unit for that (AMX-BF16), else ``float32``.
    public static var fastestOnCPU: Precision { ctorch_cpu_prefers_bfloat16() ? .bfloat16 : .float32 }

    var code: ctorch_precision {
        switch self {
        case .float32: CTORCH_FLOAT32
        case .bfloat16: CTORCH_BFLOAT16
        case .float16: CTORCH_FLOAT16
        }
    }
}

/// What the caller expects a model's `forward` to take and to return.
public struct Signature: Sendable, Hashable {
    /// How many tensors of 64-bit integers it takes; at least 1.
    public var inputs: Int
    /// How many dimensions each floating-point tensor has that it returns; at least one tensor.
    public var outputRanks: [Int]

    /// A signature by its parts.
    public init(inputs: Int, outputRanks: [Int]) {
        self.inputs = inputs
        self.outputRanks = outputRanks
    }

    /// (token ids, attention mask) to (one row of values a sequence, one row of values a token).
    public static let sequenceAndTokens = Signature(inputs: 2, outputRanks: [2, 3])
}

/// A loaded TorchScript model, for use on one thread at a time. Calls block; see ``ModelInstance`` for the asynchronous form.
///
/// It owns the C module and frees it with its own last reference.
public final class ScriptModule {
    /// What was expected of the model when it was loaded.
    public let signature: Signature
    /// Bytes of all parameters, buffers and other tensors of the model; one that several attributes share counts once.
    public let parameterBytes: Int

    private let handle: OpaquePointer

    /// Loads a model.
    ///
    /// Floating-point parameters and buffers are converted to `precision`. Constants inside the model's code are not: a model to run in 16 bits on a GPU must
    /// not mix in tensors of another floating-point type. On a CPU a model that cannot be frozen, such as one that writes its own attributes, stays in 32 bits.
    /// - Parameters:
    ///   - path: a file as `torch.jit.save` writes it.
    ///   - device: `cpu`, or `cuda` or `cuda:N` where libtorch was built with CUDA.
    /// - Throws: ``TorchError`` `.fileNotFound`, `.notTorchScript`, `.wrongSignature`, `.deviceUnavailable` or `.outOfMemory`.
    public init(
        path: String, device: String = "cpu", precision: Precision = .float32, signature: Signature = .sequenceAndTokens
    ) throws(TorchError) {
        guard (1...64).contains(signature.inputs), (1...64).contains(signature.outputRanks.count) else {
            throw TorchError(
                .invalidArgument,
                "a model of \(signature.inputs) inputs and \(signature.outputRanks.count) outputs; expected 1 to 64 of each")
        }
        guard !path.utf8.contains(0), !device.utf8.contains(0) else {
            throw TorchError(.invalidArgument, "a path or a device with a NUL in it")
        }
        var module: OpaquePointer?
        try TorchError.check { message in
            ctorch_module_load(path, device, precision.code, Int32(signature.inputs), Int32(signature.outputRanks.count), &module, &message)
        }
        guard let module else { throw TorchError(.failed, "libtorch loaded \(path) and gave no module") }
        self.handle = module
        self.signature = signature
        self.parameterBytes = Int(ctorch_module_bytes(module))
    }

    deinit { ctorch_module_free(handle) }

    /// How many operators of a name, such as `aten::linear`, a forward pass calls, as the model was rewritten when it was loaded; those inside conditions, loops
    /// and modules that could not be frozen are not counted. 0 for a name that is no operator's.
    func operatorCount(_ name: String) -> Int { Int(ctorch_module_operator_count(handle, name)) }

    /// Runs one forward pass on token rows of one length.
    ///
    /// - Parameters:
    ///   - inputIDs: `rows` x `length` token ids, row by row.
    ///   - attentionMask: 1 where there is a token, 0 where there is padding; `rows` x `length`.
    /// - Returns: The outputs, of the ranks that the signature names.
    /// - Throws: ``TorchError`` `.badShape`, `.modelFailed`, `.wrongSignature` or `.outOfMemory`.
    public func forward(inputIDs: [Int64], attentionMask: [Int64], rows: Int, length: Int) throws(TorchError) -> [Tensor] {
        try forward([
            IntegerTensor(shape: [rows, length], values: inputIDs), IntegerTensor(shape: [rows, length], values: attentionMask),
        ])
    }

    /// Runs one forward pass.
    ///
    /// - Returns: The outputs, of the ranks that the signature names.
    /// - Throws: ``TorchError`` `.badShape`, `.modelFailed`, `.wrongSignature` or `.outOfMemory`.
    public func forward(_ inputs: [IntegerTensor]) throws(TorchError) -> [Tensor] {
        guard inputs.count == signature.inputs else {
            throw TorchError(.badShape, "\(inputs.count) inputs; expected \(signature.inputs)")
        }
        let ranks = inputs.map { Int32($0.shape.count) }
        let dimensions = inputs.flatMap { $0.shape.map(Int64.init) }
        var pointers: [UnsafePointer<Int64>?] = []
        pointers.reserveCapacity(inputs.count)
        return try withPointers(to: inputs[...], collected: &pointers) { pointers throws(TorchError) in
            var outputs: OpaquePointer?
            try TorchError.check { message in
                ctorch_module_forward(handle, pointers, ranks, dimensions, Int32(pointers.count), &outputs, &message)
            }
            defer { ctorch_outputs_free(outputs) }
            guard let outputs else { throw TorchError(.failed, "libtorch gave no outputs") }
            return try copied(outputs)
        }
    }

    /// Collects a pointer to the values of each input and calls `body` while all of them are valid.
    private func withPointers(
        to inputs: ArraySlice<IntegerTensor>, collected pointers: inout [UnsafePointer<Int64>?],
        _ body: ([UnsafePointer<Int64>?]) throws(TorchError) -> [Tensor]
    ) throws(TorchError) -> [Tensor] {
        guard let first = inputs.first else { return try body(pointers) }
        return try first.values.withUnsafeBufferPointer { buffer throws(TorchError) in
            pointers.append(buffer.baseAddress)
            return try withPointers(to: inputs.dropFirst(), collected: &pointers, body)
        }
    }

    private func copied(_ outputs: OpaquePointer) throws(TorchError) -> [Tensor] {
        var tensors: [Tensor] = []
        for (index, expected) in signature.outputRanks.enumerated() {
            let index = Int32(index)
            let shape = (0..<ctorch_output_rank(outputs, index)).map { Int(ctorch_output_dimension(outputs, index, $0)) }
            guard shape.count == expected else {
                throw TorchError(.wrongSignature, "output \(index) has shape \(shape); expected \(expected) dimensions")
            }
            let count = shape.reduce(1, *)
            var failure: TorchError?
            let values = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
                do throws(TorchError) {
                    try TorchError.check { message in ctorch_output_copy(outputs, index, buffer.baseAddress, Int64(count), &message) }
                    initialized = count
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            tensors.append(Tensor(shape: shape, values: values))
        }
        return tensors
    }
}
