import Conversation
import Dispatch
import Logging
import Synchronization
import Understanding

extension ModelHost {
    /// Reloads that are under way: one that runs, and one that begins when it ends.
    struct Reloading: Sendable {
        var running: Task<Void, Never>?
        var next: Task<Void, Never>?
        /// What was wrong with the folder when it was last looked at.
        var complaint: String?
        var isClosed = false
    }

    /// Loads and warms every model. Until a model is warm, requests for it are `UNAVAILABLE`.
    ///
    /// A version that is refused is logged, and the next lower one of its model stands in for it.
    /// - Throws: What is wrong with the default model, where it cannot be served; `CancellationError` where the task is cancelled.
    public func load() async throws {
        await withTaskCancellationHandler {
            await reload()
        } onCancel: {
            reloading.withLock { $0.running }?.cancel()
        }
        try Task.checkCancellation()
        let cascade = configuration.cascades.first { defaultModel.version == nil && $0.name == defaultModel.name }
        if let problem = models.withLock({ $0.problem(of: cascade?.heavy ?? defaultModel) }) { throw problem }
    }

    /// Looks into the folder and does what changed: new versions are loaded and warmed beside the old ones and take over, versions that are gone are drained
    /// and freed. A bundle that is refused is logged, and tried again when its files change. Requests go on meanwhile.
    ///
    /// Returns when that is done. Reloads that are asked for while one runs become one after it.
    public func reload() async {
        let task = reloading.withLock { state -> Task<Void, Never>? in
            guard !state.isClosed else { return nil }
            if let next = state.next { return next }
            let before = state.running
            let task = Task.detached { [self] in
                await before?.value
                reloading.withLock { state in
                    guard before != nil else { return }
                    state.running = state.next
                    state.next = nil
                }
                await update()
                reloading.withLock { state in
                    if state.next == nil { state.running = nil }
                }
            }
            if before == nil { state.running = task } else { state.next = task }
            return task
        }
        await task?.value
    }

    /// Lets what waits finish, refuses what comes, and frees the models.
    public func drain() async {
        let tasks = reloading.withLock { state in
            state.isClosed = true
            return [state.running, state.next]
        }
        for task in tasks {
            task?.cancel()
            await task?.value
        }
        let versions = models.withLock { models in
            models.close()
            return models.entries.keys.sorted()
        }
        for version in versions { await unload(version) }
    }

    /// Compares the folder with what is served, once.
    private func update() async {
        let repository: ModelRepository
        do {
            repository = try await Self.onThreadOfItsOwn { [directory] () throws(BundleError) in try ModelRepository(directory: directory) }
        } catch {
            // An empty or absent folder is a mount that went away rather than a wish: what is served stays.
            let complaint = "\(error)"
            if reloading.withLock({ state in
                defer { state.complaint = complaint }
                return state.complaint != complaint
            }) {
                logger.error("the model repository cannot be read; what is served stays", metadata: ["error": "\(error)"])
            }
            return
        }
        reloading.withLock { $0.complaint = nil }
        let known = models.withLock { $0.entries.keys.map(\.name) }
        for name in Set(known).union(repository.versions.keys).sorted() {
            await update(name, repository)
        }
    }

