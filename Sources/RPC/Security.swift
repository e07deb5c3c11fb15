import CGRPC

/// How a server's connections are secured.
public enum ServerSecurity: Sendable {
    /// Not at all.
    case plaintext
    /// With TLS. Each part is PEM. With `clientAuthority` (mTLS) a client must show a certificate that comes from it.
    case tls(certificateChain: [UInt8], privateKey: [UInt8], clientAuthority: [UInt8]? = nil)
}

/// How a channel's connections are secured.
public enum ChannelSecurity: Sendable {
    /// Not at all.
    case plaintext
    /// With TLS. Each part is PEM.
    ///
    /// - `authority`: the certificates that the server's must come from; nil: those that the gRPC core finds on the system.
    /// - `clientCertificateChain`, `clientKey`: what the client shows (mTLS); both or none.
    /// - `overrideServerName`: the name that the server's certificate must carry, where it is not the target's.
    case tls(
        authority: [UInt8]? = nil, clientCertificateChain: [UInt8]? = nil, clientKey: [UInt8]? = nil, overrideServerName: String? = nil)
}

/// Other certificates for a server or a channel, ready to be used: nothing can fail any more.
///
/// Several are changed together by preparing all before the first is applied. What is not applied changes nothing.
public struct SecurityUpdate: Sendable {
    private let use: @Sendable () -> Void

    init(_ use: @escaping @Sendable () -> Void) { self.use = use }

    /// Uses them for the connections that are made from now on. From any thread.
    public func apply() { use() }
}

extension ServerSecurity {
    /// Holds certificates and key to what the core can use.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument`: a part cannot be read, or the key is not that of the certificate.
    public func check() throws(RPCError) { try pem()?.check() }

    /// Whether clients must show certificates; nil: there is no TLS.
    var isAuthenticating: Bool? {
        guard case .tls(_, _, let authority) = self else { return nil }
        return authority != nil
    }

    /// nil: there is no TLS.
    func pem() throws(RPCError) -> PEM? {
        guard case .tls(let chain, let key, let authority) = self else { return nil }
        return try PEM(authorities: authority, chain: chain, key: key)
    }
}

extension ChannelSecurity {
    /// Holds certificates and key to what the core can use.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument`: a part cannot be read, or the key is not that of the certificate.
    public func check() throws(RPCError) { try pem()?.check() }

    /// nil: there is no TLS.
    func pem() throws(RPCError) -> PEM? {
        guard case .tls(let authority, let chain, let key, _) = self else { return nil }
        return try PEM(authorities: authority, chain: chain, key: key)
    }

    /// The name that the server's certificate must carry; nil: the target's.
    var serverName: String? {
        guard case .tls(_, _, _, let name) = self else { return nil }
        return name
    }
}

/// Certificates and a key as the core takes them.
struct PEM {
    private var authorities: [CChar]?
    private var chain: [CChar]?
    private var key: [CChar]?

    init(authorities: [UInt8]?, chain: [UInt8]?, key: [UInt8]?) throws(RPCError) {
        self.authorities = try Self.text(authorities, of: "the authority", marker: "CERTIFICATE-----")
        self.chain = try Self.text(chain, of: "the certificate chain", marker: "CERTIFICATE-----")
        self.key = try Self.text(key, of: "the private key", marker: "PRIVATE KEY-----")
        if (chain == nil) != (key == nil) {
            throw RPCError(.invalidArgument, "a certificate chain and a private key belong together, and one is missing")
        }
    }

    func withUnsafeTLS<Result>(_ body: (UnsafePointer<cgrpc_tls>) -> Result) -> Result {
        Self.withPointer(authorities) { authorities in
            Self.withPointer(chain) { chain in
                Self.withPointer(key) { key in
                    var tls = cgrpc_tls(authorities: authorities, certificate_chain: chain, private_key: key)
                    return withUnsafePointer(to: &tls, body)
                }
            }
        }
    }

    /// Holds them to what the core can use.
    ///
    /// - Throws: ``RPCError`` with code `.invalidArgument`: a part cannot be read, or the key is not that of the certificate.
    func check() throws(RPCError) {
        var reason = [CChar](repeating: 0, count: 4096)
        let isUsable = reason.withUnsafeMutableBufferPointer { reason in
            withUnsafeTLS { cgrpc_tls_check($0, reason.baseAddress, reason.count) }
        }
        if isUsable { return }
        let text = String(decoding: reason.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        throw RPCError(.invalidArgument, "the certificates or the key cannot be used: \(text)")
    }

    private static func withPointer<Result>(_ text: [CChar]?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result {
        guard let text else { return body(nil) }
        return text.withUnsafeBufferPointer { body($0.baseAddress) }
    }

    /// PEM as a C string.
    private static func text(_ bytes: [UInt8]?, of part: String, marker: String) throws(RPCError) -> [CChar]? {
        guard let bytes else { return nil }
        guard !bytes.contains(0), String(decoding: bytes, as: UTF8.self).contains(marker) else {
            throw RPCError(.invalidArgument, "\(part) is not PEM: '\(marker)' was not found in its \(bytes.count) bytes")
        }
        return bytes.map { CChar(bitPattern: $0) } + [0]
    }
}

/// Settings for the core, by its names.
struct CoreArguments {
    private enum Value {
        case integer(Int32)
        case string(String)
        case memoryBound(Int)
    }

    private var values: [(key: String, value: Value)] = []

    mutating func set(_ key: String, _ value: Int) { values.append((key, .integer(Int32(clamping: value)))) }

    mutating func set(_ key: String, _ value: Bool) { set(key, value ? 1 : 0) }

    mutating func set(_ key: String, _ value: String) { values.append((key, .string(value))) }

    /// In milliseconds, rounded up.
    mutating func set(_ key: String, _ value: Duration?) {
        guard let value else { return }
        set(key, value.roundedUpMilliseconds)
    }

    /// Bounds the memory of all connections together.
    mutating func setMemoryBound(_ bytes: Int) { values.append(("", .memoryBound(bytes))) }

    func withUnsafeArguments<Result>(_ body: (OpaquePointer) -> Result) -> Result {
        let arguments = cgrpc_arguments_create()
        defer { cgrpc_arguments_destroy(arguments) }
        for (key, value) in values {
            switch value {
            case .integer(let integer): cgrpc_arguments_add_integer(arguments, key, integer)
            case .string(let string): cgrpc_arguments_add_string(arguments, key, string)
            case .memoryBound(let bytes): cgrpc_arguments_add_memory_bound(arguments, bytes)
            }
        }
        // `cgrpc_arguments_create` never returns NULL.
        return body(arguments!)
    }
}

extension Duration {
    /// Whole milliseconds, rounded up; at the ends of Int it stays there.
    var roundedUpMilliseconds: Int {
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        if overflow { return seconds < 0 ? .min : .max }
        return Int(whole) + Int((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }

    /// Nanoseconds; beyond some 146 years without end, and never less than zero.
    var timeout: Int64 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        if seconds > 4_600_000_000 { return .max }
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
