import RedisTestSupport
import Testing

@testable import Redis

@Suite(.timeLimit(.minutes(2)))
struct ClusterTests {
    private let script = RedisScript("return redis.call('INCR', KEYS[1])")

    /// A key whose slot a master has at first: the first such of the numbers from `start`.
    private func key(onMaster index: Int, of cluster: TestCluster, from start: Int = 0) throws -> (key: String, slot: Int) {
        let (first, last) = cluster.slots(ofMaster: index)
        let names = (start..<start + 10_000).map { "{\($0)}" }
        let name = try #require(names.first { (first...last).contains(Int(HashSlot.of($0.utf8))) })
        return (name, Int(HashSlot.of(name.utf8)))
    }

    /// One cluster for all of it: it takes seconds to start.
    @Test func aClusterIsServedWhateverBecomesOfItsNodes() async throws {
        try await TestCluster.running { cluster in
            try await everySlotIsReachedAndMovesAreFollowed(cluster)
            try await replicasAnswerReadsWhereAsked(cluster)
            try await aMasterIsReplaced(cluster, master: 0) { $0.kill() }
            try await aMasterIsReplaced(cluster, master: 1) { $0.freeze() }
        }
    }

    private func everySlotIsReachedAndMovesAreFollowed(_ cluster: TestCluster) async throws {
        var configuration = cluster.configuration
        // The map is read once; from then on only redirections tell.
        configuration.topologyInterval = .seconds(600)
        configuration.silenceTimeout = .seconds(60)
        try await withClient(configuration) { client async throws in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<300 {
                    group.addTask {
                        let key = RedisBytes("key:\(number)")
                        guard try await client.evaluate(script, keys: [key]) == .integer(1),
                            try await client.send("GET", key).string == "1"
                        else { throw CancellationError() }
                    }
                }
                try await group.waitForAll()
            }
            for server in cluster.servers.prefix(3) {
                #expect(try await server.send("DBSIZE").integer ?? 0 > 50)
            }
            #expect(try await failure { try await client.send("MGET", "{a}", "{b}") }.serverPrefix == "CROSSSLOT")

            // While a slot moves: what is still there is served there, what is not is asked for at its new home.
            let (name, slot) = try key(onMaster: 0, of: cluster)
            let (there, behind) = (RedisBytes(name), RedisBytes(name + "behind"))
            let (source, target) = (cluster.servers[0], cluster.servers[1])
            let (sourceID, targetID) = (RedisBytes(try await cluster.id(of: 0)), RedisBytes(try await cluster.id(of: 1)))
            _ = try await client.send("MSET", there, "1", behind, "1")
            try await target.send("CLUSTER", "SETSLOT", RedisBytes(slot), "IMPORTING", sourceID)
            try await source.send("CLUSTER", "SETSLOT", RedisBytes(slot), "MIGRATING", targetID)
            #expect(try await client.send("GET", there).string == "1")
            try await source.send("MIGRATE", "127.0.0.1", RedisBytes(target.port), there, "0", "5000")
            #expect(try await client.send("GET", there).string == "1")
            #expect(try await client.evaluate(script, keys: [there]) == .integer(2))
            // One of two keys has moved: TRYAGAIN, until the slot is where it belongs.
            async let both = client.send("MGET", there, behind)
            try await waitUntil { client.pendingCommandCount > 0 }
            try await source.send("MIGRATE", "127.0.0.1", RedisBytes(target.port), behind, "0", "5000")
            for server in [target, source] { try await server.send("CLUSTER", "SETSLOT", RedisBytes(slot), "NODE", targetID) }
            #expect(try await both.array?.first?.string == "2")
            #expect(try await client.evaluate(script, keys: [there]) == .integer(3))
            #expect(client.pendingCommandCount == 0)
        }
    }

    private func aMasterIsReplaced(_ cluster: TestCluster, master: Int, _ remove: (TestServer) -> Void) async throws {
        let (server, replica) = (cluster.servers[master], cluster.servers[master + 3])
        try await withClient(cluster.configuration) { client async throws in
            let key = RedisBytes(try key(onMaster: master, of: cluster, from: 1_000_000).key)
            _ = try await client.evaluate(script, keys: [key])
            try await waitUntil { (try? await server.send("INFO", "replication").string)??.contains("lag=0") == true }
            remove(server)
            var value: Int64?
            while value == nil {
                // The script is not known to the replica; what was sent and lost may not be sent twice.
                value = try? await client.evaluate(script, keys: [key], deadline: .now + .seconds(1)).integer
            }
            #expect(try await replica.send("ROLE").array?.first?.string == "master")
            #expect(try await replica.send("GET", key).string.flatMap { Int64($0) } == value)
            // Others were not touched.
            let other = RedisBytes(try self.key(onMaster: 2, of: cluster).key)
            #expect(try await client.send("SET", other, "1") == .status("OK"))
        }
    }

    private func replicasAnswerReadsWhereAsked(_ cluster: TestCluster) async throws {
        try await withClient(cluster.configuration) { client async throws in
            let key = RedisBytes(try key(onMaster: 2, of: cluster).key)
            _ = try await client.send("SET", key, "v")
            func reads(_ server: TestServer) async throws -> Int {
                let info = try await server.send("INFO", "commandstats").string ?? ""
                let line = info.split(separator: "\r\n").first { $0.hasPrefix("cmdstat_get:calls=") }
                return line.flatMap { Int($0.dropFirst("cmdstat_get:calls=".count).prefix { $0.isNumber }) } ?? 0
            }
            while try await reads(cluster.servers[5]) < 10 {
                #expect(["v", nil].contains(try await client.send(["GET", key], from: .replica).string))
            }
            let before = try await reads(cluster.servers[5])
            for _ in 0..<10 { #expect(try await client.send("GET", key).string == "v") }
            #expect(try await reads(cluster.servers[5]) == before)
            // A write that is sent to a replica comes to the master.
            #expect(try await client.send(["SET", key, "w"], from: .replica) == .status("OK"))
        }
    }

    @Test func aClusterThatCannotServeSaysSoInTime() async throws {
        let server = try TestServer(arguments: ["--cluster-enabled", "yes", "--cluster-port", "\(try TestServer.freePort())"])
        try server.start()
        defer { server.kill() }
        var configuration = TestServer.configuration(.cluster(seeds: [.init(host: "127.0.0.1", port: server.port)]))
        try await withClient(configuration) { client async throws in
            let empty = try await failure { try await client.send("GET", "k", deadline: .now + .seconds(1)) }
            #expect(empty.code == .connectionFailed)
            #expect(!empty.mayHaveRun)
            #expect("\(empty)".contains("names no slots"))
            // Some slots, but not all: the cluster is down.
            try await server.send("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
            try await server.send("CLUSTER", "ADDSLOTSRANGE", "8192", "16000")
            let down = try await failure { try await client.send("GET", "{foo}", deadline: .now + .seconds(1)) }
            #expect(down.code == .timedOut)
            #expect(!down.mayHaveRun)
            #expect("\(down)".contains("CLUSTERDOWN"))
            async let waiting = client.send("GET", "{foo}", deadline: .now + .seconds(30))
            try await server.send("CLUSTER", "ADDSLOTSRANGE", "16001", "16383")
            #expect(try await waiting == .null)
        }
        configuration.endpoint = .cluster(seeds: [.init(host: "127.0.0.1", port: 1)])
        try await withClient(configuration) { client async throws in
            let error = try await failure { try await client.send("GET", "k", deadline: .now + .seconds(1)) }
            #expect(error.code == .connectionFailed)
            #expect("\(error)".contains("Connection refused"))
        }
    }
}
