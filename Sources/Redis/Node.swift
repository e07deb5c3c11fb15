internal import Glibc

/// What a node asks of whoever gives it commands, and tells it. Called on the event loop's thread.
protocol NodeOwner: AnyObject {
    /// The node wants to connect, and does not know where to: ``Node/use(_:)`` tells it.
    func needsServer(_ node: Node)
    /// The node has found a master, and asks whether it still is the one: ``Node/use(_:)`` with its address says so.
    func needsConfirmation(_ node: Node)
    /// The server refused a caller's command.
    ///
    /// - Returns: Whether the owner sees to the request from here on.
    func takesOver(_ request: Request, refusedWith error: RedisValue.ServerError, by node: Node) -> Bool
    /// The connection, or the attempt to get one, has failed. The node tries again by itself.
    func hasFailed(_ node: Node, _ failure: RedisError)
    /// A command was not answered in time.
    func wasSlow(_ node: Node)
}

/// One server: keeps a connection to it, and matches replies to requests. Lives on the event loop's thread.
///
/// Commands wait in `backlog` until there is a connection, then in `pipeline` for their reply. One timer looks after the deadlines of both.
final class Node {
    /// What the server is for.
    enum Role {
        /// It is the only one there is, or a node of a cluster, which refuses what is not its own.
        case any
        /// It must say of itself that it is a master.
        case master
        /// Only reads go to it, and it may be a replica.
        case replica
    }

    private enum Phase {
        /// Waits before the next attempt.
        case waiting
        /// Waits to be told where the server is.
        case locating
        /// Waits for the addresses of the host.
        case resolving(attempt: Int)
        /// Waits for the socket. `rest`: the addresses to try if this one fails.
        case connecting(rest: [SocketAddress])
        /// Waits for the replies to the greeting, of which `answered` have come.
        case greeting(answered: Int)
        /// Waits for the owner's word that the server is still the right one.
        case confirming
        /// Serves callers.
        case ready
        /// Ended for good.
        case closed
    }

    /// Where the server is; nil: the owner must say.
    private(set) var server: Server?
    private let configuration: RedisClient.Configuration
    private let role: Role
    /// Whether the server may be replaced by another, so that its silence must not last.
    private let keepsWatch: Bool
    private let inbox: Inbox
    private let loop: EventLoop
    private unowned let owner: any NodeOwner
    private var greeting: Greeting
    private var phase = Phase.waiting
    private var connection: (any Connection)?
    private var backlog = RequestQueue()
    private var pipeline = RequestQueue()
    /// What the writes since the last `WAIT` want of the replicas.
    private var wanted: RedisClient.Replication?
    /// Writes that were answered, and whose `WAIT` was not.
    private var unconfirmed: [(request: Request, value: RedisValue)] = []
    private var failures = 0
    private var lastFailure: RedisError?
    private var lastProgress = ContinuousClock.now
    private var lastHeard = ContinuousClock.now
    private var nextSweep: ContinuousClock.Instant?
    private var stopDeadline: ContinuousClock.Instant?
    /// When connecting began.
    private var begun = ContinuousClock.now
    /// Ends waiting, resolving, connecting, greeting and confirming.
    private var phaseTimer: LoopEvent?
    private var sweepTimer: LoopEvent?

    init(
        _ server: Server?, _ role: Role, _ configuration: RedisClient.Configuration, keepsWatch: Bool, inbox: Inbox, loop: EventLoop,
        owner: any NodeOwner
    ) {
        self.server = server
        self.role = role
        self.configuration = configuration
        self.keepsWatch = keepsWatch
        self.inbox = inbox
        self.loop = loop
        self.owner = owner
        greeting = Greeting(configuration, role, server: server.map { "\($0)" } ?? "\(configuration.endpoint)")
        phaseTimer = LoopEvent(timerOn: loop) { [unowned self] in phaseTimedOut() }
        sweepTimer = LoopEvent(timerOn: loop) { [unowned self] in sweep() }
    }

    /// How errors name the server.
    private var name: String { server.map { "\($0)" } ?? "\(configuration.endpoint)" }

    var isReady: Bool {
        if case .ready = phase { true } else { false }
    }

    /// Whether no caller's command is under way.
    var isDrained: Bool { unconfirmed.isEmpty && !pipeline.contains { !$0.isOwn } }

    // MARK: - Commands

