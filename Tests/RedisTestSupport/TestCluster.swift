import Foundation
package import Redis

/// A Redis Cluster of three masters and three replicas: real servers on loopback. Server n + 3 is the replica of server n.
package final class TestCluster: Sendable {
    package let servers: [TestServer]

    /// The cluster as a client is told of it.
    package var configuration: RedisClient.Configuration {
        TestServer.configuration(.cluster(seeds: servers.prefix(2).map { .init(host: "127.0.0.1", port: $0.port) }))
    }

    /// Starts the cluster, and runs `body` with it once every node says that it is whole.
    ///
    /// - Parameter nodeTimeout: After how many milliseconds of silence a master is replaced.
    package static func running<Value>(
        nodeTimeout: Int = 2000, arguments: [String] = [], _ body: (TestCluster) async throws -> Value
    ) async throws -> Value {
        let cluster = try TestCluster(nodeTimeout: nodeTimeout, arguments: arguments)
        defer { cluster.stop() }
        for server in cluster.servers { try server.start() }
        try await cluster.join()
        return try await body(cluster)
    }

    private let busPorts: [UInt16]

    private init(nodeTimeout: Int, arguments: [String]) throws {
        var servers: [TestServer] = []
        var busPorts: [UInt16] = []
        for _ in 0..<6 {
            let port = try TestServer.freePort()
            busPorts.append(port)
            servers.append(
                try TestServer(
                    arguments: [
                        "--cluster-enabled", "yes", "--cluster-port", "\(port)", "--cluster-node-timeout", "\(nodeTimeout)",
                        "--repl-diskless-sync-delay", "0",
                    ] + arguments))
        }
        self.servers = servers
        self.busPorts = busPorts
    }

    private func join() async throws {
        for (index, server) in servers.enumerated() {
            try await server.send("CLUSTER", "SET-CONFIG-EPOCH", RedisBytes(index + 1))
        }
        for (index, server) in servers.enumerated() {
            if index < 3 {
                let (first, last) = slots(ofMaster: index)
                try await server.send("CLUSTER", "ADDSLOTSRANGE", RedisBytes(first), RedisBytes(last))
            }
            for other in servers.indices where other > index {
                try await server.send(
                    "CLUSTER", "MEET", "127.0.0.1", RedisBytes(servers[other].port), RedisBytes(busPorts[other]))
            }
        }
        for index in 3..<6 {
            let id = RedisBytes(try await self.id(of: index - 3))
            while (try? await servers[index].send("CLUSTER", "REPLICATE", id)) != .status("OK") {
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        for server in servers {
            try await withClient(server.unix) { client async throws in
                while true {
                    let isWhole = try await client.send("CLUSTER", "INFO").string?.contains("cluster_state:ok") == true
                    let ranges = try await client.send("CLUSTER", "SLOTS").array ?? []
                    if isWhole, ranges.count == 3, ranges.allSatisfy({ $0.array?.count == 4 }) { return }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
        }
        // A replica that has not synchronised yet cannot be promoted.
        for replica in servers[3...] {
            while try await replica.send("INFO", "replication").string?.contains("master_link_status:up") != true {
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    /// The slots that a master has at first.
    package func slots(ofMaster index: Int) -> (first: Int, last: Int) {
        (16384 * index / 3, 16384 * (index + 1) / 3 - 1)
    }

    /// The name of a node.
    package func id(of index: Int) async throws -> String {
        try await servers[index].send("CLUSTER", "MYID").string ?? ""
    }

    private func stop() {
        for server in servers {
            server.thaw()
            server.kill()
        }
    }
}
