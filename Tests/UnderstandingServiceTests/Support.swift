import Conversation
import Foundation
import Logging
import Synchronization
import TestSupport
import Understanding
import UnderstandingService

/// Loads fakes, and knows what was loaded and freed.
final class FakeLoader: Sendable {
    struct Refused: Error, CustomStringConvertible {
        var description: String { "this model is refused" }
    }

    private struct State {
        var models: [String: FakeForwardPass] = [:]
        var loaded: [String] = []
        var freed: [String] = []
        var refused: Set<String> = []
        /// Loads that are held back, and who waits for one.
        var isHeld = false
        var held: [CheckedContinuation<Void, Never>] = []
        var watchers: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    /// Versions in the order in which they were loaded.
    var loaded: [String] { state.withLock { $0.loaded } }
    /// Versions in the order in which they were freed.
    var freed: [String] { state.withLock { $0.freed } }

    /// The model of a version, whether it is loaded already or not.
    func model(_ id: String) -> FakeForwardPass {
        state.withLock { state in
            if let model = state.models[id] { return model }
            let model = fakeModel()
            state.models[id] = model
            return model
        }
    }

    /// Loads of a version fail from now on.
    func refuse(_ id: String) { state.withLock { _ = $0.refused.insert(id) } }

    /// Loads wait from now on, until ``letGo()``.
    func hold() { state.withLock { $0.isHeld = true } }

    func letGo() {
        let held = state.withLock { state in
            state.isHeld = false
            defer { state.held = [] }
            return state.held
        }
        for continuation in held { continuation.resume() }
    }

    /// Returns when a load is held.
    func holding() async {
        await withCheckedContinuation { continuation in
            let isHolding = state.withLock { state in
                if !state.held.isEmpty { return true }
                state.watchers.append(continuation)
                return false
            }
            if isHolding { continuation.resume() }
        }
    }

    var loader: ModelLoader {
        ModelLoader(device: "cpu", precision: "float32", batchSize: 2) { [self] bundle in
            await withCheckedContinuation { continuation in
                let (goesOn, watchers) = state.withLock { state in
                    guard state.isHeld else { return (true, [CheckedContinuation<Void, Never>]()) }
                    state.held.append(continuation)
                    defer { state.watchers = [] }
                    return (false, state.watchers)
                }
                if goesOn { continuation.resume() }
                for watcher in watchers { watcher.resume() }
            }
            let id = bundle.id
            state.withLock { $0.loaded.append(id) }
            if state.withLock({ $0.refused.contains(id) }) { throw Refused() }
            let engine = RecognitionEngine(bundle: bundle, workers: [model(id)])
            return LoadedModel(engine: engine, memoryBytes: 100) { [self] in state.withLock { $0.freed.append(id) } }
        }
    }
}

/// Keeps what is logged.
struct RecordingLog: LogHandler {
    final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        /// Lines of a level, with their metadata.
        func lines(_ level: Logger.Level) -> [String] { lines.withLock { $0.filter { $0.hasPrefix("\(level) ") } } }
        func append(_ line: String) { lines.withLock { $0.append(line) } }
    }

    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let extra = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        lines.append("\(event.level) \(event.message) \(extra)")
    }
}

/// A host over bundles on disk, with fakes for models.
struct HostFixture {
    let made: TestBundle
    let fakes = FakeLoader()
    let lines = RecordingLog.Lines()
    let host: ModelHost

    init(_ made: TestBundle? = nil, _ change: (inout ModelHost.Configuration) throws -> Void = { _ in }) throws {
        self.made = try made ?? TestBundle()
        var configuration = ModelHost.Configuration()
        try change(&configuration)
        let lines = lines
        let logger = Logger(label: "test") { _ in RecordingLog(lines: lines) }
        host = try ModelHost(directory: self.made.root.path, configuration: configuration, loader: fakes.loader, logger: logger)
    }

    /// The model that recognises, as `name@version`.
    func answering(_ model: String? = nil, _ text: String = "改") async throws -> String {
        try await host.recognize(RecognitionRequest(utterance: Utterance(text), model: model.map { try ModelSelector($0) })).model
    }

    /// The code of the error that a request ends with; nil: it is answered.
    func failure(_ model: String? = nil) async -> ConversationError.Code? {
        do {
            _ = try await answering(model)
            return nil
        } catch {
            return (error as? ConversationError)?.code
        }
    }

    /// What `ListModels` tells, such as `shop@3 ready *`; the star is the default.
    var states: [String] {
        host.descriptions.map { "\($0.name)@\($0.version) \($0.state)\($0.isDefault ? " *" : "")" }
    }
}

/// Says once that something is over.
final class Flag: Sendable {
    private let value = Mutex(false)
    var isRaised: Bool { value.withLock { $0 } }
    func raise() { value.withLock { $0 = true } }
}