    /// Sends a request, now or when there is a connection.
    func accept(_ request: Request) {
        if isReady { send(request) } else { backlog.append(request) }
        sweep(noLaterThan: request.deadline)
    }

    /// Writes what was sent since the last time.
    func flush() {
        if let replication = wanted {
            wanted = nil
            // It has its own time-out; this one is for a server that keeps silent.
            let deadline = ContinuousClock.now + replication.timeout + configuration.silenceTimeout
            send(Request(own: replication.command, deadline: deadline) { [unowned self] in confirmed($0) })
        }
        connection?.flush()
    }

    /// Gives up the requests that were not sent.
    func takeBacklog() -> [Request] {
        var requests: [Request] = []
        while let request = backlog.popFirst() { requests.append(request) }
        return requests
    }

    private func send(_ request: Request) {
        guard request.markSent() else { return inbox.release(request) }
        if pipeline.isEmpty {
            lastProgress = .now
            if keepsWatch, lastHeard + configuration.silenceTimeout <= lastProgress, isReady {
                // Nothing was heard for so long that the server may have been replaced: this process may have stood still.
                guard request.markRefused() else { return inbox.release(request) }
                backlog.append(request)
                return failed(RedisError(.connectionFailed, "\(name) was not heard of for \(configuration.silenceTimeout)"))
            }
            sweep(noLaterThan: lastProgress + configuration.silenceTimeout)
        }
        if request.isAsking {
            request.isAsking = false
            let asking = Request(own: ["ASKING"], deadline: request.deadline)
            if asking.markSent() {
                pipeline.append(asking)
                connection?.send(asking.command)
            }
        }
        if let replication = request.route.replication { wanted = replication.joined(wanted) }
        pipeline.append(request)
        connection?.send(request.command)
    }

    private func received(_ value: RedisValue) {
        switch phase {
        case .greeting(let answered): greeted(answered, value)
        case .ready: answered(value)
        case .waiting, .locating, .resolving, .connecting, .confirming, .closed: break
        }
    }

    private func answered(_ value: RedisValue) {
        guard let request = pipeline.popFirst() else { return }
        if case .error(let error) = value {
            if !request.isOwn, owner.takesOver(request, refusedWith: error, by: self) { return }
            finish(request, .failure(RedisError(error)))
        } else if request.route.replication != nil {
            unconfirmed.append((request, value))
        } else {
            finish(request, .success(value))
        }
    }

    /// The server has said how many replicas have what was written before.
    private func confirmed(_ answer: Request.Answer) {
        let held = unconfirmed
        unconfirmed = []
        for (request, value) in held { finish(request, request.route.replication?.judge(value, answer) ?? .success(value)) }
    }

    private func finish(_ request: Request, _ answer: Request.Answer) {
        inbox.release(request)
        request.answer(answer)
    }

    // MARK: - The connection

    /// Connects. Called once; the node goes on by itself.
    func start() {
        connect()
    }

    /// Says where the server is. A connection to another one is given up.
    func use(_ server: Server) {
        guard stopDeadline == nil else { return }
        switch phase {
        case .closed: return
        case .locating, .waiting: break
        case .confirming where server == self.server: return becomeReady()
        case .resolving, .connecting, .greeting, .confirming, .ready:
            guard server != self.server else { return }
            failed(RedisError(.connectionFailed, "\(server) has taken the server's place"))
        }
        self.server = server
        phaseTimer?.disarm()
        connect()
    }

    /// Gives the connection up: the server is not, or no longer, what it was taken for.
    func abandon(_ failure: RedisError) {
        failed(failure)
    }

    /// Says that nobody knows where the server is.
    func notFound(_ failure: RedisError) {
        switch phase {
        case .locating, .confirming: failed(failure)
        case .waiting, .resolving, .connecting, .greeting, .ready, .closed: break
        }
    }

    /// Forgets where the server is, so that the owner is asked before the next attempt.
    func forgetServer() {
        server = nil
    }

    private func connect() {
        guard stopDeadline == nil else { return }
        guard let server else {
            phase = .locating
            phaseTimer?.disarm()
            return owner.needsServer(self)
        }
        greeting = Greeting(configuration, role, server: "\(server)")
        switch server {
        case .tcp(let address):
            let attempt = inbox.nextAttempt()
            phase = .resolving(attempt: attempt)
            begun = .now
            phaseTimer?.arm(after: configuration.connectTimeout)
            if !Resolver.resolve(address.host, attempt: attempt, into: inbox) {
                failed(RedisError(.connectionFailed, "no thread could be started to look up \(address.host)"))
            }
        case .unix(let path):
            if path.utf8.count > 107 || path.utf8.contains(0) {
                failed(RedisError(.connectionFailed, "the path of a unix socket has at most 107 bytes and no NUL: \(path)"))
            } else {
                connect(to: [.unix(path: path)])
            }
        }
    }

