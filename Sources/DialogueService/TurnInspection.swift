import Conversation
import Synchronization

/// What one turn asked, and what was recognised, for whoever looks at that turn.
final class TurnInspection: Sendable {
    /// Asking another part once.
    struct Step: Sendable {
        var step: TurnStep
        /// From the start of the turn.
        var offset: Duration
        var duration: Duration
        var error: ConversationError?
    }

    private struct State {
        var steps: [Step] = []
        var recognition: Recognition?
    }

    /// The inspection of the turn that this task works for; nil: nobody looks.
    @TaskLocal static var current: TurnInspection?

    let begun = ContinuousClock.now
    private let state = Mutex(State())

    /// The steps in the order in which they began.
    var steps: [Step] { state.withLock { $0.steps }.sorted { $0.offset < $1.offset } }

    /// nil: recognition was out of reach, or not waited for.
    var recognition: Recognition? { state.withLock { $0.recognition } }

    func note(_ step: TurnStep, begun: ContinuousClock.Instant, duration: Duration, error: ConversationError?) {
        let step = Step(step: step, offset: self.begun.duration(to: begun), duration: duration, error: error)
        state.withLock { $0.steps.append(step) }
    }

    func note(_ recognition: Recognition) { state.withLock { $0.recognition = recognition } }
}
