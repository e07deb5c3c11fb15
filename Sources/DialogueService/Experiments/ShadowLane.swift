import Conversation
import Dialogue
public import RPC
public import ServiceKit
public import ServiceLifecycle

/// Recognises what was answered already by another model, for the log alone.
///
/// It begins when the turn is over, at the priority of work that nobody waits for: so many at once and no more, and what finds no place is dropped and counted.
public final class ShadowLane: ServiceLifecycle.Service {
    private let channel: Channel
    private let budget: Duration
    private let places: Places
    private let jobs: AsyncStream<@Sendable () async -> Void>
    private let queue: AsyncStream<@Sendable () async -> Void>.Continuation
    private let answered: Counter
    private let failed: Counter
    private let dropped: Counter

    /// A lane to the intent servers.
    ///
    /// - Parameters:
    ///   - concurrency: How many recognitions may be under way.
    ///   - budget: The most that one may take.
    public init(channel: Channel, concurrency: Int, budget: Duration = .seconds(5), registry: MetricsRegistry) {
        self.channel = channel
        self.budget = budget
        places = Places(concurrency)
        (jobs, queue) = AsyncStream.makeStream()
        let outcomes = registry.counters(
            "kefu_dialogue_shadow_recognitions_total", "Recognitions of shadows, by what became of them; dropped: too many were under way.",
            labels: ["outcome"])
        (answered, failed, dropped) = (outcomes("answered"), outcomes("failed"), outcomes("dropped"))
    }

    /// Recognises until a graceful shutdown; what is under way then is broken off, and its turn is noted without it.
    public func run() async {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                for await job in self.jobs { group.addTask(operation: job) }
            }
        }
    }

    /// Has an utterance recognised.
    ///
    /// - Parameter then: Called once with what came of it, where the lane takes it.
    /// - Returns: Whether the lane takes it; false: it is full.
    func submit(_ query: Utterance, _ model: ModelSelector, then: @escaping @Sendable (TurnEvent.Shadow) -> Void) -> Bool {
        guard places.take() else {
            dropped.increment()
            return false
        }
        if case .enqueued = queue.yield({ then(await self.recognize(query, model)) }) { return true }
        places.free()
        dropped.increment()
        return false
    }

    private func recognize(_ query: Utterance, _ model: ModelSelector) async -> TurnEvent.Shadow {
        defer { places.free() }
        var shadow = TurnEvent.Shadow(model: model.description)
        let began = ContinuousClock.now
        do throws(ConversationError) {
            let recognizer = RemoteRecognizer(channel: channel, model: model, priority: .background)
            let recognition = try await recognizer.recognize(query, deadline: began + budget)
            answered.increment()
            shadow.model = recognition.model
            shadow.intent = recognition.intents.first?.name
            shadow.confidence = recognition.intents.first.flatMap { $0.confidence.isFinite ? $0.confidence : nil }
            shadow.route = recognition.route.label
            shadow.duration = began.duration(to: .now).microseconds
        } catch {
            failed.increment()
            shadow.error = error.code.description
        }
        return shadow
    }
}
