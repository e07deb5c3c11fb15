import Foundation
package import Redis

/// A master with one replica, and three sentinels that watch them as the service `kefu`: real servers on loopback.
package final class TestSentinels: @unchecked Sendable {
    // Invariant: `processes` is touched by one test only, which starts and stops the servers in order.
    package let servers: [TestServer]
    package let ports: [UInt16]
    private let directory: URL
    private var processes: [Process] = []

    /// The service as a client is told of it.
    package var configuration: RedisClient.Configuration {
        TestServer.configuration(.sentinel(service: "kefu", sentinels: ports.map { .init(host: "127.0.0.1", port: $0) }))
    }

    /// Starts everything, and runs `body` with it once the sentinels know the replica and each other.
    ///
    /// - Parameter downAfter: How many milliseconds of silence of the master make a sentinel take it for down.
    package static func running<Value>(
        downAfter: Int = 1000, arguments: [String] = [], _ body: (TestSentinels) async throws -> Value
    ) async throws -> Value {
        let service = try TestSentinels(downAfter: downAfter, arguments: arguments)
        defer { service.stop() }
        try await service.waitUntilComplete()
        return try await body(service)
    }

    private init(downAfter: Int, arguments: [String]) throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("kefu-sentinels-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let shared = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "10"] + arguments
        let master = try TestServer(arguments: shared)
        let replica = try TestServer(arguments: shared + ["--replicaof", "127.0.0.1", "\(master.port)"])
        servers = [master, replica]
        ports = try (0..<3).map { _ in try TestServer.freePort() }
        for server in servers { try server.start() }
        for port in ports { processes.append(try startSentinel(port, master: master.port, downAfter: downAfter)) }
    }

    private func startSentinel(_ port: UInt16, master: UInt16, downAfter: Int) throws -> Process {
        let folder = directory.appendingPathComponent("\(port)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent("sentinel.conf")
        try """
        port \(port)
        bind 127.0.0.1
        dir \(folder.path)
        sentinel monitor kefu 127.0.0.1 \(master) 2
        sentinel down-after-milliseconds kefu \(downAfter)
        sentinel failover-timeout kefu 10000
        """.write(to: file, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["redis-server", file.path, "--sentinel"]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        return process
    }

    private func waitUntilComplete() async throws {
        for port in ports {
            try await withClient(TestServer.configuration(.tcp(host: "127.0.0.1", port: port))) { client async throws in
                while true {
                    let fields = try await client.send("SENTINEL", "MASTER", "kefu").array?.map { $0.string ?? "" } ?? []
                    let known = Dictionary(
                        stride(from: 0, to: fields.count - 1, by: 2).map { (fields[$0], fields[$0 + 1]) }, uniquingKeysWith: { $1 })
                    if known["num-slaves"] == "1", known["num-other-sentinels"] == "2", known["flags"] == "master" { return }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
        }
        // A replica that has not synchronised yet cannot be promoted.
        while try await servers[1].send("INFO", "replication").string?.contains("master_link_status:up") != true {
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Sends one command to one of the sentinels.
    @discardableResult
    package func send(to sentinel: Int, _ command: RedisBytes...) async throws -> RedisValue {
        let words = command
        return try await withClient(TestServer.configuration(.tcp(host: "127.0.0.1", port: ports[sentinel]))) { client async throws in
            try await client.send(words)
        }
    }

    /// Stops a sentinel in its tracks, or lets it go on.
    package func freeze(sentinel: Int, _ isFrozen: Bool = true) {
        kill(processes[sentinel].processIdentifier, isFrozen ? SIGSTOP : SIGCONT)
    }

    /// Ends a sentinel.
    package func kill(sentinel: Int) {
        kill(processes[sentinel].processIdentifier, SIGKILL)
        processes[sentinel].waitUntilExit()
    }

    private func stop() {
        for process in processes where process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        for server in servers {
            server.thaw()
            server.kill()
        }
        try? FileManager.default.removeItem(at: directory)
    }

    private func kill(_ process: pid_t, _ signal: Int32) { _ = Foundation.kill(process, signal) }
}
