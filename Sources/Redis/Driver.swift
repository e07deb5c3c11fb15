internal import Glibc

/// Runs on the event-loop thread: takes commands from the inbox, keeps a connection, and matches replies to callers.
///
/// Commands wait in `backlog` until there is a connection, then in `pipeline` for their reply. One timer looks after the deadlines of both.
final class Driver {
    private enum Phase {
        /// Waits before the next attempt.
        case waiting
        /// Waits for the addresses of the host.
        case resolving
        /// Waits for the socket. `rest`: the addresses to try if this one fails.
        case connecting(rest: [Connection.Address])
        /// Waits for the replies to the greeting, of which `answered` have come.
        case greeting(answered: Int)
        /// Serves callers.
        case ready
    }

    private let configuration: RedisClient.Configuration
    private let inbox: Inbox
    private let loop: EventLoop
    private let greeting: Greeting
    private var phase = Phase.waiting
    private var connection: Connection?
    private var backlog = RequestQueue()
    private var pipeline = RequestQueue()
    private var spare = Inbox.Contents()
    private let executor: LoopExecutor
    private var attempt = 0
    private var failures = 0
    private var lastFailure: RedisError?
    private var lastProgress = ContinuousClock.now
    private var nextSweep: ContinuousClock.Instant?
    private var isStopping = false
    private var stopDeadline: ContinuousClock.Instant?
    /// Ends waiting, resolving, connecting and greeting.
    private var phaseTimer: LoopEvent?
    private var sweepTimer: LoopEvent?
    private var wakeEvent: LoopEvent?

    init(_ configuration: RedisClient.Configuration, inbox: Inbox, executor: LoopExecutor, loop: EventLoop) {
        self.configuration = configuration
        self.inbox = inbox
        self.executor = executor
        self.loop = loop
        greeting = Greeting(configuration)
        phaseTimer = LoopEvent(timerOn: loop) { [unowned self] in phaseTimedOut() }
        sweepTimer = LoopEvent(timerOn: loop) { [unowned self] in sweep() }
        wakeEvent = LoopEvent(readable: inbox.wakeDescriptor, on: loop) { [unowned self] in
            var count: UInt64 = 0
            _ = read(self.inbox.wakeDescriptor, &count, 8)
        }
        wakeEvent?.arm()
    }

    /// Serves until it is asked to stop and every caller is answered.
    func run() {
        connect()
        while true {
            takeInbox()
            if isStopping && pipeline.isEmpty { break }
            loop.runOnce(blocking: inbox.prepareToSleep(knowsOfStop: isStopping))
        }
        connection?.close()
        connection = nil
        let rest = inbox.finish()
        for request in rest.requests { finish(request, .failure(Self.closed)) }
        for job in rest.jobs { globalConcurrentExecutor.enqueue(job) }
    }

    // MARK: - Commands

    private func takeInbox() {
        var contents = inbox.take(spare: spare)
        for resolution in contents.resolutions { resolved(resolution) }
        accept(contents.requests)
        runJobs(contents.jobs)
        connection?.flush()
        if contents.isStopRequested { stop() }
        contents.requests.removeAll(keepingCapacity: contents.requests.count <= 4096)
        contents.jobs.removeAll(keepingCapacity: contents.jobs.count <= 4096)
        contents.resolutions = []
        spare = contents
    }

    /// Runs jobs, and writes the commands that they send in a few pieces: the server works on the first while the others are being made.
    private func runJobs(_ jobs: [UnownedJob]) {
        let piece = max(4, (jobs.count + 3) / 4)
        var requests: [Request] = []
        for (index, job) in jobs.enumerated() {
            job.runSynchronously(on: executor.asUnownedTaskExecutor())
            guard (index + 1) % piece == 0 || index + 1 == jobs.count else { continue }
            inbox.takeRequests(into: &requests)
            accept(requests)
            connection?.flush()
            requests.removeAll(keepingCapacity: true)
        }
    }

    private func accept(_ requests: [Request]) {
        if requests.isEmpty { return }
        let now = ContinuousClock.now
        for request in requests { accept(request, now) }
    }

    private func accept(_ request: Request, _ now: ContinuousClock.Instant) {
        if isStopping { return finish(request, .failure(Self.closed)) }
        if request.deadline <= now { return finish(request, .failure(expired(sent: false))) }
        if case .ready = phase { send(request) } else { backlog.append(request) }
        sweep(noLaterThan: request.deadline)
    }

    private func send(_ request: Request) {
        guard request.markSent() else { return inbox.release(request) }
        if pipeline.isEmpty {
            lastProgress = .now
            sweep(noLaterThan: lastProgress + configuration.silenceTimeout)
        }
        pipeline.append(request)
        connection?.send(request.command)
    }

    private func received(_ value: RedisValue) {
        switch phase {
        case .greeting(let answered):
            greeted(answered, value)
        case .ready:
            guard let request = pipeline.popFirst() else { return }
            if case .error(let error) = value {
                finish(request, .failure(RedisError(error)))
            } else {
                finish(request, .success(value))
            }
        case .waiting, .resolving, .connecting:
            break
        }
    }

    private func finish(_ request: Request, _ answer: Request.Answer) {
        inbox.release(request)
        request.answer(answer)
    }

    // MARK: - The connection

    private func connect() {
        attempt += 1
        switch configuration.endpoint {
        case .tcp(let host, _):
            phase = .resolving
            phaseTimer?.arm(after: configuration.connectTimeout)
            if !Resolver.resolve(host, attempt: attempt, into: inbox) {
                failed(RedisError(.connectionFailed, "no thread could be started to look up \(host)"))
            }
        case .unix(let path):
            if path.utf8.count > 107 || path.utf8.contains(0) {
                failed(RedisError(.connectionFailed, "the path of a unix socket has at most 107 bytes and no NUL: \(path)"))
            } else {
                connect(to: [.unix(path: path)])
            }
        }
    }

