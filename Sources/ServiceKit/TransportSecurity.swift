import Foundation
public import Logging
public import RPC
public import ServiceLifecycle
import Synchronization

/// How a program's gRPC connections are secured.
///
/// - `tls-cert-file`, `tls-key-file`: what the program shows, both to those who call it and to those that it calls.
/// - `tls-client-ca-file`: mTLS: a client must show a certificate of one of these authorities.
/// - `tls-callers-file`: which clients may call which methods; see ``AllowedCallers``.
/// - `tls-ca-file`: the authorities that servers at `tls:` addresses must come from; without it, those of the system.
///
/// All files but that of callers are PEM. They are read at the start, and by ``Reloader`` when they change.
public final class TransportSecurity: Sendable {
    private static let settings = ["tls-cert-file", "tls-key-file", "tls-client-ca-file", "tls-callers-file", "tls-ca-file"]

    /// What was read, by setting.
    private typealias Contents = [String: [UInt8]]

    /// What the files mean.
    private struct Material {
        var server = ServerSecurity.plaintext
        var callers: AllowedCallers?
        var client = ChannelSecurity.tls()

        /// Holds it to what the core can use; which would find out at a handshake only.
        func check() throws(RPCError) {
            try server.check()
            try client.check()
        }
    }

    private struct State {
        var contents: Contents
        var material: Material
        var servers: [(server: Server, services: [String])] = []
        var channels: [Channel] = []
    }

    /// Of the files, by setting.
    private let paths: [String: String]
    private let state: Mutex<State>

    /// Everything in plain text.
    public static let plaintext = TransportSecurity()

    private init() {
        paths = [:]
        state = Mutex(State(contents: [:], material: Material()))
    }

    /// What the settings say.
    ///
    /// - Throws: ``SettingsError`` where a file cannot be read, or one is named without the one that it needs.
    public init(_ settings: Settings) throws(SettingsError) {
        var paths: [String: String] = [:]
        for setting in Self.settings { paths[setting] = settings.string(setting) }
        let contents = try Self.read(paths)
        guard (contents["tls-cert-file"] == nil) == (contents["tls-key-file"] == nil) else {
            throw SettingsError("--tls-cert-file and --tls-key-file belong together, and one is missing")
        }
        guard contents["tls-client-ca-file"] == nil || contents["tls-cert-file"] != nil else {
            throw SettingsError(
                "--tls-client-ca-file asks clients for certificates, which needs TLS: --tls-cert-file and --tls-key-file are expected")
        }
        guard contents["tls-callers-file"] == nil || contents["tls-client-ca-file"] != nil else {
            throw SettingsError("--tls-callers-file names clients by their certificates: --tls-client-ca-file is expected")
        }
        let material = try Self.material(contents, paths)
        do throws(RPCError) { try material.check() } catch { throw SettingsError("the files of TLS cannot be used: \(error.message)") }
        self.paths = paths
        state = Mutex(State(contents: contents, material: material))
    }

    /// Of the program's own server.
    var server: ServerSecurity { state.withLock { $0.material.server } }

    /// Who may call what; nil: whoever can connect.
    var callers: AllowedCallers? { state.withLock { $0.material.callers } }

    /// Opens a channel to where a part is: `tls:HOST:PORT` by TLS, any other address in plain text.
    ///
    /// - Throws: `RPCError` where the address or the certificates cannot be used.
    public func channel(
        _ address: String, configuration: Channel.Configuration = .init(), queue: CompletionQueue
    ) throws(RPCError) -> Channel {
        guard address.hasPrefix("tls:") else { return try Channel(address, configuration: configuration, queue: queue) }
        var configuration = configuration
        // Under the lock, so that no change of the files falls between.
        return try state.withLock { state throws(RPCError) in
            configuration.security = state.material.client
            let channel = try Channel(String(address.dropFirst(4)), configuration: configuration, queue: queue)
            if !paths.isEmpty { state.channels.append(channel) }
            return channel
        }
    }

    /// Keeps the certificates of a server as they are in the files.
    ///
    /// - Parameter services: What it serves, which callers may be allowed.
    func keepUp(_ server: Server, services: [String]) {
        if !paths.isEmpty { state.withLock { $0.servers.append((server, services)) } }
    }