    /// Loads what is new of a model, and then unloads what is not wanted any more.
    private func update(_ name: String, _ repository: ModelRepository) async {
        let found = repository.versions[name] ?? []
        let pins = [defaultModel] + configuration.cascades.flatMap { [$0.light, $0.heavy] }
        let pinned = Set(pins.compactMap { try? ModelVersion($0) }.filter { $0.name == name }.map(\.number))
        var fingerprints: [ModelVersion: [String]] = [:]
        for number in found {
            let version = ModelVersion(name: name, number: number)
            fingerprints[version] = await Self.onThreadOfItsOwn { repository.fingerprint(of: version) }
        }
        func wanted() -> Set<Int> {
            let refused = models.withLock { models in
                models.versions(of: name, [.failed]).filter { number in
                    let version = ModelVersion(name: name, number: number)
                    return models.entries[version]?.fingerprint == fingerprints[version]
                }
            }
            return configuration.versions.wanted(of: found, refused: refused, pinned: pinned)
        }
        // The highest first: where it is refused, the next one is wanted.
        while !Task.isCancelled, let number = wanted().subtracting(models.withLock { $0.versions(of: name, [.ready]) }).max() {
            let version = ModelVersion(name: name, number: number)
            let fingerprint = await Self.onThreadOfItsOwn { repository.fingerprint(of: version) }
            fingerprints[version] = fingerprint
            await load(version, from: repository.directory(of: version), fingerprint: fingerprint)
        }
        guard !Task.isCancelled else { return }
        let kept = wanted()
        // Where all that is there is refused, what is served stays even if its folder is gone.
        if !kept.isEmpty || found.isEmpty {
            for number in models.withLock({ $0.versions(of: name, [.ready]) }).subtracting(kept).sorted() {
                await unload(ModelVersion(name: name, number: number))
            }
        }
        models.withLock { models in
            for number in models.versions(of: name, [.failed]).subtracting(found) {
                models.remove(ModelVersion(name: name, number: number))
            }
        }
        for (version, now) in fingerprints { warnOfChange(version, now) }
    }

    /// A version that is served is as it was loaded, whatever becomes of its files.
    private func warnOfChange(_ version: ModelVersion, _ now: [String]) {
        let changed = models.withLock { models in
            guard models.entries[version]?.state == .ready, models.entries[version]?.fingerprint != now else { return false }
            models.note(version, fingerprint: now)
            return true
        }
        if changed {
            logger.warning(
                "the files of a version that is served have changed; it stays as it was loaded: give a changed model a new version",
                metadata: ["model": "\(version)"])
        }
    }

    private func load(_ version: ModelVersion, from folder: String, fingerprint: [String]) async {
        let began = ContinuousClock.now
        models.withLock { $0.beginLoading(version, fingerprint: fingerprint) }
        do {
            let bundle = try await Self.onThreadOfItsOwn { () throws(BundleError) in try ModelBundle(directory: folder) }
            models.withLock { $0.found(version, bundle) }
            let model = try await loader.load(bundle)
            models.withLock { $0.beginWarming(version) }
            do {
                let times = try await model.engine.warmUp(
                    WarmUp.grid(batchSize: loader.batchSize, maximumLength: bundle.manifest.maximumLength))
                models.withLock { $0.ready(version, model) }
                logger.info(
                    "model is ready",
                    metadata: [
                        "model": "\(version)", "precision": "\(loader.precision)", "took": "\(began.duration(to: .now))",
                        "largest batch": "\(times.last.map { "\($0.rows) x \($0.length) in \($0.median)" } ?? "")",
                    ])
            } catch {
                await model.unload()
                throw error
            }
        } catch is CancellationError {
            models.withLock { $0.remove(version) }
        } catch {
            models.withLock { $0.failed(version, error) }
            logger.error("model is refused; what is served stays", metadata: ["model": "\(version)", "error": "\(error)"])
        }
    }

    /// Lets requests for a version finish, and frees it.
    private func unload(_ version: ModelVersion) async {
        await withCheckedContinuation { continuation in
            models.withLock { $0.beginDraining(version, continuation) }?.resume()
        }
        let model = models.withLock { $0.entries[version]?.model }
        // Nobody waits for it any more, but a batch whose callers have left may still run.
        await model?.engine.drain()
        await model?.unload()
        models.withLock { $0.remove(version) }
        if model != nil { logger.info("model is gone", metadata: ["model": "\(version)"]) }
    }

    /// Runs what reads files, and may take long, beside the threads that serve requests.
    private static func onThreadOfItsOwn<T: Sendable, E: Error>(_ body: @escaping @Sendable () throws(E) -> T) async throws(E) -> T {
        let result = await withCheckedContinuation { continuation in
            files.async { continuation.resume(returning: Result(catching: body)) }
        }
        return try result.get()
    }

    private static let files = DispatchQueue(label: "model-files")
}
