import Foundation
import Logging
import RPC
import Testing

@testable import ServiceKit

/// Certificates that change while servers and channels use them.
@Suite(.timeLimit(.minutes(1))) struct TransportSecurityTests {
    /// A folder that the settings name, and what was first put there: a server's certificate, and the authority that it comes from.
    private final class Files {
        private static let certificates = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "RPCTests/Certificates")

        private let folder = FileManager.default.temporaryDirectory.appending(path: "kefu-tls-\(UUID().uuidString)")

        init() throws {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try put("server.pem", in: "cert")
            try put("server.key", in: "key")
            try put("authority.pem", in: "ca")
        }

        deinit { try? FileManager.default.removeItem(at: folder) }

        static func pem(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: certificates.appending(path: name))) }

        func put(_ name: String, in file: String) throws {
            try Data(Self.pem(name)).write(to: folder.appending(path: file), options: .atomic)
        }

        /// The certificate of another authority, and the trust in it.
        func change() throws {
            try put("intruder.pem", in: "cert")
            try put("intruder.key", in: "key")
            try put("stranger.pem", in: "ca")
        }

        var settings: Settings {
            get async throws {
                let flags = ["tls-cert-file": "cert", "tls-key-file": "key", "tls-ca-file": "ca"].mapValues {
                    folder.appending(path: $0).path(percentEncoded: false)
                }
                return try await Settings(flags: flags, file: nil, environment: [:])
            }
        }
    }

    private static let echo = Service("test.Test", [Method.unary("Echo") { request, _ in request }])

    private static func call(_ channel: Channel) async throws {
        _ = try await channel.unary("/test.Test/Echo", [1], options: CallOptions(timeout: .seconds(30)))
    }

    /// Whether a client that knows one authority can make a new connection.
    private static func comesIn(_ authority: String, as name: String, to server: Server, _ queue: CompletionQueue) async throws -> Bool {
        var configuration = Channel.Configuration()
        configuration.ownsConnections = true
        configuration.security = .tls(authority: try Files.pem(authority), overrideServerName: name)
        let channel = try Channel("127.0.0.1:\(server.port)", configuration: configuration, queue: queue)
        let answer = await Result { try await call(channel) }
        await channel.close()
        if case .failure(let error) = answer, (error as? RPCError)?.code != .unavailable { throw error }
        return (try? answer.get()) != nil
    }

    /// A server by the files, and a channel to it that nobody else shares connections with.
    private static func withPeers(_ body: (TransportSecurity, Files, Server, Channel, CompletionQueue) async throws -> Void) async throws {
        let files = try Files()
        let security = try TransportSecurity(await files.settings)
        let queue = CompletionQueue(name: "test")
        var configuration = Server.Configuration()
        configuration.security = security.server
        let server = try Server(configuration, services: [echo], queue: queue)
        security.keepUp(server, services: ["test.Test"])
        var own = Channel.Configuration()
        own.ownsConnections = true
        let channel = try security.channel("tls:localhost:\(server.port)", configuration: own, queue: queue)
        async let running: Void = server.run()
        let result = await Result { try await body(security, files, server, channel, queue) }
        await channel.close()
        server.beginShutdown(grace: .zero)
        await running
        await queue.shutdown()
        try result.get()
    }

    @Test func serversAndChannelsChangeTogether() async throws {
        try await Self.withPeers { security, files, server, channel, queue in
            #expect(try security.reload() == false)
            try await Self.call(channel)
            try files.change()
            #expect(try security.reload())
            #expect(try await Self.comesIn("stranger.pem", as: "orchestrator.kefu.test", to: server, queue))
            #expect(try await !Self.comesIn("authority.pem", as: "localhost", to: server, queue))
            // The certificate is not localhost's: a channel that makes a new connection says so.
            let error = await #expect(throws: RPCError.self) { try await Self.call(channel) }
            #expect(error?.code == .unavailable)
            #expect(try security.reload() == false)
        }
    }

    @Test func whereOneCannotChangeNoneDoes() async throws {
        try await Self.withPeers { security, files, server, channel, queue in
            // One that cannot take certificates, behind one that can.
            let plain = try Server(Server.Configuration(), services: [], queue: queue)
            security.keepUp(plain, services: [])
            defer { plain.beginShutdown(grace: .zero) }
            try files.change()
            // Again at each look, and not only at the first.
            for _ in 0..<2 { #expect(throws: SettingsError.self) { try security.reload() } }
            #expect(try await Self.comesIn("authority.pem", as: "localhost", to: server, queue))
            #expect(try await !Self.comesIn("stranger.pem", as: "orchestrator.kefu.test", to: server, queue))
            try await Self.call(channel)
            // A channel that is opened now is by what is in use, too.
            var own = Channel.Configuration()
            own.ownsConnections = true
            let late = try security.channel("tls:localhost:\(server.port)", configuration: own, queue: queue)
            let answer = await Result { try await Self.call(late) }
            await late.close()
            try answer.get()
        }
    }

    @Test func aFaultIsCountedAtEachLookUntilItIsMended() async throws {
        try await Self.withPeers { security, files, server, _, queue in
            let registry = MetricsRegistry()
            let reloader = try TransportSecurity.Reloader(
                security, settings: await files.settings, registry: registry, logger: Logger(label: "test"))
            func counts(_ used: Int, _ refused: Int) -> Bool {
                registry.text().contains("{outcome=\"used\"} \(used)\n") && registry.text().contains("{outcome=\"refused\"} \(refused)\n")
            }
            reloader.look()
            #expect(counts(0, 0))
            // The key is still that of the former certificate.
            try files.put("intruder.pem", in: "cert")
            reloader.look()
            reloader.look()
            #expect(counts(0, 2))
            #expect(try await Self.comesIn("authority.pem", as: "localhost", to: server, queue))
            try files.put("intruder.key", in: "key")
            reloader.look()
            #expect(counts(1, 2))
            #expect(try await Self.comesIn("stranger.pem", as: "orchestrator.kefu.test", to: server, queue))
        }
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}
