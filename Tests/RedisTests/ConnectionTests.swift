import Redis
import RedisTestSupport
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ConnectionTests {
    @Test func passwords() async throws {
        try await TestServer.running(["--requirepass", "s3cret-right"]) { server in
            var right = server.unix
            right.password = "s3cret-right"
            try await withClient(right) { client async throws in
                #expect(try await client.send("PING") == .status("PONG"))
            }

            var wrong = server.tcp
            wrong.password = "s3cret-wrong"
            try await withClient(wrong) { client async throws in
                let error = try await failure { try await client.send("PING") }
                #expect(error.code == .authenticationFailed)
                #expect(!error.mayHaveRun)
                #expect("\(error)".contains("WRONGPASS"))
                #expect(!"\(error)".contains("s3cret"))
            }

            try await withClient(server.unix) { client async throws in
                let error = try await failure { try await client.send("PING") }
                #expect(error.code == .authenticationFailed)
                #expect(error.message.contains("password"))
            }
        }
    }

    @Test func usersOfTheACL() async throws {
        try await TestServer.running(["--user", "kefu", "on", ">p%40ss", "~kefu:*", "+@all", "-@dangerous"]) { server in
            let url = "redis://kefu:p%2540ss@localhost:\(server.port)"
            var configuration = try RedisClient.Configuration(url: url)
            configuration.connectTimeout = .seconds(20)
            configuration.commandTimeout = .seconds(20)
            configuration.backoff = server.tcp.backoff
            try await withClient(configuration) { client async throws in
                #expect(try await client.send("ACL", "WHOAMI").string == "kefu")
                #expect(try await client.send("SET", "kefu:1", "x") == .status("OK"))
                let error = try await failure { try await client.send("GET", "other") }
                #expect(error.serverPrefix == "NOPERM")
            }
            configuration.username = "nobody"
            try await withClient(configuration) { client async throws in
                let error = try await failure { try await client.send("PING") }
                #expect(error.code == .authenticationFailed)
                #expect(error.message.contains("nobody"))
                #expect(!"\(error)".contains("p%40ss"))
            }
        }
    }

    @Test func databasesAndNames() async throws {
        try await TestServer.running { server in
            var third = server.unix
            third.database = 3
            third.clientName = "kefu-test"
            try await withClient(third) { client async throws in
                _ = try await client.send("SET", "k", "third")
                let info = try #require(try await client.send("CLIENT", "INFO").string)
                #expect(info.contains(" db=3 "))
                #expect(info.contains(" name=kefu-test "))
            }
            try await withClient(server.unix) { client async throws in
                #expect(try await client.send("GET", "k") == .null)
            }
            var tooHigh = server.unix
            tooHigh.database = 99
            try await withClient(tooHigh) { client async throws in
                let error = try await failure { try await client.send("PING") }
                #expect(error.code == .connectionFailed)
                #expect("\(error)".contains("database 99"))
            }
        }
    }

    @Test func theDatabaseIsSelectedAgainAfterALoss() async throws {
        try await TestServer.running { server in
            var configuration = server.unix
            configuration.database = 5
            try await withClient(configuration) { client async throws in
                _ = try await client.send("SET", "k", "v")
                let before = try await client.send("CLIENT", "ID")
                _ = try? await client.send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
                // What goes out before the client sees the end of the connection is lost with it.
                try await waitUntil { (try? await client.send("CLIENT", "ID")).map { $0 != before } ?? false }
                #expect(try await client.send("GET", "k").string == "v")
                #expect(try await client.send("CLIENT", "INFO").string?.contains(" db=5 ") == true)
            }
        }
    }

    @Test(arguments: ["127.0.0.1", "::1", "localhost"]) func hosts(host: String) async throws {
        try await TestServer.running { server in
            var configuration = server.tcp
            configuration.endpoint = .tcp(host: host, port: server.port)
            try await withClient(configuration) { client async throws in
                #expect(try await client.send("PING") == .status("PONG"))
            }
        }
    }

    @Test func aPathThatIsTooLongIsNotCut() async throws {
        var configuration = RedisClient.Configuration(endpoint: .unix(path: "/" + String(repeating: "x", count: 107)))
        configuration.commandTimeout = .milliseconds(100)
        try await withClient(configuration) { client async throws in
            let error = try await failure { try await client.send("PING") }
            #expect(error.code == .connectionFailed)
            #expect("\(error)".contains("107 bytes"))
        }
    }

    @Test func tooManyClientsIsSaid() async throws {
        try await TestServer.running(["--maxclients", "1"]) { server in
            try await withClient(server.unix) { client async throws in
                _ = try await client.send("PING")
                try await withClient(server.unix) { client async throws in
                    let error = try await failure { try await client.send("PING") }
                    #expect(error.code == .connectionFailed)
                    #expect("\(error)".contains("max number of clients"))
                }
            }
        }
    }
}
