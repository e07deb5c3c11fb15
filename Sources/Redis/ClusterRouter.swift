/// The nodes of a Redis Cluster.
///
/// A request goes to the node that has its key's slot, by the map that `CLUSTER SLOTS` gives. `MOVED` corrects the map and the request goes on at
/// once; `ASK` sends it to another node once; `TRYAGAIN`, `CLUSTERDOWN` and a slot that nobody has are waited for within the request's
/// deadline. The map is read anew from time to time, and at once when a node was wrong, has failed or is slow.
final class ClusterRouter: Router, NodeOwner {
    /// How often one request may be sent elsewhere: more means that the nodes disagree.
    private static let redirectionLimit = 16
    /// How long a request waits at most before it is tried again.
    private static let longestWait: Duration = .milliseconds(200)
    /// How many nodes are asked for the map at once.
    private static let asked = 3

    private struct Key: Hashable {
        var address: RedisClient.Configuration.Address
        var isReplica: Bool
    }

    /// A request that waits for the map, or before it is tried again.
    private struct Parked {
        let request: Request
        let due: ContinuousClock.Instant
        /// Why it waits; nil: for the first map.
        let reason: RedisError?
    }

    private(set) var nodes: [Node] = []
    private let seeds: [RedisClient.Configuration.Address]
    private let configuration: RedisClient.Configuration
    private let inbox: Inbox
    private let loop: EventLoop
    private var map = SlotMap()
    private var nodesByKey: [Key: Node] = [:]
    private var parked: [Parked] = []
    private var nextRetry: ContinuousClock.Instant?
    /// The number of questions for the map under way; 0: none is asked.
    private var questions = 0
    private var round = 0
    private var isStale = false
    private var nextMaster = 0
    private var isStopped = false
    private var lastFailure = RedisError(.connectionFailed, "no node of the cluster has been reached yet")
    private var refreshTimer: LoopEvent?
    private var parkTimer: LoopEvent?

    init(
        _ seeds: [RedisClient.Configuration.Address], _ configuration: RedisClient.Configuration, inbox: Inbox, loop: EventLoop
    ) {
        self.seeds = seeds
        self.configuration = configuration
        self.inbox = inbox
        self.loop = loop
        refreshTimer = LoopEvent(timerOn: loop) { [unowned self] in
            dropOthers()
            refresh()
        }
        parkTimer = LoopEvent(timerOn: loop) { [unowned self] in retryParked() }
    }

    var isDrained: Bool { parked.isEmpty }

    func start() { refresh() }

    func stop() {
        isStopped = true
        refreshTimer?.disarm()
        parkTimer?.disarm()
        for waiting in parked {
            inbox.release(waiting.request)
            waiting.request.answer(.failure(.closedBeforeSending))
        }
        parked = []
    }

    // MARK: - Requests

    func accept(_ request: Request) {
        if let node = node(for: request) { return node.accept(request) }
        refresh()
        if map.shards.isEmpty {
            // The first map sends it on its way.
            park(Parked(request: request, due: request.deadline, reason: nil))
        } else {
            park(request, because: RedisError(.connectionFailed, "no node of the cluster serves the key's slot"))
        }
    }

    private func node(for request: Request) -> Node? {
        guard let slot = request.route.slot else { return anyMaster() }
        guard let shard = map.shard(of: slot) else { return nil }
        if request.route.prefersReplica, request.attempts == 0, let replica = replica(of: shard) { return replica }
        return node(at: shard.master)
    }

    /// The masters take turns; one that can be reached is preferred.
    private func anyMaster() -> Node? {
        let masters = map.shards.map { node(at: $0.master) }
        if masters.isEmpty { return nil }
        nextMaster = (nextMaster + 1) % masters.count
        let ordered = masters[nextMaster...] + masters[..<nextMaster]
        return ordered.first(where: \.isReady) ?? ordered.first
    }

    /// A replica that can be reached. The first request finds none yet, and goes to the master.
    private func replica(of shard: SlotMap.Shard) -> Node? {
        shard.replicas.map { node(at: $0, isReplica: true) }.shuffled().first(where: \.isReady)
    }

    private func node(at address: RedisClient.Configuration.Address, isReplica: Bool = false) -> Node {
        let key = Key(address: address, isReplica: isReplica)
        if let node = nodesByKey[key] { return node }
        let node = Node(
            .tcp(address), isReplica ? .replica : .any, configuration, keepsWatch: true, inbox: inbox, loop: loop, owner: self)
        nodesByKey[key] = node
        nodes.append(node)
        node.start()
        return node
    }

    // MARK: - What nodes say

    func needsServer(_ node: Node) {}
    func needsConfirmation(_ node: Node) {}

    func takesOver(_ request: Request, refusedWith error: RedisValue.ServerError, by node: Node) -> Bool {
        guard !isStopped, let next = next(for: request, after: error, by: node) else { return false }
        if case .node = next, request.attempts >= Self.redirectionLimit { return false }
        guard request.markRefused() else {
            inbox.release(request)
            return true
        }
        request.attempts += 1
        switch next {
        case .node(let node, let isAsking):
            request.isAsking = isAsking
            node.accept(request)
        case .wait: park(request, because: RedisError(error))
        }
        return true
    }

    private enum Next {
        case node(Node, isAsking: Bool)
        case wait
    }

