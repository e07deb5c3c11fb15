public import Conversation
public import Dialogue
public import Logging
public import RPC
import RPCServices
import Synchronization
import Wire

/// The shop's backend behind `kefu.actions.v1.Actions`.
///
/// A call of which nothing is known (UNAVAILABLE and the like, or no answer within an attempt's time) is sent again with the same idempotency key, until
/// the action's time is over. A circuit breaker keeps turns from waiting for a backend that is away.
public struct RemoteActions: Actions {
    /// How a backend is called.
    public struct Configuration: Sendable {
        /// The most an action may take, attempts and pauses together.
        public var timeout: Duration = .seconds(3)
        /// The most one attempt may take.
        public var attemptTimeout: Duration = .seconds(1)
        /// The pause before the second attempt; each further one is twice as long.
        public var pause: Duration = .milliseconds(50)
        /// When calls are kept away.
        public var breaker = CircuitBreaker.Configuration()

        /// The defaults.
        public init() {}
    }

    private let channel: Channel
    private let configuration: Configuration
    private let breaker: Guarded
    private let logger: Logger

    /// A backend behind a channel. The channel must not repeat calls by itself.
    public init(channel: Channel, configuration: Configuration = Configuration(), logger: Logger) {
        self.channel = channel
        self.configuration = configuration
        self.logger = logger
        breaker = Guarded(CircuitBreaker(configuration.breaker))
    }

    /// How the circuit breaker stands.
    public var breakerState: CircuitBreaker.State { breaker.state }

    /// Does it once, however often it is called with the same idempotency key.
    public func perform(_ call: ActionCall, uid: UserID, now: Timestamp, deadline: ContinuousClock.Instant?) async -> ActionResult {
        let end = ContinuousClock.now + configuration.timeout
        let deadline = deadline.map { min($0, end) } ?? end
        let request = ActionsCodec.performRequest(
            ActionRequest(
                name: call.name, flow: call.flow, uid: uid, idempotencyKey: call.idempotencyKey, arguments: call.arguments, now: now))
        var pause = configuration.pause
        while true {
            guard ContinuousClock.now < deadline, let permit = breaker.admit() else { return .unavailable }
            let attempt = min(deadline, ContinuousClock.now + configuration.attemptTimeout)
            do throws(RPCError) {
                let answer = try await channel.unary(
                    Self.method, request, options: CallOptions(deadline: attempt, metadata: TraceContext.outgoing)
                ).message
                breaker.note(.success, of: permit)
                return try result(answer)
            } catch {
                breaker.note(Self.outcome(of: error), of: permit)
                logger.warning(
                    "\(call.name) (\(call.idempotencyKey)): the actions backend answered \(call.hidingArguments(in: "\(error)"))")
                guard Self.repeatable.contains(error.code), !Task.isCancelled, ContinuousClock.now + pause < deadline else {
                    return .unavailable
                }
            }
            try? await Task.sleep(for: pause)
            pause *= 2
        }
    }

    private static let method = "/kefu.actions.v1.Actions/Perform"
    private static let repeatable: Set<RPCError.Code> = [.unavailable, .resourceExhausted, .aborted, .deadlineExceeded]

    /// A backend that refuses a call is there.
    private static func outcome(of error: RPCError) -> CircuitBreaker.Outcome {
        switch error.code {
        case .cancelled: .unknown
        case .unavailable, .deadlineExceeded, .resourceExhausted, .unknown, .internalError, .unimplemented: .failure
        default: .success
        }
    }

    private func result(_ bytes: [UInt8]) throws(RPCError) -> ActionResult {
        do throws(ConversationError) {
            let response = try ActionsCodec.performResponse(decoding: bytes)
            return ActionResult(code: response.refusal.isEmpty ? "ok" : response.refusal, values: response.values)
        } catch {
            throw RPCError(.internalError, error.message)
        }
    }
}

extension ActionCall {
    /// A text without the values of the arguments: a backend's error may repeat what the customer said, and some of it must not stand in logs.
    func hidingArguments(in text: String) -> String {
        arguments.flatMap { [$0.value, $0.normalized] }.filter { !$0.isEmpty }.reduce(text) { $0.replacing($1, with: "***") }
    }
}

/// A circuit breaker that many tasks share, by the continuous clock.
final class Guarded: Sendable {
    private let breaker: Mutex<CircuitBreaker>

    init(_ breaker: CircuitBreaker) { self.breaker = Mutex(breaker) }

    var state: CircuitBreaker.State { breaker.withLock { $0.state } }

    func admit() -> CircuitBreaker.Permit? { breaker.withLock { $0.admit(at: .now) } }

    func note(_ outcome: CircuitBreaker.Outcome, of permit: CircuitBreaker.Permit) {
        breaker.withLock { $0.note(outcome, of: permit, at: .now) }
    }
}
