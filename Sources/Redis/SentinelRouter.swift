/// The master of a service, as the sentinels name it.
///
/// All sentinels are asked at once: before every attempt to connect, again once the server has called itself a master (it may have slept through
/// its replacement while it was connected to), and from time to time while there is a connection. ``SentinelBelief`` decides between their
/// answers. A master that was silent for too long, or that answers READONLY, is left, and all of this begins anew.
final class SentinelRouter: Router, NodeOwner {
    /// How long the others have once a sentinel has answered.
    private static let patience: Duration = .milliseconds(250)

    private(set) var nodes: [Node] = []
    let isDrained = true
    private let service: String
    private let configuration: RedisClient.Configuration
    private let inbox: Inbox
    private var master: Node?
    private var sentinels: [Node] = []
    private var belief: SentinelBelief
    private var round: Round?
    private var rounds = 0
    /// Whether the master wants an answer to a question that is still to be asked.
    private var wantsAnother = false
    private var isStopped = false
    private var pollTimer: LoopEvent?
    private var roundTimer: LoopEvent?

    /// One question to all sentinels.
    private struct Round {
        let number: Int
        var answers: [SentinelAnswer] = []
        var failures: [String] = []
        var isNearlyOver = false
    }

    init(
        _ service: String, _ sentinels: [RedisClient.Configuration.Address], _ configuration: RedisClient.Configuration, inbox: Inbox,
        loop: EventLoop
    ) {
        self.service = service
        self.configuration = configuration
        self.inbox = inbox
        belief = SentinelBelief(count: sentinels.count)
        var ofSentinels = configuration
        ofSentinels.username = configuration.sentinelUsername
        ofSentinels.password = configuration.sentinelPassword
        ofSentinels.database = 0
        let master = Node(nil, .master, configuration, keepsWatch: true, inbox: inbox, loop: loop, owner: self)
        self.master = master
        self.sentinels = sentinels.map {
            Node(.tcp($0), .any, ofSentinels, keepsWatch: false, inbox: inbox, loop: loop, owner: self)
        }
        nodes = [master] + self.sentinels
        pollTimer = LoopEvent(timerOn: loop) { [unowned self] in ask() }
        roundTimer = LoopEvent(timerOn: loop) { [unowned self] in conclude() }
    }

    func start() {
        for node in sentinels { node.start() }
        master?.start()
    }

    func accept(_ request: Request) { master?.accept(request) }

    func stop() {
        isStopped = true
        pollTimer?.disarm()
        roundTimer?.disarm()
    }

    // MARK: - The master

    func needsServer(_ node: Node) { ask() }

    func needsConfirmation(_ node: Node) {
        if round == nil { ask() } else { wantsAnother = true }
    }

    func takesOver(_ request: Request, refusedWith error: RedisValue.ServerError, by node: Node) -> Bool {
        guard error.prefix == "READONLY", !isStopped else { return false }
        guard request.markRefused() else {
            inbox.release(request)
            return true
        }
        node.abandon(RedisError(.connectionFailed, "the server is no longer the master", cause: RedisError(error)))
        node.accept(request)
        return true
    }

    func hasFailed(_ node: Node, _ failure: RedisError) {
        if node === master { node.forgetServer() }
    }

    func wasSlow(_ node: Node) {
        if node === master { ask() }
    }

    // MARK: - The sentinels

    private func ask() {
        guard round == nil, !isStopped else { return }
        rounds += 1
        let number = rounds
        round = Round(number: number)
        let deadline = ContinuousClock.now + configuration.connectTimeout
        roundTimer?.arm(after: configuration.connectTimeout)
        for sentinel in sentinels {
            var address: RedisValue?
            sentinel.accept(
                Request(own: ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", RedisBytes(service)], deadline: deadline) { answer in
                    address = try? answer.get()
                })
            sentinel.accept(
                Request(own: ["SENTINEL", "MASTER", RedisBytes(service)], deadline: deadline) { [unowned self] answer in
                    take(answer, address, round: number)
                })
        }
    }

    private func take(_ answer: Request.Answer, _ address: RedisValue?, round number: Int) {
        guard round?.number == number else { return }
        switch answer {
        case .success(let value):
            if let answer = address.flatMap({ SentinelAnswer(address: $0, master: value) }) {
                round?.answers.append(answer)
            } else {
                round?.failures.append("a sentinel answered \(value)")
            }
        case .failure(let error): round?.failures.append("\(error)")
        }
        guard let round else { return }
        if round.answers.count + round.failures.count == sentinels.count { return conclude() }
        if !round.answers.isEmpty, !round.isNearlyOver {
            self.round?.isNearlyOver = true
            roundTimer?.arm(after: min(Self.patience, configuration.connectTimeout))
        }
    }

    private func conclude() {
        guard let ended = round else { return }
        round = nil
        roundTimer?.disarm()
        pollTimer?.arm(after: configuration.topologyInterval)
        if wantsAnother {
            // What was answered may have been true only before the master was asked.
            wantsAnother = false
            _ = belief.decide(ended.answers)
            return ask()
        }
        if let address = belief.decide(ended.answers) {
            master?.use(.tcp(address))
        } else {
            let reason = ended.answers.isEmpty ? ended.failures.last ?? "none answered" : "what they say is older than what was known"
            master?.notFound(
                RedisError(.connectionFailed, "the sentinels of \(configuration.endpoint) name no master of '\(service)': \(reason)"))
        }
    }
}
