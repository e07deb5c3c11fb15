internal import CHiredis
internal import Glibc
internal import Synchronization

/// What a resolver thread found for a host name.
struct Resolution: Sendable {
    /// The attempt that asked.
    let attempt: Int
    /// Numeric addresses, in the order in which they are to be tried.
    let addresses: Result<[String], RedisError>
}

/// Where the callers' threads leave commands for the event-loop thread. It also counts what is under way, and bounds it.
///
/// A burst of commands wakes the loop once: only the first that finds it asleep writes to the eventfd.
final class Inbox: Sendable {
    /// What is not yet taken by the event loop.
    struct Contents {
        var requests: [Request] = []
        var jobs: [UnownedJob] = []
        var resolutions: [Resolution] = []
        var isStopRequested = false
    }

    /// Whether the event loop is there to take commands.
    enum Phase {
        case idle, running, finished
    }

    private struct State {
        var contents = Contents()
        var phase = Phase.idle
        /// The loop sleeps, or is about to: whoever adds something next must wake it.
        var needsWake = false
    }

    /// The eventfd that wakes the loop; −1 where none could be made. Open for as long as the inbox lives.
    let wakeDescriptor = chiredis_wake_descriptor()
    private let state = Mutex(State())
    private let attempts = Atomic<Int>(0)
    private let pendingCommands = Atomic<Int>(0)
    private let pendingBytes = Atomic<Int>(0)
    private let maximumCommands: Int
    private let maximumBytes: Int

    init(maximumCommands: Int, maximumBytes: Int) {
        self.maximumCommands = maximumCommands
        self.maximumBytes = maximumBytes
    }

    deinit {
        if wakeDescriptor >= 0 { close(wakeDescriptor) }
    }

    /// Leaves a request, or answers it where it cannot be taken.
    ///
    /// - Returns: The phase in which it was left.
    func submit(_ request: Request) -> Phase {
        if let error = reserve(bytes: request.command.count) {
            request.answer(.failure(error))
            return .finished
        }
        let (phase, wakes) = state.withLock { state in
            if state.phase == .finished || state.contents.isStopRequested { return (Phase.finished, false) }
            state.contents.requests.append(request)
            defer { state.needsWake = false }
            return (state.phase, state.needsWake)
        }
        if wakes { wake() }
        if phase == .finished {
            release(request)
            request.answer(.failure(RedisError(.closed, "the client has ended: RedisClient.run() was cancelled")))
        }
        return phase
    }

    /// Leaves a job for the loop's thread.
    ///
    /// - Returns: False where no loop is there to run it.
    func submit(_ job: UnownedJob) -> Bool {
        let (isTaken, wakes) = state.withLock { state in
            guard state.phase == .running else { return (false, false) }
            state.contents.jobs.append(job)
            defer { state.needsWake = false }
            return (true, state.needsWake)
        }
        if wakes { wake() }
        return isTaken
    }

    /// Gives back the place of a request that is no longer under way.
    func release(_ request: Request) {
        if request.isOwn { return }
        pendingCommands.subtract(1, ordering: .relaxed)
        pendingBytes.subtract(request.command.count, ordering: .relaxed)
    }

    /// How many commands are under way.
    var pendingCommandCount: Int { pendingCommands.load(ordering: .relaxed) }

    /// A number for an attempt to resolve a name, which no other has.
    func nextAttempt() -> Int { attempts.add(1, ordering: .relaxed).newValue }

    /// Leaves the result of a name resolution.
    func post(_ resolution: Resolution) {
        change { $0.contents.resolutions.append(resolution) }
    }

    /// Asks the loop to end.
    func requestStop() {
        change { $0.contents.isStopRequested = true }
    }

    /// Whether no loop has come yet.
    var isIdle: Bool { state.withLock { $0.phase == .idle } }

    /// Marks the loop as there.
    ///
    /// - Returns: False where it was there before.
    func start() -> Bool {
        state.withLock { state in
            guard state.phase == .idle else { return false }
            state.phase = .running
            return true
        }
    }

    /// Refuses everything from now on.
    ///
    /// - Returns: What nobody has taken.
    func finish() -> Contents {
        state.withLock { state in
            state.phase = .finished
            defer { state.contents = Contents() }
            return state.contents
        }
    }

    /// Takes what is there; `spare` holds empty buffers to go on with. The loop calls it when it is awake.
    func take(spare: Contents) -> Contents {
        state.withLock { state in
            state.needsWake = false
            var contents = spare
            contents.isStopRequested = state.contents.isStopRequested
            swap(&contents, &state.contents)
            return contents
        }
    }

    /// Takes the requests that are there; `requests` must be empty.
    func takeRequests(into requests: inout [Request]) {
        state.withLock { swap(&requests, &$0.contents.requests) }
    }

    /// Tells the callers that the loop is about to sleep.
    ///
    /// - Returns: False where something has come meanwhile: then the loop must not sleep.
    func prepareToSleep(knowsOfStop: Bool) -> Bool {
        state.withLock { state in
            let contents = state.contents
            state.needsWake =
                contents.requests.isEmpty && contents.jobs.isEmpty && contents.resolutions.isEmpty
                && contents.isStopRequested == knowsOfStop
            return state.needsWake
        }
    }

    /// Tells the callers that the loop is awake and will look into the inbox before it sleeps again.
    func markAwake() {
        state.withLock { $0.needsWake = false }
    }

    private func change(_ body: (inout State) -> Void) {
        let wakes = state.withLock { state in
            body(&state)
            defer { state.needsWake = false }
            return state.needsWake
        }
        if wakes { wake() }
    }

    private func wake() {
        var one: UInt64 = 1
        // It can fail only where the counter is full, and then the loop is awake already.
        _ = write(wakeDescriptor, &one, 8)
    }

    private func reserve(bytes: Int) -> RedisError? {
        let commands = pendingCommands.add(1, ordering: .relaxed).newValue
        let total = pendingBytes.add(bytes, ordering: .relaxed).newValue
        if commands <= maximumCommands, total <= maximumBytes { return nil }
        pendingCommands.subtract(1, ordering: .relaxed)
        pendingBytes.subtract(bytes, ordering: .relaxed)
        return RedisError(
            .overloaded,
            commands > maximumCommands
                ? "\(maximumCommands) commands are under way already"
                : "\(maximumBytes) bytes of commands would be exceeded by \(bytes) more")
    }
}