    private func resolved(_ resolution: Resolution) {
        guard case .resolving = phase, resolution.attempt == attempt, case .tcp(_, let port) = configuration.endpoint else { return }
        switch resolution.addresses {
        case .success(let hosts): connect(to: hosts.map { .tcp(host: $0, port: port) })
        case .failure(let error): failed(error)
        }
    }

    private func connect(to addresses: [Connection.Address]) {
        guard let address = addresses.first else { return }
        phase = .connecting(rest: Array(addresses.dropFirst()))
        let events = Connection.Events(
            connected: { [unowned self] in greet() }, replied: { [unowned self] in received($0) },
            reading: { [unowned self] in
                lastProgress = .now
                inbox.markAwake()
            }, ended: { [unowned self] in ended($0) })
        do {
            connection = try Connection(address, on: loop, events: events)
            phaseTimer?.arm(after: configuration.connectTimeout)
        } catch {
            failed(error)
        }
    }

    private func greet() {
        phase = .greeting(answered: 0)
        for step in greeting.steps { connection?.send(CommandEncoder.encode(step.command)) }
    }

    private func greeted(_ index: Int, _ value: RedisValue) {
        if case .error(let error) = value, let failure = greeting.steps[index].judge(error) {
            // Waiting does not help the callers that are here: the configuration is wrong, or the server is full.
            while let request = backlog.popFirst() { finish(request, .failure(failure)) }
            return failed(failure)
        }
        guard index + 1 == greeting.steps.count else {
            phase = .greeting(answered: index + 1)
            return
        }
        phaseTimer?.disarm()
        phase = .ready
        failures = 0
        lastFailure = nil
        while let request = backlog.popFirst() { send(request) }
    }

    private func ended(_ reason: String) {
        failed(RedisError(.connectionFailed, reason))
    }

    private func phaseTimedOut() {
        switch phase {
        case .waiting: connect()
        case .resolving:
            failed(
                RedisError(.connectionFailed, "the host of \(configuration.endpoint) was not found within \(configuration.connectTimeout)"))
        case .connecting, .greeting:
            failed(RedisError(.connectionFailed, "\(configuration.endpoint) did not answer within \(configuration.connectTimeout)"))
        case .ready: break
        }
    }

    /// The connection, or the attempt to get one, has failed: answers whom it concerns and plans the next attempt.
    private func failed(_ failure: RedisError) {
        connection?.close()
        connection = nil
        while let request = pipeline.popFirst() {
            let lost = RedisError(
                .connectionLost, "the connection to \(configuration.endpoint) ended before the reply came; the command may have run",
                mayHaveRun: true, cause: failure)
            finish(request, .failure(lost))
        }
        if case .connecting(let rest) = phase, !rest.isEmpty { return connect(to: rest) }
        failures += 1
        lastFailure = failure
        phase = .waiting
        if !isStopping { phaseTimer?.arm(after: configuration.backoff.delay(failures: failures, random: .random(in: 0...1))) }
    }

    // MARK: - Deadlines

    private func sweep(noLaterThan deadline: ContinuousClock.Instant) {
        if let nextSweep, nextSweep <= deadline { return }
        nextSweep = deadline
        sweepTimer?.arm(after: ContinuousClock.now.duration(to: deadline))
    }

    /// Answers the callers whose deadline has passed, and plans the next look.
    private func sweep() {
        let now = ContinuousClock.now
        nextSweep = nil
        var next: ContinuousClock.Instant?
        func stillWaits(_ request: Request) -> Bool {
            guard request.isWaiting else { return false }
            if request.deadline <= now {
                request.fail { [self] sent in expired(sent: sent) }
                return false
            }
            next = min(next ?? request.deadline, request.deadline)
            return true
        }
        for request in backlog.remove(unless: stillWaits) { inbox.release(request) }
        pipeline.forEach { _ = stillWaits($0) }

        if !pipeline.isEmpty {
            let silenceEnd = lastProgress + configuration.silenceTimeout
            if silenceEnd <= now {
                return failed(RedisError(.connectionFailed, "the server was silent for \(configuration.silenceTimeout)"))
            }
            next = min(next ?? silenceEnd, silenceEnd)
        }
        if let stopDeadline, stopDeadline <= now {
            return failed(RedisError(.closed, "the client was ended"))
        }
        if let stopDeadline { next = min(next ?? stopDeadline, stopDeadline) }
        // Deadlines that lie close together are looked at together.
        if let next { sweep(noLaterThan: max(next, now + .milliseconds(2))) }
    }

    private func expired(sent: Bool) -> RedisError {
        if sent {
            return RedisError(.timedOut, "no reply from \(configuration.endpoint) in time; the command may have run", mayHaveRun: true)
        }
        guard let lastFailure else {
            return RedisError(.timedOut, "the deadline passed before the command could be sent to \(configuration.endpoint)")
        }
        return RedisError(
            lastFailure.code, "no connection to \(configuration.endpoint) in time; the command was not sent", cause: lastFailure)
    }

    // MARK: - The end

    /// Refuses what was not sent, and gives what was sent the time of one command to be answered.
    private func stop() {
        guard !isStopping else { return }
        isStopping = true
        let deadline = ContinuousClock.now + configuration.commandTimeout
        stopDeadline = deadline
        while let request = backlog.popFirst() { finish(request, .failure(Self.closed)) }
        sweep(noLaterThan: deadline)
    }

    private static var closed: RedisError {
        RedisError(.closed, "the client was ended before the command was sent")
    }
}
