/// Runs tasks on the thread that serves a client, between its reads and its writes: no other thread has to wake for a reply, and a burst of
/// replies becomes one burst of the next commands. While ``RedisClient/run()`` does not run, the global pool runs them.
final class LoopExecutor: TaskExecutor {
    private let inbox: Inbox

    init(_ inbox: Inbox) {
        self.inbox = inbox
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if !inbox.submit(job) { globalConcurrentExecutor.enqueue(job) }
    }
}
