public import ArgumentParser

/// The flags of who calls others by TLS.
public struct TLSOptions: ParsableArguments {
    @Option(help: "TLS: the authorities that servers at tls: addresses must come from, PEM. (default: the system's)")
    var tlsCaFile: String?
    @Option(
        help: "TLS: the certificate that this program shows, to callers and to those that it calls at tls: addresses, PEM. (default: none)")
    var tlsCertFile: String?
    @Option(help: "TLS: the key of that certificate, PEM.")
    var tlsKeyFile: String?

    /// No flag given.
    public init() {}

    /// The flags that were given, by key.
    public var flags: [String: String?] {
        ["tls-ca-file": tlsCaFile, "tls-cert-file": tlsCertFile, "tls-key-file": tlsKeyFile]
    }
}
