import Conversation
import Dialogue
import DialogueService
import Foundation
import Logging
import RPC
import ServiceKit
import ServiceLifecycle

/// What the settings say of an experiment: its file, and the domains that its variants name.
struct ExperimentPlan {
    /// The experiment; nil: none runs.
    let experiment: Experiment?
    /// Each folder of a domain once, the orchestrator's own first.
    let folders: [DomainFolder]
    /// The folder of each variant's domain, by its place in ``folders``.
    private let places: [Int]

    /// The catalogue of the orchestrator's own domain.
    var domains: DomainCatalog { folders[0].domains }

    /// Reads the experiment and all domains.
    ///
    /// - Parameter directory: The orchestrator's own domain.
    /// - Throws: `DomainError` with everything that is wrong with the first file or domain that is at fault.
    init(_ settings: Settings, directory: String) throws {
        experiment = try settings.string("experiment").map { path throws(DomainError) in try Experiment.load(file: path) }
        var directories = [directory]
        places = (experiment?.variants ?? []).map { variant in
            guard let own = variant.domain else { return 0 }
            if let known = directories.firstIndex(where: { Self.resolved($0) == Self.resolved(own) }) { return known }
            directories.append(own)
            return directories.count - 1
        }
        let loaded = try directories.map { directory throws(DomainError) in try Domain.load(directory: directory) }
        folders = zip(directories, DomainCatalog.sideBySide(loaded)).map { DomainFolder(directory: $0, domains: $1) }
    }

    private static func resolved(_ directory: String) -> String { URL(filePath: directory).resolvingSymlinksInPath().path }

    /// The experiment at work; nil: none runs.
    ///
    /// - Parameters:
    ///   - parts: What there is; a variant may leave small talk out.
    ///   - channel: To the intent servers.
    ///   - taker: Makes a turn taker out of a variant's own parts.
    /// - Throws: ``SettingsError`` where a variant needs what is not configured.
    func running(
        registry: MetricsRegistry, parts: OptionalParts, channel: Channel, logger: Logger,
        taker: (_ variant: String, _ domains: DomainCatalog, _ recognizer: any Recognizer, _ parts: OptionalParts) -> TurnTaker
    ) throws -> RunningExperiment? {
        guard let experiment else { return nil }
        let missing = registry.counters(
            "kefu_dialogue_variant_model_missing_total",
            "Recognitions for which the intent server's default stood in, because it does not have the model of the variant.",
            labels: ["experiment", "variant"])
        return try RunningExperiment(experiment, registry: registry) { variant in
            let domains = folders[places[experiment.variants.firstIndex { $0.name == variant.name } ?? 0]].domains
            let recognizer: any Recognizer
            if let model = variant.model {
                recognizer = VariantRecognizer(
                    channel: channel, variant: variant.name, model: model, counter: missing(experiment.name, variant.name), logger: logger)
            } else {
                recognizer = RemoteRecognizer(channel: channel)
            }
            return taker(variant.name, domains, recognizer, try optionalParts(of: variant, parts, domains))
        }
    }

    private func optionalParts(of variant: Experiment.Variant, _ parts: OptionalParts, _ domains: DomainCatalog) throws(SettingsError)
        -> OptionalParts
    {
        var parts = parts
        if variant.chitchat == false { parts.chitchat = nil }
        if variant.chitchat == true, parts.chitchat == nil {
            throw SettingsError(
                "the variant '\(variant.name)' has 'chitchat: true', and no small talk is there; --chitchat HOST:PORT is expected")
        }
        if variant.domain != nil { parts.chitchat = parts.chitchat.map { FilteredChitchat($0) { domains.current.smallTalk } } }
        return parts
    }

    /// Events of turns, and the services that write them, in the order in which they may be shut down last; nil: nothing is asked for.
    ///
    /// - Throws: ``SettingsError`` where a setting is at fault.
    func events(
        _ settings: Settings, store: any SessionStore, channel: Channel, registry: MetricsRegistry, logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) throws -> (events: TurnEvents, services: [any ServiceLifecycle.Service])? {
        let (file, key) = (settings.string("events"), settings.string("events-redis"))
        let hasShadow = experiment?.variants.contains { $0.shadow != nil } ?? false
        guard file != nil || key != nil else {
            if hasShadow {
                throw SettingsError("a variant has a shadow, which is only logged; --events FILE or --events-redis KEY is expected")
            }
            return nil
        }
        let format = try format(settings)
        let counters = TurnEventSink.counters(registry)
        var sinks: [TurnEventSink] = []
        if let file {
            sinks.append(
                try .file(
                    file, bytes: try settings.int("events-bytes", default: 64 << 20, in: 1 << 10...1 << 40),
                    files: try settings.int("events-files", default: 8, in: 1...1000), format: format, counters: counters, logger: logger))
        }
        if let key {
            guard let store = store as? RedisSessionStore else {
                throw SettingsError(
                    "--events-redis is a stream in the Redis of --redis, and that is memory:; redis://HOST:PORT is expected")
            }
            let length = try settings.int("events-redis-length", default: 100_000, in: 1...1_000_000_000)
            sinks.append(.stream(key, length: length, store: store, format: format, counters: counters, logger: logger))
        }
        let places = try settings.int("shadow-in-flight", default: 64, in: 1...65_536)
        let lane = hasShadow ? ShadowLane(channel: channel, concurrency: places, registry: registry) : nil
        let services: [any ServiceLifecycle.Service] = sinks + (lane.map { [$0] } ?? [])
        return (TurnEvents(experiment: experiment, sinks: sinks, shadows: lane, now: now), services)
    }

    private func format(_ settings: Settings) throws(SettingsError) -> TurnEventFormat {
        let secret = try settings.secret("events-salt")
        if let secret, secret.utf8.count < 16 {
            throw SettingsError(
                "the salt of --events-salt-file (or KEFU_EVENTS_SALT) has \(secret.utf8.count) bytes; 16 or more are expected")
        }
        guard let salt = secret ?? experiment?.salt else {
            throw SettingsError(
                "events name users under a secret; --events-salt-file FILE or KEFU_EVENTS_SALT is expected, or an experiment")
        }
        let domains = domains
        let domain: @Sendable (String) -> Domain = { domains.domain(version: $0) }
        return TurnEventFormat(
            experiment: experiment?.name ?? "", salt: salt, domain: try settings.flag("events-text") ? domain : nil)
    }
}
