import Redis
import RedisTestSupport
import Testing

@Suite(.timeLimit(.minutes(2)))
struct SentinelTests {
    /// Writes until one write succeeds on a server other than `old`, and gives what its INFO says.
    private func written(_ client: RedisClient, key: RedisBytes, notOn old: UInt16) async throws -> String {
        while true {
            do throws(RedisError) {
                _ = try await client.send("SET", key, "v", deadline: .now + .milliseconds(500))
                let info = try await client.send("INFO", deadline: .now + .milliseconds(500)).string ?? ""
                if !info.contains("tcp_port:\(old)\r\n") { return info }
            } catch {
                try await Task.sleep(for: .milliseconds(5))
            }
        }
    }

    @Test func theMasterIsFoundAndFollowed() async throws {
        try await TestSentinels.running { service in
            var configuration = service.configuration
            configuration.silenceTimeout = .milliseconds(500)
            try await withClient(configuration) { client async throws in
                let script = RedisScript("return redis.call('INCR', KEYS[1])")
                #expect(try await client.evaluate(script, keys: ["n"]) == .integer(1))
                #expect(try await client.send("INFO").string?.contains("tcp_port:\(service.servers[0].port)\r\n") == true)
                // Killed: the sentinels promote the replica, and the client finds it. It has not got the script.
                _ = try await client.send("WAIT", "1", "5000")
                service.servers[0].kill()
                let info = try await written(client, key: "k", notOn: service.servers[0].port)
                #expect(info.contains("role:master\r\n"))
                #expect(info.contains("tcp_port:\(service.servers[1].port)\r\n"))
                _ = try await client.send("SCRIPT", "FLUSH")
                #expect(try await client.evaluate(script, keys: ["n"]) == .integer(2))
            }
        }
    }

    /// One set of servers for all of it: they take seconds to find each other.
    @Test func whatReplicasAndSentinelsSayIsHeeded() async throws {
        try await TestSentinels.running { service in
            try await theConfirmationOfReplicasIsWaitedFor(service)
            try await aDemotedMasterIsLeftWithoutAnError(service)
            try await oneSentinelIsEnough(service)
        }
    }

    private func aDemotedMasterIsLeftWithoutAnError(_ service: TestSentinels) async throws {
        try await withClient(service.configuration) { client async throws in
            _ = try await client.send("SET", "k", "1")
            // The old master lives on as a replica, and refuses writes from then on.
            try await service.send(to: 0, "SENTINEL", "FAILOVER", "kefu")
            var isReplaced = false
            while !isReplaced {
                do throws(RedisError) {
                    _ = try await client.send("SET", "k", "2")
                    isReplaced = try await client.send("INFO").string?.contains("tcp_port:\(service.servers[1].port)\r\n") == true
                } catch {
                    #expect(error.code == .connectionLost, "\(error)")
                }
            }
            #expect(try await client.send("ROLE").array?.first?.string == "master")
        }
    }

    @Test func aMasterThatSleptThroughItsReplacementIsNotBelieved() async throws {
        try await TestSentinels.running(downAfter: 1000) { service in
            var configuration = service.configuration
            configuration.silenceTimeout = .milliseconds(400)
            let (old, new) = (service.servers[0], service.servers[1])
            try await withClient(configuration) { client async throws in
                _ = try await client.send("SET", "k", "before")
                _ = try await client.send("WAIT", "1", "5000")
                old.freeze()
                // The client has nothing to send: it must find out by itself.
                for sentinel in service.ports.indices {
                    while try await service.send(to: sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "kefu").array?.last?.string
                        != "\(new.port)"
                    { try await Task.sleep(for: .milliseconds(10)) }
                }
                old.thaw()
                #expect(try await old.send("ROLE").array?.first?.string == "master")
                _ = try await client.send("SET", "k", "after", deadline: .now + .seconds(30))
                #expect(try await new.send("GET", "k").string == "after")
            }
        }
    }

    private func oneSentinelIsEnough(_ service: TestSentinels) async throws {
        service.kill(sentinel: 0)
        service.freeze(sentinel: 1)
        defer { service.freeze(sentinel: 1, false) }
        try await withClient(service.configuration) { client async throws in
            #expect(try await client.send("PING") == .status("PONG"))
        }
        var unknown = service.configuration
        unknown.endpoint = .sentinel(service: "other", sentinels: [.init(host: "127.0.0.1", port: service.ports[2])])
        unknown.commandTimeout = .seconds(1)
        try await withClient(unknown) { client async throws in
            let error = try await failure { try await client.send("PING") }
            #expect(error.code == .connectionFailed)
            #expect("\(error)".contains("No such master"))
            #expect("\(error)".contains("'other'"))
        }
    }

    private func theConfirmationOfReplicasIsWaitedFor(_ service: TestSentinels) async throws {
        try await withClient(service.configuration) { client async throws in
            let script = RedisScript("return redis.call('INCR', KEYS[1])")
            let one = RedisClient.Replication(replicas: 1, timeout: .seconds(10))
            let answers = try await withThrowingTaskGroup(of: Int64?.self) { group in
                for _ in 0..<100 { group.addTask { try await client.evaluate(script, keys: ["n"], replication: one).integer } }
                return try await group.reduce(into: Set<Int64>()) { if let number = $1 { $0.insert(number) } }
            }
            #expect(answers == Set(1...100))
            #expect(try await service.servers[1].send("GET", "n").string == "100")
            let two = RedisClient.Replication(replicas: 2, timeout: .milliseconds(50))
            let error = try await failure { try await client.evaluate(script, keys: ["n"], replication: two) }
            #expect(error.code == .notReplicated)
            #expect(error.mayHaveRun)
            #expect(error.message.contains("1 of 2 replicas"))
            #expect(try await client.send("GET", "n").string == "101")
            #expect(client.pendingCommandCount == 0)
        }
    }
}
