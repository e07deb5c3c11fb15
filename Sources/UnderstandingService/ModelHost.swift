public import Conversation
public import Logging
import Synchronization
import Torch
public import Understanding

/// The models that an intent server has: loads them, warms them, finds the one that a request names, and lets them go.
public final class ModelHost: Sendable {
    /// How models are run.
    public struct Configuration: Sendable {
        /// Where: `cpu`, or `cuda:N` where libtorch has CUDA.
        public var device = "cpu"
        /// Instances of a model, each on a thread of its own.
        public var workers = 1
        /// Threads of one forward pass; workers × threads should not exceed the cores.
        public var threads = 1
        /// The most utterances of one forward pass.
        public var batchSize = 32
        /// The most utterances that may wait; more are refused.
        public var waiting = 1024
        /// The name of the model that answers where a request names none; nil: the first by name.
        public var defaultModel: String?

        /// The defaults.
        public init() {}
    }

    private struct Hosted {
        var bundle: ModelBundle
        var state: ModelDescription.State
        var engine: RecognitionEngine?
        var instances: [ModelInstance] = []
        var memoryBytes: UInt64 = 0
    }

    private let configuration: Configuration
    private let logger: Logger
    private let models: Mutex<[Hosted]>
    private let defaultName: String

    /// Makes torch's threads wait passively instead of spinning, which on shared cores takes many times as long (measured: BERT-GRU 384 x 6,
    /// 1 x 16 tokens, 2 threads on 2 busy cores: 2 passes in 0.84 s spinning, 81 in 1.01 s passive). To be called first of all: it starts
    /// the program anew where the environment does not say how to wait.
    ///
    /// - Throws: `TorchError` where that cannot be done; the caller may go on, slower.
    public static func prepareProcess() throws { try TorchRuntime.restartToWaitPassively() }

    /// Reads and checks the highest version of every model in a folder. None is loaded yet.
    ///
    /// - Throws: `BundleError`, which names file and field; ``ConversationError`` where the default model is not there.
    public init(directory: String, configuration: Configuration, logger: Logger) throws {
        let bundles = try ModelRepository(directory: directory).loadLatest()
        let names = bundles.map(\.manifest.name)
        let name = configuration.defaultModel ?? names[0]
        guard names.contains(name) else {
            throw ConversationError(
                .notFound, "the default model \(name) is not in \(directory), which has \(names.joined(separator: ", "))")
        }
        self.configuration = configuration
        self.logger = logger
        defaultName = name
        models = Mutex(bundles.map { Hosted(bundle: $0, state: .loading) })
    }

    /// Loads and warms every model. Until a model is warm, requests for it are `UNAVAILABLE`.
    ///
    /// - Throws: `TorchError` or `BundleError` of the first model that cannot be loaded or gives other outputs than its manifest says.
    public func load() async throws {
        try TorchRuntime.setIntraOpThreads(configuration.threads)
        let bundles = models.withLock { $0.map(\.bundle) }
        for (index, bundle) in bundles.enumerated() {
            let began = ContinuousClock.now
            do {
                try await load(bundle, at: index)
            } catch {
                models.withLock { $0[index].state = .failed }
                throw error
            }
            logger.info("model is ready", metadata: ["model": "\(bundle.id)", "took": "\(ContinuousClock.now - began)"])
        }
    }

    private func load(_ bundle: ModelBundle, at index: Int) async throws {
        var instances: [ModelInstance] = []
        for worker in 0..<configuration.workers {
            instances.append(
                try await ModelInstance.load(
                    path: bundle.modelPath, device: configuration.device, name: "\(bundle.manifest.name)-\(worker)"))
        }
        let engine = RecognitionEngine(
            bundle: bundle, workers: instances.map(TorchForwardPass.init),
            configuration: .init(batchSize: configuration.batchSize, waiting: configuration.waiting))
        models.withLock {
            $0[index].state = .warming
            $0[index].instances = instances
        }
        try await engine.warmUp(warmUpShapes(bundle))
        var memory = 0
        for instance in instances { memory += await instance.parameterBytes }
        models.withLock { [memory] in
            $0[index].memoryBytes = UInt64(memory)
            $0[index].engine = engine
            $0[index].state = .ready
        }
    }

    /// Powers of two up to the largest batch, at lengths of a fragment, a sentence, and a story.
    private func warmUpShapes(_ bundle: ModelBundle) -> [(rows: Int, length: Int)] {
        var rows = [1]
        while let last = rows.last, last < configuration.batchSize { rows.append(min(last * 2, configuration.batchSize)) }
        return rows.flatMap { rows in [8, 16, 32, 64].map { (rows, min($0, bundle.manifest.maximumLength)) } }
    }

    /// The engine of the model that a request names, or of the default model.
    ///
    /// - Throws: ``ConversationError``: `.notFound`, or `.unavailable` while it is starting or draining.
    public func engine(for selector: ModelSelector?) throws(ConversationError) -> RecognitionEngine {
        let name = selector?.name ?? defaultName
        let (found, known) = models.withLock { models in
            (
                models.first { model in
                    model.bundle.manifest.name == name && selector?.version.map { $0 == "\(model.bundle.manifest.version)" } ?? true
                },
                models.map(\.bundle.id)
            )
        }
        guard let found else {
            let asked = selector?.description ?? defaultName
            throw ConversationError(.notFound, "there is no model \"\(asked)\"; there is \(known.joined(separator: ", "))")
        }
        guard let engine = found.engine else { throw ConversationError(.unavailable, "model \(found.bundle.id) is \(found.state)") }
        return engine
    }

    /// The models, and what became of them.
    public var descriptions: [ModelDescription] {
        models.withLock { models in
            models.map { hosted in
                let manifest = hosted.bundle.manifest
                return ModelDescription(
                    name: manifest.name, version: "\(manifest.version)", state: hosted.state, isDefault: manifest.name == defaultName,
                    device: configuration.device, intents: manifest.intents, slotLabels: manifest.slotLabels.names,
                    memoryBytes: hosted.memoryBytes, sha256: manifest.files["model.pt"]?.sha256 ?? "")
            }
        }
    }

    /// Lets what waits finish, refuses what comes, and frees the models.
    public func drain() async {
        let hosted = models.withLock { models in
            for index in models.indices { models[index].state = .draining }
            return models
        }
        for model in hosted {
            await model.engine?.drain()
            for instance in model.instances { await instance.unload() }
        }
    }
}