    /// Uses what is in the files, where that changed and can be used, at every server and channel; else at all of them what was there before stays.
    ///
    /// - Returns: Whether something changed.
    /// - Throws: ``SettingsError``: it cannot be used.
    @discardableResult
    public func reload() throws(SettingsError) -> Bool {
        let contents = try Self.read(paths)
        return try state.withLock { state throws(SettingsError) in
            if contents == state.contents { return false }
            let material = try Self.material(contents, paths)
            for (_, services) in state.servers { try material.callers?.check(against: services) }
            let updates = try Self.updates(to: material, of: state.servers.map(\.server), and: state.channels)
            for update in updates { update.apply() }
            state.contents = contents
            state.material = material
            return true
        }
    }

    private static func updates(
        to material: Material, of servers: [Server], and channels: [Channel]
    ) throws(SettingsError) -> [SecurityUpdate] {
        do throws(RPCError) {
            try material.check()
            var updates: [SecurityUpdate] = []
            if case .tls = material.server {
                for server in servers { updates.append(try server.prepare(material.server)) }
            }
            for channel in channels { updates.append(try channel.prepare(material.client)) }
            return updates
        } catch {
            throw SettingsError("\(error)")
        }
    }

    private static func read(_ paths: [String: String]) throws(SettingsError) -> Contents {
        var contents: Contents = [:]
        for (setting, path) in paths.sorted(by: { $0.key < $1.key }) {
            guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else {
                throw SettingsError("--\(setting) \(path) cannot be read, or is empty")
            }
            contents[setting] = Array(data)
        }
        return contents
    }

    private static func material(_ contents: Contents, _ paths: [String: String]) throws(SettingsError) -> Material {
        let (certificate, key) = (contents["tls-cert-file"], contents["tls-key-file"])
        var material = Material()
        if let certificate, let key {
            material.server = .tls(certificateChain: certificate, privateKey: key, clientAuthority: contents["tls-client-ca-file"])
        }
        if let callers = contents["tls-callers-file"] {
            material.callers = try AllowedCallers(text: String(decoding: callers, as: UTF8.self), source: paths["tls-callers-file"] ?? "")
        }
        material.client = .tls(authority: contents["tls-ca-file"], clientCertificateChain: certificate, clientKey: key)
        return material
    }

    /// Looks at the files from time to time, as a service of the process.
    public final class Reloader: ServiceLifecycle.Service {
        private let security: TransportSecurity
        private let interval: Duration
        private let changes: MetricFamily<Counter>
        private let logger: Logger
        /// What was found and could not be used, so that it is told of once.
        private let refused = Mutex<String?>(nil)

        /// A reloader by the setting `tls-poll-ms`.
        ///
        /// - Throws: ``SettingsError`` where the setting is none.
        public init(
            _ security: TransportSecurity, settings: Settings, registry: MetricsRegistry, logger: Logger
        ) throws(SettingsError) {
            self.security = security
            self.logger = logger
            changes = registry.counters(
                "kefu_tls_changes_total",
                "Looks at the files of TLS that found a change, by what became of it; refused: once a look, until the files can be used.",
                labels: ["outcome"])
            for outcome in ["used", "refused"] { _ = changes(outcome) }
            interval = try settings.milliseconds("tls-poll-ms", default: .seconds(10))
        }

        /// Looks until a graceful shutdown. Without files, or with an interval of 0, it only waits.
        public func run() async {
            await cancelWhenGracefulShutdown { [self] in
                let isIdle = interval == .zero || security.paths.isEmpty
                while (try? await Task.sleep(for: isIdle ? .seconds(3600) : interval)) != nil {
                    if !isIdle { look() }
                }
            }
        }

        func look() {
            do throws(SettingsError) {
                let isChanged = try security.reload()
                refused.withLock { $0 = nil }
                guard isChanged else { return }
                changes("used").increment()
                logger.notice("the files of TLS have changed; connections from now on use what is in them")
            } catch {
                changes("refused").increment()
                let fault = "\(error)"
                let isNew = refused.withLock { refused in
                    defer { refused = fault }
                    return refused != fault
                }
                guard isNew else { return }
                logger.warning("the files of TLS have changed and cannot be used; what was in them before stays in use: \(fault)")
            }
        }
    }
}
