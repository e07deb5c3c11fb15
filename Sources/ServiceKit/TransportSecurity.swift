import Foundation
public import RPC

/// How a program's gRPC connections are secured.
///
/// - `tls-cert-file`, `tls-key-file`: what the program shows, both to those who call it and to those that it calls.
/// - `tls-client-ca-file`: mTLS: a client must show a certificate of one of these authorities.
/// - `tls-callers-file`: which clients may call which methods; see ``AllowedCallers``.
/// - `tls-ca-file`: the authorities that servers at `tls:` addresses must come from; without it, those of the system.
///
/// All files are PEM, and read once.
public struct TransportSecurity: Sendable {
    /// Of the program's own server.
    public let server: ServerSecurity
    /// Who may call what; nil: whoever can connect.
    public let callers: AllowedCallers?
    /// Of its connections to `tls:` addresses.
    private let client: ChannelSecurity

    /// Everything in plain text.
    public static let plaintext = TransportSecurity(server: .plaintext, callers: nil, client: .tls())

    private init(server: ServerSecurity, callers: AllowedCallers?, client: ChannelSecurity) {
        self.server = server
        self.callers = callers
        self.client = client
    }

    /// What the settings say.
    ///
    /// - Throws: ``SettingsError`` where a file cannot be read, or one is named without the one that it needs.
    public init(_ settings: Settings) throws(SettingsError) {
        let certificate = try Self.file("tls-cert-file", settings)
        let key = try Self.file("tls-key-file", settings)
        let clientAuthority = try Self.file("tls-client-ca-file", settings)
        let authority = try Self.file("tls-ca-file", settings)
        guard (certificate == nil) == (key == nil) else {
            throw SettingsError("--tls-cert-file and --tls-key-file belong together, and one is missing")
        }
        guard clientAuthority == nil || certificate != nil else {
            throw SettingsError(
                "--tls-client-ca-file asks clients for certificates, which needs TLS: --tls-cert-file and --tls-key-file are expected")
        }
        if let path = settings.string("tls-callers-file") {
            guard clientAuthority != nil else {
                throw SettingsError("--tls-callers-file names clients by their certificates: --tls-client-ca-file is expected")
            }
            let bytes = try Self.file("tls-callers-file", settings) ?? []
            callers = try AllowedCallers(text: String(decoding: bytes, as: UTF8.self), source: path)
        } else {
            callers = nil
        }
        server =
            certificate.flatMap { certificate in
                key.map { .tls(certificateChain: certificate, privateKey: $0, clientAuthority: clientAuthority) }
            } ?? .plaintext
        client = .tls(authority: authority, clientCertificateChain: certificate, clientKey: key)
    }

    /// Where a part is, and how it is spoken to: `tls:HOST:PORT` by TLS, any other address in plain text.
    public func target(_ address: String) -> (address: String, security: ChannelSecurity) {
        address.hasPrefix("tls:") ? (String(address.dropFirst(4)), client) : (address, .plaintext)
    }

    private static func file(_ setting: String, _ settings: Settings) throws(SettingsError) -> [UInt8]? {
        guard let path = settings.string(setting) else { return nil }
        guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else {
            throw SettingsError("--\(setting) \(path) cannot be read, or is empty")
        }
        return Array(data)
    }
}
