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
