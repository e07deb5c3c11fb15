public import ArgumentParser

/// The flags that both programs have: who may come in, how a server ends, and what is told of it.
public struct CommonOptions: ParsableArguments {
    @Option(help: "A file with the bearer token that HTTP asks for, or set KEFU_HTTP_TOKEN; probes need none. (default: none asked for)")
    var httpTokenFile: String?
    @Option(help: "How long calls under way may go on after SIGTERM, in milliseconds. (default: 10000)")
    var graceMs: String?
    @Option(
        help:
            "After how long clients are told to connect anew, in milliseconds, so that they find servers that were added; 0: never. (default: 0)"
    )
    var connectionAgeMs: String?
    @OptionGroup var tls: TLSOptions
    @Option(help: "mTLS: the authorities that clients' certificates must come from, PEM. (default: clients need none)")
    var tlsClientCaFile: String?
    @Option(help: "mTLS: a file of who may call what: 'NAME package.Service/Method…' a line. (default: whoever can connect may call all)")
    var tlsCallersFile: String?
    @Option(help: "How often the files of TLS are looked at for changes, in milliseconds; 0: never. (default: 10000)")
    var tlsPollMs: String?
    @Option(
        help: "Where spans are sent: the HOST:PORT of an OpenTelemetry collector's OTLP/gRPC, by TLS with tls: in front. (default: nowhere)"
    )
    var otlp: String?
    @Option(help: "The share of new traces that is sampled, 0 to 1; a trace that comes in keeps its decision. (default: 0.01)")
    var traceRatio: String?
    @Option(help: "How the log is written: text, or json, an object a line. (default: text)")
    var logFormat: String?
    @Option(help: "trace, debug, info, warning or error. (default: info)")
    var logLevel: String?
    /// The path of a YAML file of settings.
    @Option(help: "A YAML file of settings.")
    public var settings: String?

    /// No flag given.
    public init() {}

    /// The flags that were given, by key.
    public var flags: [String: String?] {
        [
            "http-token-file": httpTokenFile, "grace-ms": graceMs, "connection-age-ms": connectionAgeMs,
            "tls-client-ca-file": tlsClientCaFile, "tls-callers-file": tlsCallersFile, "tls-poll-ms": tlsPollMs, "otlp": otlp,
            "trace-ratio": traceRatio, "log-format": logFormat, "log-level": logLevel,
        ].merging(tls.flags) { $1 }
    }
}
