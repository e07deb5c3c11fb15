import CProtos
import ProtobufC
public import RPC
import Synchronization

/// The standard health service `grpc.health.v1.Health`: Check and Watch, for the server as a whole (the empty name) and per service.
public final class Health: Sendable {
    /// Whether a service answers.
    public enum Status: Sendable, Hashable {
        /// It answers.
        case serving
        /// It is starting or draining.
        case notServing
    }

    private struct State {
        var statuses: [String: Status]
        var watchers: [Int: (service: String, continuation: AsyncStream<Status?>.Continuation)] = [:]
        var nextWatcher = 0
        var ended = false
    }

    private let state: Mutex<State>

    /// Health of the server as a whole and of `services`, all of them not serving yet.
    public init(services: [String]) {
        state = Mutex(State(statuses: Dictionary(uniqueKeysWithValues: Set(services + [""]).map { ($0, .notServing) })))
    }

    /// Sets the status of the server as a whole and of every service. After ``drain()`` it changes nothing.
    public func set(_ status: Status) {
        state.withLock { state in
            guard !state.ended else { return }
            for name in state.statuses.keys { state.statuses[name] = status }
            for watcher in state.watchers.values where state.statuses[watcher.service] != nil { watcher.continuation.yield(status) }
        }
    }

    /// The status of a service, or of the server as a whole (the empty name); nil: the service is not known.
    public func status(of service: String = "") -> Status? { state.withLock { $0.statuses[service] } }

    /// Sets the status to not serving for good and ends every Watch, so that none holds up the server's shutdown.
    public func drain() {
        set(.notServing)
        let watchers = state.withLock { state in
            state.ended = true
            defer { state.watchers = [:] }
            return state.watchers.values.map(\.continuation)
        }
        for watcher in watchers { watcher.finish() }
    }

    /// The service, to be given to a server.
    public var service: Service {
        Service(
            "grpc.health.v1.Health",
            [
                .unary("Check") { [self] request, _ in
                    let name = try Self.decode(request)
                    guard let status = state.withLock({ $0.statuses[name] }) else {
                        throw RPCError(.notFound, "service \"\(name)\" is not known here")
                    }
                    return Self.encode(status)
                },
                .streaming("Watch") { [self] requests, responses, _ in
                    var iterator = requests.makeAsyncIterator()
                    guard let request = try await iterator.next() else { return }
                    let name = try Self.decode(request)
                    for await status in watch(name) { try await responses.write(Self.encode(status)) }
                    if !Task.isCancelled { throw RPCError(.unavailable, "the server is shutting down") }
                },
            ])
    }

    /// The status now and at every change; a reader that falls behind sees the newest. Nil: the service is not known.
    private func watch(_ name: String) -> AsyncStream<Status?> {
        let (stream, continuation) = AsyncStream.makeStream(of: Status?.self, bufferingPolicy: .bufferingNewest(1))
        state.withLock { state in
            continuation.yield(state.statuses[name])
            guard !state.ended else { return continuation.finish() }
            let id = state.nextWatcher
            state.nextWatcher += 1
            state.watchers[id] = (name, continuation)
            continuation.onTermination = { [self] _ in _ = self.state.withLock { $0.watchers.removeValue(forKey: id) } }
        }
        return stream
    }

    private static func decode(_ request: [UInt8]) throws(RPCError) -> String {
        let name = withUnpacked(
            request, unpack: grpc__health__v1__health_check_request__unpack, free: grpc__health__v1__health_check_request__free_unpacked
        ) { String(decoding: UnsafeBufferPointer(start: $0.service.data, count: $0.service.len), as: UTF8.self) }
        guard let name else { throw RPCError(.invalidArgument, "the request is not a grpc.health.v1.HealthCheckRequest") }
        return name
    }

    private static func encode(_ status: Status?) -> [UInt8] {
        packed(
            grpc__health__v1__health_check_response__init, size: grpc__health__v1__health_check_response__get_packed_size,
            pack: grpc__health__v1__health_check_response__pack
        ) { response, _ in
            response.status =
                switch status {
                case .serving: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                case .notServing: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
                case nil: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
                }
        }
    }
}
