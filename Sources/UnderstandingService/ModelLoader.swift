public import Batching
public import Conversation
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
    /// The most utterances of one forward pass, up to which a model is warmed.
    public var batchSize: Int

    /// A loader by its parts.
    public init(device: String, batchSize: Int, load: @escaping @Sendable (_ bundle: ModelBundle) async throws -> LoadedModel) {
        self.device = device
        self.batchSize = batchSize
        self.load = load
    }

    /// Instances of a TorchScript model, each on a thread of its own.
    ///
    /// - Parameters:
    ///   - device: `cpu`, or `cuda:N` where libtorch has CUDA.
    ///   - workers: Instances of a model.
    ///   - threads: Threads of one forward pass; ``checkThreads(workers:threads:cores:)`` says how many there may be.
    ///   - engine: How utterances are batched and answers kept.
    ///   - observe: What is told of a model's batches, by the model's name.
    /// - Throws: `TorchError` where the number of threads cannot be set.
    public static func torch(
        device: String, workers: Int, threads: Int, engine configuration: RecognitionEngine.Configuration,
        observe: (@Sendable (_ model: String) -> @Sendable (BatchEvent) -> Void)? = nil
    ) throws -> ModelLoader {
        try TorchRuntime.setIntraOpThreads(threads)
        return ModelLoader(device: device, batchSize: configuration.batchSize) { bundle in
            var instances: [ModelInstance] = []
            do {
                for worker in 0..<workers {
                    instances.append(
                        try await ModelInstance.load(path: bundle.modelPath, device: device, name: "\(bundle.manifest.name)-\(worker)"))
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
