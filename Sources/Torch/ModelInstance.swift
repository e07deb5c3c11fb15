/// A TorchScript model on a thread of its own.
///
/// Every call runs on that thread, one after the other in the order of arrival, never on the cooperative pool: a forward pass blocks
/// nobody but the callers behind it. ``unload()`` frees the model; the thread ends with the last reference to the instance.
public actor ModelInstance {
    /// The path that the model was loaded from.
    public nonisolated let path: String

    private let executor: ThreadExecutor
    private var module: ScriptModule?

    /// The thread of the instance.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private init(path: String, name: String) throws(TorchError) {
        self.path = path
        self.executor = try ThreadExecutor(name: name)
    }

    /// Starts a thread and loads a model on it.
    ///
    /// - Parameters:
    ///   - path: a file as `torch.jit.save` writes it.
    ///   - device: `cpu`, or `cuda` or `cuda:N` where libtorch was built with CUDA.
    ///   - name: the name of the thread, as `top -H` shows it; cut to 15 bytes.
    /// - Throws: ``TorchError`` as ``ScriptModule/init(path:device:precision:signature:)``, and `.failed` where no thread can be started.
    public static func load(
        path: String, device: String = "cpu", precision: Precision = .float32, signature: Signature = .sequenceAndTokens,
        name: String = "torch"
    ) async throws(TorchError) -> ModelInstance {
        let instance = try ModelInstance(path: path, name: name)
        try await instance.open(device: device, precision: precision, signature: signature)
        return instance
    }

    /// Whether the model is loaded.
    public var isLoaded: Bool { module != nil }

    /// Bytes of all parameters, buffers and other tensors of the model; 0 after ``unload()``.
    public var parameterBytes: Int { module?.parameterBytes ?? 0 }

    /// Runs one forward pass of every shape, so that no later call of such a shape meets a first time.
    ///
    /// The rows hold token id 0 everywhere, and a mask of 1.
    /// - Throws: ``TorchError`` of the first shape that fails, as ``forward(inputIDs:attentionMask:rows:length:)``.
    public func warm(_ shapes: [BatchShape]) throws(TorchError) {
        let module = try loaded()
        for shape in shapes {
            let (count, overflow) = shape.rows.multipliedReportingOverflow(by: shape.length)
            guard shape.rows >= 1, shape.length >= 1, !overflow, count <= Int(Int32.max) else {
                throw TorchError(
                    .badShape, "\(shape.rows) rows of \(shape.length) tokens; expected at least 1 of each, fewer than 2^31 in all")
            }
            _ = try module.forward(
                inputIDs: [Int64](repeating: 0, count: count), attentionMask: [Int64](repeating: 1, count: count), rows: shape.rows,
                length: shape.length)
        }
    }

    /// Runs one forward pass on token rows of one length.
    ///
    /// - Parameters:
    ///   - inputIDs: `rows` x `length` token ids, row by row.
    ///   - attentionMask: 1 where there is a token, 0 where there is padding; `rows` x `length`.
    /// - Returns: The outputs, of the ranks that the signature names.
    /// - Throws: ``TorchError`` `.badShape`, `.modelFailed`, `.wrongSignature`, `.outOfMemory`, or `.unloaded` after ``unload()``.
    public func forward(inputIDs: [Int64], attentionMask: [Int64], rows: Int, length: Int) throws(TorchError) -> [Tensor] {
        try loaded().forward(inputIDs: inputIDs, attentionMask: attentionMask, rows: rows, length: length)
    }

    /// Runs one forward pass.
    ///
    /// - Throws: ``TorchError`` as ``forward(inputIDs:attentionMask:rows:length:)``.
    public func forward(_ inputs: [IntegerTensor]) throws(TorchError) -> [Tensor] {
        try loaded().forward(inputs)
    }

    /// Frees the model. Calls that arrived earlier are answered first; later ones get `.unloaded`. Doing it again does nothing.
    public func unload() {
        module = nil
    }

    private func open(device: String, precision: Precision, signature: Signature) throws(TorchError) {
        module = try ScriptModule(path: path, device: device, precision: precision, signature: signature)
    }

    private func loaded() throws(TorchError) -> ScriptModule {
        guard let module else { throw TorchError(.unloaded, "the model \(path) was unloaded") }
        return module
    }
}
