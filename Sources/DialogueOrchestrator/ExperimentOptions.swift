import ArgumentParser
import Dialogue
import DialogueService
import Logging
import RPC
import ServiceKit
import ServiceLifecycle

/// Experiments, and where events of turns go.
struct ExperimentOptions: ParsableArguments {
    @Option(help: "The file of an experiment: which share of users gets which variant. It is read once, at the start. (default: none)")
    var experiment: String?
    @Option(help: "A file that gets a line of JSON for each turn; one of its own for each process. (default: none)")
    var events: String?
    @Option(help: "How large that file may become before a new one is begun, in bytes. (default: 67108864)")
    var eventsBytes: String?
    @Option(help: "How many such files are kept, the one under way included. (default: 8)")
    var eventsFiles: String?
    @Flag(help: "Write what customers wrote into events, sensitive slots masked.")
    var eventsText = false
    @Option(help: "The key of a stream in the Redis of --redis that gets an entry for each turn. (default: none)")
    var eventsRedis: String?
    @Option(help: "About how many entries that stream keeps. (default: 100000)")
    var eventsRedisLength: String?
    @Option(
        help:
            "A file with the secret under which events name users, 16 bytes or more; or KEFU_EVENTS_SALT. (default: the experiment's salt)"
    )
    var eventsSaltFile: String?
    @Option(help: "How many recognitions of shadows may be under way; more are dropped. (default: 64)")
    var shadowInFlight: String?

    /// The flags that were given, by key.
    var flags: [String: String?] {
        [
            "experiment": experiment, "events": events, "events-bytes": eventsBytes, "events-files": eventsFiles,
            "events-text": eventsText ? "true" : nil, "events-redis": eventsRedis, "events-redis-length": eventsRedisLength,
            "events-salt-file": eventsSaltFile, "shadow-in-flight": shadowInFlight,
        ]
    }
}
