import RPC
import Synchronization

/// A server with one method, and a channel to it; both are gone when it returns.
func withPeer<R: Sendable>(
    _ service: String, _ method: String, _ handler: @escaping @Sendable ([UInt8]) async throws -> [UInt8],
    _ body: (Channel) async throws -> R
) async throws -> R {
    let (serverQueue, clientQueue) = (CompletionQueue(name: "peer"), CompletionQueue(name: "client"))
    let result: Result<R, any Error>
    do {
        let server = try Server(
            Server.Configuration(), services: [Service(service, [.unary(method) { request, _ in try await handler(request) }])],
            queue: serverQueue)
        let channel = try Channel("127.0.0.1:\(server.port)", queue: clientQueue)
        async let running: Void = server.run()
        do { result = .success(try await body(channel)) } catch { result = .failure(error) }
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

/// What came in, in order.
final class Log<Item: Sendable>: Sendable {
    private let items = Mutex<[Item]>([])

    var all: [Item] { items.withLock { $0 } }

    /// - Returns: How many there were before.
    @discardableResult func add(_ item: Item) -> Int {
        items.withLock { items in
            items.append(item)
            return items.count - 1
        }
    }
}
