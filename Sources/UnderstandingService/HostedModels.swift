import Conversation
import Understanding

/// The versions that a host knows, what became of each, and who uses it: a value without a lock.
///
/// A request holds a lease from the moment it finds its model to the moment it is answered. A version that is to go is found by nobody any more, and is freed
/// when its last lease is given back.
struct HostedModels: Sendable {
    /// One version.
    struct Entry: Sendable {
        var state: ModelDescription.State
        /// Its files when it was last looked at, see ``/Understanding/ModelRepository/fingerprint(of:)``.
        var fingerprint: [String]
        /// Known once its manifest was read.
        var bundle: ModelBundle?
        /// Known while it is in memory and warm.
        var model: LoadedModel?
        /// Why it failed.
        var failure: (any Error)?
        var leases = 0
        /// Resumed when a draining version has no lease any more.
        var drainer: CheckedContinuation<Void, Never>?
    }

    private(set) var entries: [ModelVersion: Entry] = [:]
    /// Whether the whole host is going.
    private(set) var isClosed = false

    /// Versions that are in memory, or on their way.
    func versions(of name: String, _ states: Set<ModelDescription.State>) -> Set<Int> {
        Set(entries.filter { $0.key.name == name && states.contains($0.value.state) }.map(\.key.number))
    }

    /// The version that a selector means now: the one that it names, or the highest that is ready.
    func version(of selector: ModelSelector) -> ModelVersion? {
        guard let version = selector.version else {
            return entries.filter { $0.key.name == selector.name && $0.value.state == .ready }.keys.max()
        }
        return entries.keys.first { $0.name == selector.name && "\($0.number)" == version }
    }

    /// Takes a lease of the version that a selector means.
    ///
    /// - Throws: ``/Conversation/ConversationError``: `.notFound`, or `.unavailable` where no such version is ready.
    mutating func acquire(_ selector: ModelSelector) throws(ConversationError) -> (version: ModelVersion, model: LoadedModel) {
        guard !isClosed else { throw ConversationError(.unavailable, "the server is draining") }
        if let version = version(of: selector), let entry = entries[version], entry.state == .ready, let model = entry.model {
            entries[version]?.leases += 1
            return (version, model)
        }
        let named = named(selector)
        guard !named.isEmpty else {
            let known = entries.keys.sorted().map(\.description).joined(separator: ", ")
            throw ConversationError(.notFound, "there is no model \"\(selector)\"; there is \(known.isEmpty ? "none" : known)")
        }
        let states = named.map { "\($0.key) is \($0.value.state)" }.joined(separator: ", ")
        throw ConversationError(.unavailable, "no version of \"\(selector)\" can answer: \(states)")
    }

    /// Why what a selector means cannot answer; nil: it can.
    func problem(of selector: ModelSelector) -> (any Error)? {
        var copy = self
        do {
            _ = try copy.acquire(selector)
            return nil
        } catch {
            return named(selector).compactMap(\.value.failure).last ?? error
        }
    }

    private func named(_ selector: ModelSelector) -> [(key: ModelVersion, value: Entry)] {
        entries.filter { $0.key.name == selector.name && (selector.version == nil || selector.version == "\($0.key.number)") }
            .sorted { $0.key < $1.key }
    }

    /// Gives a lease back.
    ///
    /// - Returns: Who is to be resumed.
    mutating func release(_ version: ModelVersion) -> CheckedContinuation<Void, Never>? {
        entries[version]?.leases -= 1
        return takeDrainer(version)
    }

    /// Begins to load a version, or to load it again after it failed.
    mutating func beginLoading(_ version: ModelVersion, fingerprint: [String]) {
        entries[version] = Entry(state: .loading, fingerprint: fingerprint)
    }

    /// Its manifest was read.
    mutating func found(_ version: ModelVersion, _ bundle: ModelBundle) { entries[version]?.bundle = bundle }

    /// It is in memory and runs its first batches.
    mutating func beginWarming(_ version: ModelVersion) { entries[version]?.state = .warming }

    /// It can answer.
    mutating func ready(_ version: ModelVersion, _ model: LoadedModel) {
        entries[version]?.model = model
        entries[version]?.state = .ready
    }

    /// It was refused.
    mutating func failed(_ version: ModelVersion, _ failure: any Error) {
        entries[version]?.failure = failure
        entries[version]?.state = .failed
    }

    /// The files of a version changed and it is to be left as it is.
    mutating func note(_ version: ModelVersion, fingerprint: [String]) { entries[version]?.fingerprint = fingerprint }

    /// It is gone.
    mutating func remove(_ version: ModelVersion) { entries[version] = nil }

    /// Nobody finds it any more. The drainer is resumed when its last lease is given back.
    ///
    /// - Returns: Who is to be resumed at once.
    mutating func beginDraining(_ version: ModelVersion, _ drainer: CheckedContinuation<Void, Never>) -> CheckedContinuation<Void, Never>? {
        entries[version]?.state = .draining
        entries[version]?.drainer = drainer
        return entries[version] == nil ? drainer : takeDrainer(version)
    }

    /// Nothing is found any more.
    mutating func close() { isClosed = true }

    private mutating func takeDrainer(_ version: ModelVersion) -> CheckedContinuation<Void, Never>? {
        guard entries[version]?.leases == 0, let drainer = entries[version]?.drainer else { return nil }
        entries[version]?.drainer = nil
        return drainer
    }
}
