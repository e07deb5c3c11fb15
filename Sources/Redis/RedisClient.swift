/// A client of Redis: one server, the master that sentinels name, or a cluster. Many callers share one connection to a server, and their commands
/// are pipelined on it.
///
/// ``run()`` owns the connections and the thread that serves them; commands may be sent from anywhere while it runs. Commands that come
/// before wait for it within their time-out; commands that come after its end are refused. A connection that is lost is made again, with
/// growing waits; commands that were not sent yet wait for that within their time-out, and those that were sent fail with
/// ``RedisError/Code/connectionLost``, because sending them twice could run them twice. What a server refused, because another is the master or
/// has the key's slot, is sent there within the time-out.
///
/// Time-outs and cancellation end the wait, not the command: the server may run a command that nobody waits for any more
/// (``RedisError/mayHaveRun``). A command that blocks on the server (`BLPOP`, a slow script) holds up all callers of the client.
public final class RedisClient: Sendable {
    /// How the client was configured.
    public let configuration: Configuration
    private let inbox: Inbox
    private let loopExecutor: LoopExecutor

    /// Runs tasks on the client's own thread while ``run()`` runs, and on the global pool otherwise.
    ///
    /// For tasks that do little beside talking to Redis: a reply then wakes no other thread. They must not block: the client stands still
    /// as long as they do.
    public var executor: any TaskExecutor { loopExecutor }

    /// A client that connects once ``run()`` is called.
    public init(_ configuration: Configuration) {
        self.configuration = configuration
        inbox = Inbox(maximumCommands: configuration.maximumPendingCommands, maximumBytes: configuration.maximumPendingBytes)
        loopExecutor = LoopExecutor(inbox)
    }

    /// Serves commands until the task is cancelled.
    ///
    /// After cancellation new commands are refused, commands that were sent have the time of one command (``Configuration/commandTimeout``) to
    /// be answered, and it returns when every caller has its answer. It may be called once.
    public func run() async {
        precondition(inbox.start(), "RedisClient.run() may be called once")
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let (configuration, inbox, executor) = (configuration, inbox, loopExecutor)
                let isStarted = startDetachedThread {
                    Self.serve(configuration, inbox, executor)
                    continuation.resume()
                }
                if !isStarted {
                    Self.refuse(inbox)
                    continuation.resume()
                }
            }
        } onCancel: {
            inbox.requestStop()
        }
    }

    /// Sends a command and waits for its reply.
    ///
    /// In a cluster it goes to the node that has its first key; a command without a key goes to any master.
    ///
    /// - Parameter command: The command's words: its name and its arguments.
    /// - Parameter deadline: When to stop waiting; without it, ``Configuration/commandTimeout`` from now.
    /// - Parameter source: Who may answer a command that only reads.
    /// - Parameter replication: What replicas must confirm before the reply is given, of all that the server had written until then.
    /// - Throws: ``RedisError``; an error reply of the server is a ``RedisError/Code/serverError``.
    public nonisolated(nonsending) func send(
        _ command: [RedisBytes], replication: Replication? = nil, deadline: ContinuousClock.Instant? = nil,
        from source: ReadSource = .master
    ) async throws(RedisError) -> RedisValue {
        if let refusal = SharedConnection.refusal(of: command) { throw refusal }
        var route = Route(replication: replication)
        if configuration.endpoint.isCluster {
            route.slot = CommandKey.of(command)?.hashSlot
            route.prefersReplica = source == .replica
        }
        return try await perform(CommandEncoder.encode(command), route, deadline: deadline ?? .now + configuration.commandTimeout)
    }

    /// Sends a command and waits for its reply. See ``send(_:replication:deadline:from:)``.
    public nonisolated(nonsending) func send(
        _ command: RedisBytes..., deadline: ContinuousClock.Instant? = nil
    ) async throws(RedisError) -> RedisValue {
        try await send(command, deadline: deadline)
    }

    /// Runs a script and waits for its reply. The script is sent by its digest, and in full where the server does not know it (a replica that
    /// has become the master may not). In a cluster all keys must be of one hash slot.
    ///
    /// - Parameter replication: What replicas must confirm before the reply is given. Where they do not, the script has run, and
    ///   ``RedisError/Code/notReplicated`` is thrown.
    /// - Parameter deadline: When to stop waiting; without it, ``Configuration/commandTimeout`` from now.
    /// - Throws: ``RedisError``. An error that a script raises may have come after some of its writes.
    public nonisolated(nonsending) func evaluate(
        _ script: RedisScript, keys: [RedisBytes] = [], arguments: [RedisBytes] = [], replication: Replication? = nil,
        deadline: ContinuousClock.Instant? = nil
    ) async throws(RedisError) -> RedisValue {
        let deadline = deadline ?? .now + configuration.commandTimeout
        let route = Route(slot: configuration.endpoint.isCluster ? keys.first?.hashSlot : nil, replication: replication)
        do {
            return try await perform(script.encodeCallByDigest(keys: keys, arguments: arguments), route, deadline: deadline)
        } catch  where error.serverPrefix == "NOSCRIPT" {
            return try await perform(script.encodeCallBySource(keys: keys, arguments: arguments), route, deadline: deadline)
        }
    }

    /// Who may answer a command that only reads.
    public enum ReadSource: Sendable, Hashable {
        /// The master: what it answers is what was written last.
        case master
        /// In a cluster a replica of the key's slot, where one can be reached; what it answers may be old.
        case replica
    }

    /// How many commands are under way, those included that nobody waits for any more but that the server still has to answer.
    public var pendingCommandCount: Int { inbox.pendingCommandCount }

    private nonisolated(nonsending) func perform(
        _ command: [UInt8], _ route: Route, deadline: ContinuousClock.Instant
    ) async throws(RedisError) -> RedisValue {
        let request = Request(command: command, deadline: deadline, route: route)
        let answer = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                guard request.wait(with: continuation) else { return }
                if inbox.submit(request) == .idle { expire(request) }
            }
        } onCancel: {
            request.cancel()
        }
        return try answer.get()
    }

    /// Looks after the deadline of a request for as long as no event loop does.
    private func expire(_ request: Request) {
        Task { [inbox] in
            try? await Task.sleep(until: request.deadline, clock: .continuous)
            guard inbox.isIdle else { return }
            request.fail { _ in
                RedisError(.timedOut, "RedisClient.run() was not called before the deadline; the command was not sent")
            }
        }
    }

    private static func serve(_ configuration: Configuration, _ inbox: Inbox, _ executor: LoopExecutor) {
        Signals.blockBrokenPipe()
        guard inbox.wakeDescriptor >= 0, let loop = EventLoop() else { return refuse(inbox) }
        Driver(configuration, inbox: inbox, executor: executor, loop: loop).run()
    }

    /// Answers everybody where there is no thread or no event loop to serve them.
    private static func refuse(_ inbox: Inbox) {
        let error = RedisError(.closed, "no event loop could be made: the process has no descriptors, threads or memory left")
        let rest = inbox.finish()
        for request in rest.requests {
            inbox.release(request)
            request.answer(.failure(error))
        }
        for job in rest.jobs { globalConcurrentExecutor.enqueue(job) }
    }
}
