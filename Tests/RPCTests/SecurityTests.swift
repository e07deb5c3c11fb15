import Foundation
import RPC
import Testing

@Suite(.timeLimit(.minutes(1))) struct SecurityTests {
    private static func pem(_ name: String) throws -> [UInt8] {
        let url = try #require(Bundle.module.url(forResource: name, withExtension: nil, subdirectory: "Certificates"))
        return [UInt8](try Data(contentsOf: url))
    }

    private static func server(authority: String? = nil) throws -> ServerSecurity {
        .tls(certificateChain: try pem("server.pem"), privateKey: try pem("server.key"), clientAuthority: try authority.map { try pem($0) })
    }

    private static func client(_ name: String?, authority: String = "authority.pem", serverName: String? = nil) throws -> ChannelSecurity {
        .tls(
            authority: try pem(authority), clientCertificateChain: try name.map { try pem("\($0).pem") },
            clientKey: try name.map { try pem("\($0).key") }, overrideServerName: serverName)
    }

    private static let identities = RPC.Method.unary("Identities") { _, context in Array(context.peerIdentities.joined(separator: " ").utf8)
    }

    private func identities(_ server: ServerSecurity, _ channel: ChannelSecurity) async throws -> String {
        try await withPeers([Self.identities], server: { $0.security = server }, channel: { $0.security = channel }) { channel, _ in
            let response = try await channel.unary("/test.Test/Identities", [], options: CallOptions(timeout: .seconds(10)))
            return String(decoding: response.message, as: UTF8.self)
        }
    }

    @Test func tls() async throws {
        let seen = try await identities(Self.server(), Self.client(nil))
        #expect(seen.isEmpty)
    }

    @Test func tlsByAnotherName() async throws {
        let seen = try await identities(Self.server(), Self.client(nil, serverName: "localhost"))
        #expect(seen.isEmpty)
    }

    @Test func mutualTLSShowsTheClient() async throws {
        let seen = try await identities(Self.server(authority: "authority.pem"), Self.client("client"))
        #expect(seen.contains("orchestrator.kefu.test"))
        #expect(seen.contains("spiffe://kefu.test/orchestrator"))
    }

    @Test func streamsAndLargeMessagesOverTLS() async throws {
        let method = RPC.Method.streaming("EchoStream") { requests, responses, _ in
            for try await request in requests { try await responses.write(request) }
        }
        let (server, client) = (try Self.server(), try Self.client(nil))
        try await withPeers([method], server: { $0.security = server }, channel: { $0.security = client }) { channel, _ in
            try await channel.streaming("/test.Test/EchoStream") { requests, responses in
                for size in [0, 1, 100_000, 3_000_000] {
                    let message = [UInt8](repeating: UInt8(truncatingIfNeeded: size), count: size)
                    try await requests.write(message)
                    let response = try await responses.next()
                    #expect(response == message)
                }
            }
        }
    }

    @Test(arguments: ["another authority", "another name", "no certificate", "an intruder's certificate", "no TLS"])
    func refused(_ what: String) async throws {
        let server = try Self.server(authority: "authority.pem")
        let client: ChannelSecurity
        switch what {
        case "another authority": client = try Self.client("client", authority: "stranger.pem")
        case "another name": client = try Self.client("client", serverName: "elsewhere.test")
        case "no certificate": client = try Self.client(nil)
        case "an intruder's certificate": client = try Self.client("intruder")
        default: client = .plaintext
        }
        let error = await rpcError { try await identities(server, client) }
        #expect(error?.code == .unavailable, "\(error.map { "\($0)" } ?? "")")
    }

    @Test func newCertificatesAreForNewConnections() async throws {
        let call = { (channel: Channel) async throws in
            _ = try await channel.unary("/test.Test/Echo", [], options: CallOptions(timeout: .seconds(30)))
        }
        let stream = RPC.Method.streaming("EchoStream") { requests, responses, _ in
            for try await request in requests { try await responses.write(request) }
        }
        let (before, client) = (try Self.server(), try Self.client(nil))
        let after = ServerSecurity.tls(certificateChain: try Self.pem("intruder.pem"), privateKey: try Self.pem("intruder.key"))
        let stranger = try Self.client(nil, authority: "stranger.pem", serverName: "orchestrator.kefu.test")
        try await withPeers([echo, stream], server: { $0.security = before }, channel: { $0.security = client }) { channel, server in
            try await call(channel)
            try server.update(after)
            // What is open goes on, and who knows only the former authority does not come in any more.
            try await call(channel)
            var configuration = Channel.Configuration()
            configuration.ownsConnections = true
            configuration.security = client
            let late = try Channel("127.0.0.1:\(server.port)", configuration: configuration, queue: channel.queue)
            let refused = await rpcError { try await call(late) }
            #expect(refused?.code == .unavailable)
            try late.update(stranger)
            try await call(late)
            await late.close()
            // A channel's calls under way stay on their connection, and new ones go over another.
            try await channel.streaming("/test.Test/EchoStream", options: CallOptions(timeout: .seconds(30))) { requests, responses in
                try await requests.write([1])
                #expect(try await responses.next() == [1])
                try channel.update(stranger)
                try await call(channel)
                try await requests.write([2])
                #expect(try await responses.next() == [2])
            }
        }
    }

    @Test func whatCannotBeUsedLeavesWhatWasThere() async throws {
        let (server, client) = (try Self.server(), try Self.client(nil))
        let mismatched = ServerSecurity.tls(certificateChain: try Self.pem("server.pem"), privateKey: try Self.pem("client.key"))
        let cut = ServerSecurity.tls(
            certificateChain: Array(try Self.pem("server.pem").prefix(200)), privateKey: try Self.pem("server.key"))
        let authenticating = try Self.server(authority: "authority.pem")
        let pair = ChannelSecurity.tls(
            authority: try Self.pem("authority.pem"), clientCertificateChain: try Self.pem("client.pem"),
            clientKey: try Self.pem("server.key"))
        try await withPeers([echo], server: { $0.security = server }, channel: { $0.security = client }) { channel, server in
            for bad in [mismatched, cut, authenticating, .plaintext] {
                let error = await rpcError { try server.update(bad) }
                #expect(error?.code == .invalidArgument)
            }
            let error = await rpcError { try channel.update(pair) }
            #expect(error?.code == .invalidArgument)
            _ = try await channel.unary("/test.Test/Echo", [], options: CallOptions(timeout: .seconds(30)))
        }
    }

    @Test func whatIsNotPEMIsRefused() async throws {
        let queue = CompletionQueue()
        let bad: [ServerSecurity] = [
            .tls(certificateChain: [1, 2, 3], privateKey: try Self.pem("server.key")),
            .tls(certificateChain: try Self.pem("server.pem"), privateKey: []),
            .tls(certificateChain: try Self.pem("server.pem"), privateKey: try Self.pem("server.key"), clientAuthority: [0]),
        ]
        for security in bad {
            var configuration = Server.Configuration()
            configuration.security = security
            let error = await rpcError { try Server(configuration, services: [], queue: queue) }
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.contains("is not PEM") == true)
        }
        // PEM, but of another pair.
        var configuration = Server.Configuration()
        configuration.security = .tls(certificateChain: try Self.pem("server.pem"), privateKey: try Self.pem("client.key"))
        let mismatched = await rpcError { try Server(configuration, services: [], queue: queue) }
        #expect(mismatched != nil)
        var channel = Channel.Configuration()
        channel.security = .tls(clientCertificateChain: try Self.pem("client.pem"))
        let half = await rpcError { try Channel("localhost:1", configuration: channel, queue: queue) }
        #expect(half?.code == .invalidArgument)
        await queue.shutdown()
    }
}
