package import Foundation
package import Redis

/// A real redis-server of a test's own, on a unix socket and a free TCP port, in a temporary directory.
package final class TestServer: @unchecked Sendable {
    // Invariant: `process` is touched by one test only, which starts and stops the server in order.
    package let directory: URL
    package let port: UInt16
    private let arguments: [String]
    private var process: Process?

    package var socketPath: String { directory.appendingPathComponent("redis.sock").path }
    package var unix: RedisClient.Configuration { Self.configuration(.unix(path: socketPath)) }
    package var tcp: RedisClient.Configuration { Self.configuration(.tcp(host: "127.0.0.1", port: port)) }

    /// Prepares a server without starting it. It accepts DEBUG.
    package init(arguments: [String] = []) throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("kefu-redis-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        port = try Self.freePort()
        self.arguments = arguments
    }

    deinit {
        kill()
        try? FileManager.default.removeItem(at: directory)
    }

    /// Starts the server, and runs `body` with it.
    package static func running<Value>(_ arguments: [String] = [], _ body: (TestServer) async throws -> Value) async throws -> Value {
        let server = try TestServer(arguments: arguments)
        try server.start()
        defer { server.kill() }
        return try await body(server)
    }

    /// Starts the server. A client finds out by itself when it listens.
    package func start() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            [
                "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "-::1", "--unixsocket", socketPath, "--dir", directory.path,
                "--save", "",
                "--enable-debug-command", "yes",
            ] + arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        self.process = process
    }

    /// Ends the server at once, and waits until it has ended.
    package func kill() {
        guard let process else { return }
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        self.process = nil
        try? FileManager.default.removeItem(atPath: socketPath)
    }

    /// Stops the server in its tracks; its sockets stay open.
    package func freeze() {
        if let process { Foundation.kill(process.processIdentifier, SIGSTOP) }
    }

    /// Sends one command over a connection of its own.
    @discardableResult
    package func send(_ command: RedisBytes...) async throws -> RedisValue {
        let words = command
        return try await withClient(unix) { client async throws in try await client.send(words) }
    }

    /// Lets a frozen server go on.
    package func thaw() {
        if let process { Foundation.kill(process.processIdentifier, SIGCONT) }
    }

    /// A configuration for tests.
    package static func configuration(_ endpoint: RedisClient.Configuration.Endpoint) -> RedisClient.Configuration {
        var configuration = RedisClient.Configuration(endpoint: endpoint)
        // The machine may be busy: only tests about time-outs have short ones.
        configuration.commandTimeout = .seconds(20)
        configuration.connectTimeout = .seconds(20)
        switch endpoint {
        case .tcp, .unix: configuration.silenceTimeout = .seconds(60)
        // Where servers replace each other the limit is part of what is tested.
        case .sentinel, .cluster: break
        }
        configuration.backoff = Backoff(initial: .milliseconds(5), maximum: .milliseconds(50))
        return configuration
    }

    package static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) | getsockname(descriptor, $0, &length) }
        }
        guard status == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        return UInt16(bigEndian: address.sin_port)
    }
}

/// Runs a client for as long as `body` takes.
package func withClient<Value>(_ configuration: RedisClient.Configuration, _ body: (RedisClient) async throws -> Value) async throws
    -> Value
{
    let client = RedisClient(configuration)
    let running = Task { await client.run() }
    do {
        let value = try await body(client)
        running.cancel()
        await running.value
        return value
    } catch {
        running.cancel()
        await running.value
        throw error
    }
}