    /// Takes the addresses of a host, if it is this node that has asked.
    func resolved(_ resolution: Resolution) {
        guard case .resolving(resolution.attempt) = phase, case .tcp(let address) = server else { return }
        switch resolution.addresses {
        case .success(let hosts): connect(to: hosts.map { .tcp(host: $0, port: address.port) })
        case .failure(let error): failed(error)
        }
    }

    private func connect(to addresses: [SocketAddress]) {
        guard let address = addresses.first else { return }
        phase = .connecting(rest: Array(addresses.dropFirst()))
        let events = ConnectionEvents(
            connected: { [unowned self] in greet() }, replied: { [unowned self] in received($0) },
            reading: { [unowned self] in reads() }, ended: { [unowned self] in failed(RedisError(.connectionFailed, $0)) })
        do {
            connection = try connection(to: address, events)
            begun = .now
            phaseTimer?.arm(after: connectLimit)
        } catch {
            failed(error)
        }
    }

    /// How long connecting may take. A server that may have been replaced is believed no longer than it may be silent.
    private var connectLimit: Duration {
        keepsWatch ? min(configuration.connectTimeout, configuration.silenceTimeout) : configuration.connectTimeout
    }

    private func connection(to address: SocketAddress, _ events: ConnectionEvents) throws(RedisError) -> any Connection {
        guard let tls = configuration.tls, case .tcp(let numeric, let port) = address, case .tcp(let asked) = server else {
            return try PlainConnection(address, on: loop, events: events)
        }
        return try TLSConnection(numeric, port, tls, name: tls.serverName ?? asked.host, on: loop, events: events)
    }

    /// Something has come.
    ///
    /// - Returns: False where it came too late to be believed.
    private func reads() -> Bool {
        let now = ContinuousClock.now
        if keepsWatch, isReady, !pipeline.isEmpty, lastProgress + configuration.silenceTimeout <= now {
            failed(silence)
            return false
        }
        if keepsWatch, !isReady, begun + connectLimit <= now {
            failed(tooSlow)
            return false
        }
        lastProgress = now
        lastHeard = now
        inbox.markAwake()
        return true
    }

    private func greet() {
        phase = .greeting(answered: 0)
        for step in greeting.steps { connection?.send(CommandEncoder.encode(step.command)) }
        connection?.flush()
    }

    private func greeted(_ index: Int, _ value: RedisValue) {
        let step = greeting.steps[index]
        if let failure = step.judge(value) {
            if step.isFinal { while let request = backlog.popFirst() { finish(request, .failure(failure)) } }
            return failed(failure)
        }
        guard index + 1 == greeting.steps.count else {
            phase = .greeting(answered: index + 1)
            return
        }
        if role == .master {
            phase = .confirming
            owner.needsConfirmation(self)
        } else {
            becomeReady()
        }
    }

    private func becomeReady() {
        phaseTimer?.disarm()
        phase = .ready
        failures = 0
        lastFailure = nil
        lastHeard = .now
        if keepsWatch { sweep(noLaterThan: .now + configuration.silenceTimeout / 2) }
        while let request = backlog.popFirst() { send(request) }
    }

    private func phaseTimedOut() {
        switch phase {
        case .waiting: connect()
        case .resolving:
            failed(RedisError(.connectionFailed, "the host of \(name) was not found within \(configuration.connectTimeout)"))
        case .connecting, .greeting: failed(tooSlow)
        case .confirming: failed(RedisError(.connectionFailed, "nobody confirmed within \(connectLimit) that \(name) is the master"))
        case .locating, .ready, .closed: break
        }
    }

    /// The connection, or the attempt to get one, has failed: answers whom it concerns and plans the next attempt.
    private func failed(_ failure: RedisError) {
        if case .closed = phase { return }
        connection?.close()
        connection = nil
        let rest: [SocketAddress] = if case .connecting(let rest) = phase { rest } else { [] }
        phase = .waiting
        lose(because: failure)
        if !rest.isEmpty { return connect(to: rest) }
        failures += 1
        lastFailure = failure
        if stopDeadline == nil { phaseTimer?.arm(after: configuration.backoff.delay(failures: failures, random: .random(in: 0...1))) }
        owner.hasFailed(self, failure)
    }

