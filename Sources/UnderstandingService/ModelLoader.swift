public import Batching
public import Conversation
import Tokenization
import Torch
public import Understanding

/// A model in memory.
public struct LoadedModel: Sendable {
    /// What recognises with it.
    public var engine: RecognitionEngine
    /// The bytes of its parameters, over all instances.
    public var memoryBytes: UInt64
    /// Frees it. Called once, when no request uses the engine any more.
    public var unload: @Sendable () async -> Void

    /// A model by its parts.
    public init(engine: RecognitionEngine, memoryBytes: UInt64, unload: @escaping @Sendable () async -> Void) {
        self.engine = engine
        self.memoryBytes = memoryBytes
        self.unload = unload
    }
}

/// How models come into memory and are run.
public struct ModelLoader: Sendable {
    /// Loads a bundle's model; it need not be warm.
    public var load: @Sendable (_ bundle: ModelBundle) async throws -> LoadedModel
    /// Where models run: `cpu`, `cuda:0`.
    public var device: String
    /// What models compute in: `float32`, `bfloat16`, `float16`.
    public var precision: String
    /// The most utterances of one forward pass, up to which a model is warmed.
    public var batchSize: Int

    /// A loader by its parts.
    public init(
        device: String, precision: String, batchSize: Int, load: @escaping @Sendable (_ bundle: ModelBundle) async throws -> LoadedModel
    ) {
        self.device = device
        self.precision = precision
        self.batchSize = batchSize
        self.load = load
    }

    /// Instances of a TorchScript model, each on a thread of its own.
    ///
    /// - Parameters:
    ///   - options: Where and how they run; ``checkThreads(workers:threads:cores:)`` says how many threads there may be.
    ///   - engine: How utterances are batched and answers kept.
    ///   - observe: What is told of a model's batches, by the model's name.
    /// - Throws: `TorchError` where the device or the precision is not available, or the number of threads cannot be set;
    ///   ``/Conversation/ConversationError`` where the options do not go together.
    public static func torch(
        _ options: TorchOptions, engine configuration: RecognitionEngine.Configuration,
        observe: (@Sendable (_ model: String) -> @Sendable (BatchEvent) -> Void)? = nil
    ) throws -> ModelLoader {
        try options.prepare()
        return ModelLoader(device: options.device, precision: options.precision.rawValue, batchSize: configuration.batchSize) { bundle in
            if TorchOptions.isGPU(options.device) { try await checkTables(of: bundle) }
            var instances: [ModelInstance] = []
            do {
                for worker in 0..<options.workers {
                    instances.append(
                        try await ModelInstance.load(
                            path: bundle.modelPath, device: options.device, precision: options.precision.torch,
                            name: "\(bundle.manifest.name)-\(worker)"))
                }
            } catch {
                for instance in instances { await instance.unload() }
                throw error
            }
            var memory = 0
            for instance in instances { memory += await instance.parameterBytes }
            return LoadedModel(
                engine: RecognitionEngine(
                    bundle: bundle, workers: instances.map(TorchForwardPass.init), configuration: configuration,
                    observe: observe?(bundle.manifest.name)),
                memoryBytes: UInt64(memory)
            ) { [instances] in
                for instance in instances { await instance.unload() }
            }
        }
    }

    /// Runs a model once on the CPU, with the last id of its vocabulary and at its greatest length.
    ///
    /// Where a bundle's vocabulary or length goes beyond the model's tables, that is an error of the pass on a CPU. On a GPU it is an assertion of the device,
    /// after which every call of the process fails, those of other models too: so it is found out here.
    /// - Throws: `TorchError` of the pass; `BundleError` where the outputs do not fit the manifest.
    public static func checkTables(of bundle: ModelBundle) async throws {
        let instance = try await ModelInstance.load(path: bundle.modelPath, name: "check")
        let length = bundle.manifest.maximumLength
        let batch = TokenBatch(
            rows: 1, length: length, inputIDs: Array(repeating: Int64(bundle.vocabulary.count - 1), count: length),
            attentionMask: Array(repeating: 1, count: length))
        let logits: Logits
        do {
            logits = try await TorchForwardPass(instance: instance).forward(batch)
        } catch {
            await instance.unload()
            throw error
        }
        await instance.unload()
        try bundle.check(logits, of: batch)
    }

    /// Checks that the threads of all instances of a model together are no more than the cores: more of them only take turns.
    ///
    /// - Throws: ``/Conversation/ConversationError`` with code `.invalidArgument`.
    public static func checkThreads(workers: Int, threads: Int, cores: Int) throws(ConversationError) {
        guard workers * threads <= cores else {
            throw ConversationError(
                .invalidArgument,
                "\(workers) workers of \(threads) threads are \(workers * threads) threads; at most \(cores) are expected, one a core of this machine"
            )
        }
    }

    /// Makes torch's threads wait passively instead of spinning, which on shared cores takes many times as long (measured: BERT-GRU 384 x 6,
    /// 1 x 16 tokens, 2 threads on 2 busy cores: 2 passes in 0.84 s spinning, 81 in 1.01 s passive). To be called first of all: it starts
    /// the program anew where the environment does not say how to wait.
    ///
    /// - Throws: `TorchError` where that cannot be done; the caller may go on, slower.
    public static func prepareProcess() throws { try TorchRuntime.restartToWaitPassively() }
}