    private func next(for request: Request, after error: RedisValue.ServerError, by node: Node) -> Next? {
        switch error.prefix {
        case "MOVED":
            refreshSoon()
            guard let redirection = redirection(error, by: node) else { return nil }
            map.move(redirection.slot, to: redirection.address)
            return .node(self.node(at: redirection.address), isAsking: false)
        case "ASK":
            return redirection(error, by: node).map { .node(self.node(at: $0.address), isAsking: true) }
        case "CLUSTERDOWN", "MASTERDOWN":
            refreshSoon()
            return .wait
        case "TRYAGAIN": return .wait
        case "LOADING" where request.route.prefersReplica:
            return request.route.slot.flatMap { map.shard(of: $0) }.map { .node(self.node(at: $0.master), isAsking: false) }
        default: return nil
        }
    }

    private func redirection(_ error: RedisValue.ServerError, by node: Node) -> Redirection? {
        guard case .tcp(let address) = node.server else { return nil }
        return Redirection(error, from: address.host)
    }

    func hasFailed(_ node: Node, _ failure: RedisError) {
        lastFailure = failure
        refreshSoon()
    }

    func wasSlow(_ node: Node) { refreshSoon() }

    // MARK: - Waiting

    private func park(_ request: Request, because reason: RedisError) {
        let backoff = Backoff(
            initial: configuration.backoff.initial, maximum: min(configuration.backoff.maximum, Self.longestWait))
        let wait = backoff.delay(failures: max(1, request.attempts), random: .random(in: 0...1))
        park(Parked(request: request, due: min(.now + wait, request.deadline), reason: reason))
    }

    private func park(_ waiting: Parked) {
        parked.append(waiting)
        retryParked(noLaterThan: waiting.due)
    }

    private func retryParked(noLaterThan due: ContinuousClock.Instant) {
        if let nextRetry, nextRetry <= due { return }
        nextRetry = due
        parkTimer?.arm(after: ContinuousClock.now.duration(to: due))
    }

    private func retryParked() {
        let now = ContinuousClock.now
        nextRetry = nil
        let waiting = parked
        parked = waiting.filter { $0.due > now }
        if let due = parked.map(\.due).min() { retryParked(noLaterThan: due) }
        for waiting in waiting where waiting.due <= now { retry(waiting, now) }
    }

    private func retry(_ waiting: Parked, _ now: ContinuousClock.Instant) {
        let request = waiting.request
        guard request.isWaiting else { return inbox.release(request) }
        guard request.deadline > now else {
            let reason = waiting.reason ?? lastFailure
            inbox.release(request)
            return request.answer(
                .failure(
                    RedisError(
                        reason.code == .serverError ? .timedOut : reason.code,
                        "the cluster could not serve the command in time; it has not run", cause: reason)))
        }
        accept(request)
    }

    // MARK: - The map

    /// Reads the map anew; where that is being done, once more after it.
    private func refreshSoon() {
        guard !isStopped else { return }
        if questions > 0 { isStale = true } else { refreshTimer?.arm(after: configuration.backoff.initial) }
    }

    private func refresh() {
        guard questions == 0, !isStopped else { return }
        round += 1
        let number = round
        let deadline = ContinuousClock.now + configuration.connectTimeout
        let candidates = candidates()
        questions = candidates.count
        for (address, node) in candidates {
            node.accept(
                Request(own: ["CLUSTER", "SLOTS"], deadline: deadline) { [unowned self] answer in
                    take(answer, from: address, round: number)
                })
        }
    }

    /// Nodes that can be reached, in any order, before those that perhaps can.
    private func candidates() -> [(RedisClient.Configuration.Address, Node)] {
        let reachable = nodesByKey.filter { $0.value.isReady && !$0.key.isReplica }.keys.map(\.address).shuffled()
        let others = (map.shards.map(\.master) + seeds).shuffled().filter { !reachable.contains($0) }
        var chosen: [RedisClient.Configuration.Address] = []
        for address in reachable + others where chosen.count < Self.asked && !chosen.contains(address) { chosen.append(address) }
        return chosen.map { ($0, node(at: $0)) }
    }

    private func take(_ answer: Request.Answer, from address: RedisClient.Configuration.Address, round number: Int) {
        guard number == round, questions > 0 else { return }
        questions -= 1
        switch answer {
        case .success(let value):
            if let map = SlotMap(value, from: address.host) {
                // The first is as good as the others: what is wrong in it is corrected by MOVED.
                questions = 0
                learn(map)
            } else {
                lastFailure = RedisError(.connectionFailed, "\(address) names no slots: it is no node of a cluster that is set up")
            }
        case .failure(let error): lastFailure = error
        }
        guard questions == 0, !isStopped else { return }
        let wait = isStale || map.shards.isEmpty ? configuration.backoff.initial : configuration.topologyInterval
        isStale = false
        refreshTimer?.arm(after: wait)
    }

    private func learn(_ new: SlotMap) {
        let isFirst = map.shards.isEmpty
        guard new != map else { return }
        map = new
        for shard in map.shards { _ = node(at: shard.master) }
        // Requests that were not sent go where the map says now; those that waited for it need not wait any longer.
        let unsent = nodes.flatMap { $0.takeBacklog() }
        for request in unsent { request.isOwn ? request.answer(.failure(.movedOn)) : accept(request) }
        if isFirst {
            let waiting = parked
            parked = []
            for waiting in waiting { accept(waiting.request) }
        }
    }

    /// Closes the nodes that are no longer in the map, once their callers are answered.
    private func dropOthers() {
        let kept = Set(
            map.shards.flatMap { shard in
                [Key(address: shard.master, isReplica: false)] + shard.replicas.map { Key(address: $0, isReplica: true) }
            })
        for (key, node) in nodesByKey where !kept.contains(key) && node.isDrained {
            nodesByKey[key] = nil
            nodes.removeAll { $0 === node }
            node.close()
        }
    }
}

extension RedisError {
    /// A question to a node that is no longer asked.
    fileprivate static var movedOn: RedisError { RedisError(.closed, "another node has answered") }
}
