import Foundation
import Redis
import RedisTestSupport
import Testing

/// TLS against a real redis-server. The certificates are those of `Tests/RPCTests/Certificates`: the server's is for `localhost` and `127.0.0.1`.
@Suite(.timeLimit(.minutes(1)))
struct TLSTests {
    private func path(_ name: String) -> String {
        Bundle.module.resourceURL?.appendingPathComponent("Certificates/\(name)").path ?? name
    }

    /// Runs a server that takes TLS on a port of its own, and wants a client's certificate.
    private func running(_ body: (RedisClient.Configuration) async throws -> Void) async throws {
        let port = try TestServer.freePort()
        let arguments = [
            "--tls-port", "\(port)", "--tls-cert-file", path("server.pem"), "--tls-key-file", path("server.key"), "--tls-ca-cert-file",
            path("authority.pem"), "--tls-auth-clients", "yes",
        ]
        try await TestServer.running(arguments) { server in
            var configuration = TestServer.configuration(.tcp(host: "localhost", port: port))
            var tls = RedisClient.Configuration.TLS()
            tls.authorityFile = path("authority.pem")
            tls.certificateFile = path("client.pem")
            tls.keyFile = path("client.key")
            configuration.tls = tls
            try await body(configuration)
        }
    }

    @Test func commandsGoOverTLS() async throws {
        try await running { configuration in
            try await withClient(configuration) { client async throws in
                #expect(try await client.send("PING") == .status("PONG"))
                // Much at once, and much in one piece: several TLS records either way.
                let large = [UInt8](repeating: 7, count: 5_000_000)
                _ = try await client.send("SET", "large", RedisBytes(large))
                #expect(try await client.send("GET", "large").bytes == large)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<2000 {
                        group.addTask {
                            guard try await client.send("ECHO", RedisBytes(number)).string == "\(number)" else { throw CancellationError() }
                        }
                    }
                    try await group.waitForAll()
                }
                // Again after a loss.
                _ = try? await client.send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
                try await waitUntil { (try? await client.send("GET", "large").bytes?.count) == large.count }
                #expect(client.pendingCommandCount == 0)
            }
        }
    }

    @Test func theServerMustProveItsName() async throws {
        try await running { configuration in
            var byAddress = configuration
            if case .tcp(_, let port) = configuration.endpoint { byAddress.endpoint = .tcp(host: "127.0.0.1", port: port) }
            try await withClient(byAddress) { client async throws in #expect(try await client.send("PING") == .status("PONG")) }
            var byName = byAddress
            byName.tls?.serverName = "localhost"
            try await withClient(byName) { client async throws in #expect(try await client.send("PING") == .status("PONG")) }
            for name in ["redis.example", "127.0.0.2"] {
                var wrong = configuration
                wrong.tls?.serverName = name
                let error = try await refusal(wrong)
                #expect("\(error)".contains("mismatch"), "\(error)")
            }
        }
    }

    @Test func whoIsNotTrustedIsRefused() async throws {
        try await running { configuration in
            var stranger = configuration
            stranger.tls?.authorityFile = path("stranger.pem")
            let ofStranger = try await refusal(stranger)
            #expect("\(ofStranger)".contains("certificate is refused"))
            var system = configuration
            system.tls?.authorityFile = nil
            let ofSystem = try await refusal(system)
            #expect("\(ofSystem)".contains("certificate is refused"))
            var intruder = configuration
            intruder.tls?.certificateFile = path("intruder.pem")
            intruder.tls?.keyFile = path("intruder.key")
            _ = try await refusal(intruder)
            var nobody = configuration
            nobody.tls?.certificateFile = nil
            nobody.tls?.keyFile = nil
            _ = try await refusal(nobody)
        }
    }

    @Test func filesThatAreOfNoUseAreNamed() throws {
        var tls = RedisClient.Configuration.TLS()
        tls.authorityFile = "/no/such.pem"
        #expect("\(try #require(throws: RedisError.self) { try tls.check() })".contains("/no/such.pem"))
        tls.authorityFile = path("authority.pem")
        tls.certificateFile = path("client.pem")
        #expect("\(try #require(throws: RedisError.self) { try tls.check() })".contains("belong together"))
        tls.keyFile = path("intruder.key")
        #expect("\(try #require(throws: RedisError.self) { try tls.check() })".contains("intruder.key"))
        tls.keyFile = path("client.key")
        try tls.check()
    }

    @Test func aServerWithoutTLSIsToldApart() async throws {
        try await TestServer.running { server in
            var configuration = server.tcp
            configuration.tls = .init()
            // It waits for the end of a line, and says nothing.
            configuration.connectTimeout = .milliseconds(200)
            let error = try await refusal(configuration)
            #expect("\(error)".contains("did not answer"))
        }
    }

    private func refusal(_ configuration: RedisClient.Configuration) async throws -> RedisError {
        try await withClient(configuration) { client async throws in
            let error = try await failure { try await client.send("PING", deadline: .now + .seconds(2)) }
            #expect(error.code == .connectionFailed)
            #expect(!error.mayHaveRun)
            return error
        }
    }
}