    /// Answers those whose commands were sent.
    private func lose(because failure: RedisError) {
        let lost = RedisError(
            .connectionLost, "the connection to \(name) ended before the reply came; the command may have run", mayHaveRun: true,
            cause: failure)
        wanted = nil
        for (request, _) in unconfirmed { finish(request, .failure(lost)) }
        unconfirmed = []
        while let request = pipeline.popFirst() { finish(request, .failure(lost)) }
    }

    // MARK: - Deadlines

    private func sweep(noLaterThan deadline: ContinuousClock.Instant) {
        if let nextSweep, nextSweep <= deadline { return }
        nextSweep = deadline
        sweepTimer?.arm(after: ContinuousClock.now.duration(to: deadline))
    }

    /// Answers the callers whose deadline has passed, and plans the next look.
    private func sweep() {
        if case .closed = phase { return }
        let now = ContinuousClock.now
        nextSweep = nil
        var next: ContinuousClock.Instant?
        var isSlow = false
        func stillWaits(_ request: Request) -> Bool {
            guard request.isWaiting else { return false }
            if request.deadline <= now {
                isSlow = true
                request.fail { [self] sent in expired(sent: sent) }
                return false
            }
            next = min(next ?? request.deadline, request.deadline)
            return true
        }
        for request in backlog.remove(unless: stillWaits) { inbox.release(request) }
        pipeline.forEach { _ = stillWaits($0) }
        for (request, _) in unconfirmed { _ = stillWaits(request) }
        if isSlow { owner.wasSlow(self) }

        switch watch(now) {
        case .gaveUp: return
        case .again(let instant): next = min(next ?? instant, instant)
        case .idle: break
        }
        if let stopDeadline, stopDeadline <= now { return failed(RedisError(.closed, "the client was ended")) }
        if let stopDeadline { next = min(next ?? stopDeadline, stopDeadline) }
        // Deadlines that lie close together are looked at together.
        if let next { sweep(noLaterThan: max(next, now + .milliseconds(2))) }
    }

    private enum Watch {
        case gaveUp, idle
        case again(ContinuousClock.Instant)
    }

    /// Leaves a server that is silent, and asks an idle one for a sign of life.
    private func watch(_ now: ContinuousClock.Instant) -> Watch {
        let limit = configuration.silenceTimeout
        if !pipeline.isEmpty {
            guard now < lastProgress + limit else {
                failed(silence)
                return .gaveUp
            }
            return .again(lastProgress + limit)
        }
        guard keepsWatch, isReady, stopDeadline == nil else { return .idle }
        guard lastHeard + limit / 2 <= now else { return .again(lastHeard + limit / 2) }
        send(Request(own: ["PING"], deadline: now + limit))
        connection?.flush()
        // The connection may have been too old to be believed.
        return isReady ? .again(now + limit) : .gaveUp
    }

    private var tooSlow: RedisError { RedisError(.connectionFailed, "\(name) did not answer within \(connectLimit)") }

    private var silence: RedisError {
        RedisError(.connectionFailed, "the server was silent for \(configuration.silenceTimeout)")
    }

    private func expired(sent: Bool) -> RedisError {
        if sent {
            return RedisError(.timedOut, "no reply from \(name) in time; the command may have run", mayHaveRun: true)
        }
        guard let lastFailure else {
            return RedisError(.timedOut, "the deadline passed before the command could be sent to \(name)")
        }
        return RedisError(lastFailure.code, "no connection to \(name) in time; the command was not sent", cause: lastFailure)
    }

    // MARK: - The end

    /// Gives what was sent until `deadline` to be answered.
    func stop(by deadline: ContinuousClock.Instant) {
        stopDeadline = deadline
        for request in takeBacklog() { finish(request, .failure(.closedBeforeSending)) }
        sweep(noLaterThan: deadline)
    }

    /// Ends the connection at once.
    func close() {
        connection?.close()
        connection = nil
        phaseTimer?.disarm()
        sweepTimer?.disarm()
        phase = .closed
        lose(because: .closedBeforeSending)
        for request in takeBacklog() { finish(request, .failure(.closedBeforeSending)) }
    }
}

extension RedisError {
    /// The client was ended first.
    static var closedBeforeSending: RedisError { RedisError(.closed, "the client was ended before the command was sent") }
}
