import Conversation
public import Dialogue
public import Logging
public import RPC
import RPCServices
import Synchronization
import Wire

/// A model of small talk behind TensorFlow Serving's `PredictionService`.
///
/// A lane of its own: so many calls at once and no more, each with a time budget, a circuit breaker, and a filter over what the model says. Whatever
/// stands in the way, the answer is nil, in time.
public struct RemoteChitchat: Chitchat {
    /// How the model is called.
    public struct Configuration: Sendable {
        /// The model's name.
        public var model = "chitchat"
        /// The most an answer may take.
        public var budget: Duration = .milliseconds(250)
        /// How many calls may be under way.
        public var concurrency = 32
        /// When calls are kept away.
        public var breaker = CircuitBreaker.Configuration()

        /// The defaults.
        public init() {}
    }

    private let channel: Channel
    private let filter: @Sendable () -> SmallTalkFilter
    private let configuration: Configuration
    private let breaker: Guarded
    private let places: Places
    private let logger: Logger

    /// A model behind a channel, whose words must pass a filter.
    public init(
        channel: Channel, filter: @escaping @Sendable () -> SmallTalkFilter, configuration: Configuration = Configuration(), logger: Logger
    ) {
        self.channel = channel
        self.filter = filter
        self.configuration = configuration
        self.logger = logger
        breaker = Guarded(CircuitBreaker(configuration.breaker))
        places = Places(configuration.concurrency)
    }

    /// How the circuit breaker stands.
    public var breakerState: CircuitBreaker.State { breaker.state }

    /// What the model says; nil where it cannot answer in time, has nothing to say, or says what it may not.
    public func answer(_ query: String, recent: [String], deadline: ContinuousClock.Instant?) async -> String? {
        let end = ContinuousClock.now + configuration.budget
        let deadline = deadline.map { min($0, end) } ?? end
        guard ContinuousClock.now < deadline, places.take() else { return nil }
        defer { places.free() }
        guard let permit = breaker.admit() else { return nil }
        let request = TensorFlowCodec.predictRequest(
            model: configuration.model, signature: "serving_default",
            inputs: [("text", query), ("context", recent.joined(separator: "\n"))])
        do throws(RPCError) {
            let response = try await channel.unary(
                "/tensorflow.serving.PredictionService/Predict", request,
                options: CallOptions(deadline: deadline, metadata: TraceContext.outgoing)
            ).message
            breaker.note(.success, of: permit)
            return said(response)
        } catch {
            breaker.note(error.code == .cancelled ? .unknown : .failure, of: permit)
            logger.debug("small talk: the model's server answered \(error)")
            return nil
        }
    }

    /// The versions of the model that can be asked.
    ///
    /// - Throws: ``RPCError`` where the server cannot be reached or has no such model.
    public func availableVersions(timeout: Duration) async throws -> [Int64] {
        let response = try await channel.unary(
            "/tensorflow.serving.ModelService/GetModelStatus", TensorFlowCodec.modelStatusRequest(model: configuration.model),
            options: CallOptions(timeout: timeout)
        ).message
        return try TensorFlowCodec.availableVersions(inModelStatusResponse: response)
    }

    /// Logs whether the model can be asked, for whoever starts the process.
    public func logStatus() async {
        do {
            let versions = try await availableVersions(timeout: .seconds(5))
            if versions.isEmpty {
                logger.warning(
                    "small talk: the model '\(configuration.model)' has no version that can be asked; templates answer until it has")
            } else {
                logger.info("small talk: the model '\(configuration.model)' has the versions \(versions)")
            }
        } catch {
            logger.warning("small talk: the model '\(configuration.model)' cannot be asked, templates answer until it can: \(error)")
        }
    }

    private func said(_ response: [UInt8]) -> String? {
        do throws(ConversationError) {
            let reply = try TensorFlowCodec.firstString(of: "reply", inPredictResponse: response)
            // The model says nothing where nothing that it knows is near.
            if reply.isEmpty { return nil }
            if let objection = filter().objection(to: reply) {
                logger.notice("small talk: what the model says is not said: \(objection)")
                return nil
            }
            return reply
        } catch {
            logger.warning("small talk: \(error)")
            return nil
        }
    }
}

/// A number of places, of which each call takes one.
final class Places: Sendable {
    private let left: Mutex<Int>

    init(_ count: Int) { left = Mutex(count) }

    func take() -> Bool {
        left.withLock { left in
            guard left > 0 else { return false }
            left -= 1
            return true
        }
    }

    func free() { left.withLock { $0 += 1 } }
}
