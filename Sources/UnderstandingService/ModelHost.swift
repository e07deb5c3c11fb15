public import Conversation
public import Logging
import Synchronization
public import Understanding

/// The models that an intent server has: keeps up with their folder, finds the one that a request names, recognises with it, and lets it go when its
/// folder has.
public final class ModelHost: Sendable {
    /// Which models are served.
    public struct Configuration: Sendable {
        /// Which versions of each model.
        public var versions = VersionPolicy.latest(1)
        /// The model, version or cascade that answers where a request names none; nil: the first model by name, as it is found at the start.
        public var defaultModel: ModelSelector?
        /// Pairs of models behind names of their own. Such a name stands before that of a model.
        public var cascades: [Cascade] = []

        /// The defaults.
        public init() {}
    }

    let directory: String
    let configuration: Configuration
    let loader: ModelLoader
    let logger: Logger
    let models = Mutex(HostedModels())
    let reloading = Mutex(Reloading())
    /// What answers where a request names no model.
    let defaultModel: ModelSelector
    private let cascades: [String: Cascade]

    /// Looks into the folder of models. None is read yet.
    ///
    /// - Throws: `BundleError` where the folder holds no model; ``/Conversation/ConversationError`` where the default or a part of a cascade is not there.
    public init(directory: String, configuration: Configuration, loader: ModelLoader, logger: Logger) throws {
        let names = try ModelRepository(directory: directory).versions.keys.sorted()
        let cascades = Dictionary(grouping: configuration.cascades, by: \.name)
        func check(_ selector: ModelSelector, _ role: String, _ names: [String]) throws(ConversationError) {
            guard names.contains(selector.name) else {
                throw ConversationError(
                    .notFound, "\(role) \(selector) is not in \(directory), which has \(names.joined(separator: ", "))")
            }
        }
        for (name, cascades) in cascades {
            guard cascades.count == 1 else { throw ConversationError(.invalidArgument, "\(cascades.count) cascades have the name \(name)") }
            guard !names.contains(name) else {
                throw ConversationError(
                    .invalidArgument, "the cascade \(name) has the name of a model in \(directory); another is expected")
            }
            try check(cascades[0].light, "the light model of the cascade \(name)", names)
            try check(cascades[0].heavy, "the heavy model of the cascade \(name)", names)
        }
        let fallback = try names.first.map { try ModelSelector($0) }
        guard let selector = configuration.defaultModel ?? fallback else {
            throw ConversationError(.notFound, "there is no model in \(directory)")
        }
        if selector.version != nil || cascades[selector.name] == nil {
            try check(selector, "the default model", names + cascades.keys.sorted())
        }
        self.directory = directory
        self.configuration = configuration
        self.loader = loader
        self.logger = logger
        self.cascades = cascades.compactMapValues(\.first)
        defaultModel = selector
    }

    /// Recognises what a request asks for, with the model or the cascade that it names, or with the default.
    ///
    /// - Parameter deadline: When an answer is of no use any more.
    /// - Throws: ``/Conversation/ConversationError``: `.notFound` where there is no such model, `.unavailable` while it is starting or draining, and as the
    ///   engine does.
    public func recognize(
        _ request: RecognitionRequest, deadline: ContinuousClock.Instant? = nil
    ) async throws(ConversationError) -> Recognition {
        let selector = request.model ?? defaultModel
        if selector.version == nil, let cascade = cascades[selector.name] {
            return try await cascade.recognize { (selector) async throws(ConversationError) in
                try await ask(selector, request, deadline)
            }
        }
        return try await ask(selector, request, deadline)
    }

    private func ask(
        _ selector: ModelSelector, _ request: RecognitionRequest, _ deadline: ContinuousClock.Instant?
    ) async throws(ConversationError) -> Recognition {
        let lease = try models.withLock { models throws(ConversationError) in try models.acquire(selector) }
        defer { models.withLock { $0.release(lease.version) }?.resume() }
        return try await lease.model.engine.recognize(
            request.utterance, topK: request.topK, priority: request.priority, deadline: deadline)
    }

    /// The models and what became of them, by name and version; then the cascades.
    ///
    /// A cascade has no version and no file; its state and labels are those of its heavy model.
    public var descriptions: [ModelDescription] {
        let models = models.withLock { $0 }
        let isCascade = defaultModel.version == nil && cascades[defaultModel.name] != nil
        let answering = isCascade ? nil : models.version(of: defaultModel)
        let single = models.entries.sorted { $0.key < $1.key }.map { version, entry in
            describe(version, entry, isDefault: version == answering)
        }
        return single
            + cascades.values.sorted { $0.name < $1.name }.map { cascade in
                let heavy = models.version(of: cascade.heavy).flatMap { version in models.entries[version].map { (version, $0) } }
                var description =
                    heavy.map { describe($0, $1, isDefault: false) }
                    ?? describe(ModelVersion(name: cascade.name, number: 0), .init(state: .failed, fingerprint: []), isDefault: false)
                description.name = cascade.name
                description.version = ""
                description.isDefault = isCascade && defaultModel.name == cascade.name
                description.memoryBytes = 0
                description.sha256 = ""
                return description
            }
    }

    /// The model or cascade that a request would be answered by now; nil selector: the default.
    ///
    /// - Throws: ``/Conversation/ConversationError`` with code `.notFound` where there is none of the name.
    public func description(of selector: ModelSelector?) throws(ConversationError) -> ModelDescription {
        let selector = selector ?? defaultModel
        let named = descriptions.filter { $0.name == selector.name && (selector.version ?? $0.version) == $0.version }
        guard let found = named.last(where: { $0.state == .ready }) ?? named.last else {
            throw ConversationError(.notFound, "there is no model \"\(selector)\"")
        }
        return found
    }

    private func describe(_ version: ModelVersion, _ entry: HostedModels.Entry, isDefault: Bool) -> ModelDescription {
        let manifest = entry.bundle?.manifest
        return ModelDescription(
            name: version.name, version: "\(version.number)", state: entry.state, isDefault: isDefault, device: loader.device,
            precision: loader.precision, intents: manifest?.intents ?? [], slotLabels: manifest?.slotLabels.names ?? [],
            memoryBytes: entry.model?.memoryBytes ?? 0,
            sha256: manifest?.files["model.pt"]?.sha256 ?? "")
    }
}
