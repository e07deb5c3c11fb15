import Foundation
import RPC
import Synchronization
import Testing

/// A server that runs while `body` does, and a channel to it, each on a queue of its own. All are gone when it returns.
func withPeers<Result: Sendable>(
    _ methods: [RPC.Method], server configure: (inout Server.Configuration) -> Void = { _ in },
    channel configureChannel: (inout Channel.Configuration) -> Void = { _ in }, target: ((Server) -> String)? = nil,
    _ body: (Channel, Server) async throws -> Result
) async throws -> Result {
    var configuration = Server.Configuration()
    configure(&configuration)
    var channelConfiguration = Channel.Configuration()
    configureChannel(&channelConfiguration)
    let serverQueue = CompletionQueue(name: "test-server")
    let clientQueue = CompletionQueue(name: "test-client")
    let result: Swift.Result<Result, any Error>
    do {
        let server = try Server(configuration, services: [Service("test.Test", methods)], queue: serverQueue)
        let channel = try Channel(target?(server) ?? "127.0.0.1:\(server.port)", configuration: channelConfiguration, queue: clientQueue)
        async let running: Void = server.run()
        do { result = .success(try await body(channel, server)) } catch { result = .failure(error) }
        await channel.close()
        server.beginShutdown(grace: .zero)
        await running
    } catch {
        result = .failure(error)
    }
    await clientQueue.shutdown()
    await serverQueue.shutdown()
    return try result.get()
}

/// A path for a unix socket that nobody else uses.
func temporarySocketPath() -> String {
    FileManager.default.temporaryDirectory.appendingPathComponent("kefu-\(UInt32.random(in: 0 ... .max)).sock").path
}

/// Answers with the request.
let echo = Method.unary("Echo") { request, _ in request }

/// Runs `body` and returns the RPCError that it throws.
func rpcError<T>(_ location: SourceLocation = #_sourceLocation, _ body: () async throws -> T) async -> RPCError? {
    do {
        _ = try await body()
        Issue.record("expected an RPCError, nothing was thrown", sourceLocation: location)
    } catch let error as RPCError {
        return error
    } catch {
        Issue.record("expected an RPCError, not \(error)", sourceLocation: location)
    }
    return nil
}

/// Something that happens once and can be awaited by one task.
final class Event: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(1)) }

    func happen() { continuation.yield() }

    /// Waits for it, but for at most 10 seconds. Returns whether it happened.
    func wait() async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await _ in self.stream { return true }
                return false
            }
            group.addTask {
                do { try await Task.sleep(for: .seconds(10)) } catch {}
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
    }
}

/// A value that tasks share.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    var value: Value { mutex.withLock { $0 } }

    @discardableResult
    func update<Result: Sendable>(_ body: @Sendable (inout Value) -> Result) -> Result { mutex.withLock { body(&$0) } }
}
