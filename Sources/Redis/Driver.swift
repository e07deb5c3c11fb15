internal import Glibc

/// Runs on the event-loop thread: takes commands from the inbox and gives them to the router.
final class Driver {
    private let configuration: RedisClient.Configuration
    private let inbox: Inbox
    private let loop: EventLoop
    private let router: any Router
    private var spare = Inbox.Contents()
    private let executor: LoopExecutor
    private var isStopping = false
    private var wakeEvent: LoopEvent?

    init(_ configuration: RedisClient.Configuration, inbox: Inbox, executor: LoopExecutor, loop: EventLoop) {
        self.configuration = configuration
        self.inbox = inbox
        self.executor = executor
        self.loop = loop
        router =
            switch configuration.endpoint {
            case .tcp(let host, let port):
                SingleRouter(.tcp(.init(host: host, port: port)), configuration, inbox: inbox, loop: loop)
            case .unix(let path): SingleRouter(.unix(path: path), configuration, inbox: inbox, loop: loop)
            case .sentinel(let service, let sentinels):
                SentinelRouter(service, sentinels, configuration, inbox: inbox, loop: loop)
            case .cluster(let seeds): ClusterRouter(seeds, configuration, inbox: inbox, loop: loop)
            }
        wakeEvent = LoopEvent(readable: inbox.wakeDescriptor, on: loop) { [unowned self] in
            var count: UInt64 = 0
            _ = read(self.inbox.wakeDescriptor, &count, 8)
        }
        wakeEvent?.arm()
    }

    /// Serves until it is asked to stop and every caller is answered.
    func run() {
        router.start()
        while true {
            takeInbox()
            if isStopping && router.isDrained && router.nodes.allSatisfy(\.isDrained) { break }
            loop.runOnce(blocking: inbox.prepareToSleep(knowsOfStop: isStopping))
        }
        for node in router.nodes { node.close() }
        let rest = inbox.finish()
        for request in rest.requests { finish(request, .failure(.closedBeforeSending)) }
        for job in rest.jobs { globalConcurrentExecutor.enqueue(job) }
    }

    private func takeInbox() {
        var contents = inbox.take(spare: spare)
        for resolution in contents.resolutions {
            for node in router.nodes { node.resolved(resolution) }
        }
        accept(contents.requests)
        runJobs(contents.jobs)
        flush()
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
            flush()
            requests.removeAll(keepingCapacity: true)
        }
    }

    private func accept(_ requests: [Request]) {
        if requests.isEmpty { return }
        let now = ContinuousClock.now
        for request in requests {
            if isStopping {
                finish(request, .failure(.closedBeforeSending))
            } else if request.deadline <= now {
                finish(
                    request,
                    .failure(RedisError(.timedOut, "the deadline passed before the command could be sent to \(configuration.endpoint)")))
            } else {
                router.accept(request)
            }
        }
    }

    private func flush() {
        for node in router.nodes { node.flush() }
    }

    private func finish(_ request: Request, _ answer: Request.Answer) {
        inbox.release(request)
        request.answer(answer)
    }

    /// Refuses what was not sent, and gives what was sent the time of one command to be answered.
    private func stop() {
        guard !isStopping else { return }
        isStopping = true
        let deadline = ContinuousClock.now + configuration.commandTimeout
        router.stop()
        for node in router.nodes { node.stop(by: deadline) }
    }
}
