internal import Glibc

/// Runs the jobs of one actor on one thread of its own, in the order in which they come.
///
/// The thread ends with the last reference to the executor. A job holds such a reference until it has run, so none is lost.
final class ThreadExecutor: SerialExecutor {
    private let queue = JobQueue()

    /// Starts the thread.
    ///
    /// - Parameter name: shown by `top -H` and debuggers; cut to 15 bytes.
    init(name: String) throws(TorchError) {
        let start = Unmanaged.passRetained(ThreadStart(name: name, queue: queue))
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
                start.nameThread()
                start.queue.run()
                return nil
            }, start.toOpaque())
        guard status == 0 else {
            start.release()
            throw TorchError(.failed, "no thread could be started for the model: \(String(cString: strerror(status)))")
        }
    }

    deinit { queue.close() }

    func enqueue(_ job: consuming ExecutorJob) {
        queue.append(JobQueue.Entry(job: UnownedJob(job), executor: self))
    }
}

/// What a new thread needs.
private final class ThreadStart: Sendable {
    let name: String
    let queue: JobQueue

    init(name: String, queue: JobQueue) {
        self.name = name
        self.queue = queue
    }

    /// Names the calling thread. (Swift does not see `pthread_setname_np`, which does the same.) Without /proc it stays unnamed.
    func nameThread() {
        let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        let bytes = Array(name.utf8.prefix(15))
        _ = write(file, bytes, bytes.count)
    }
}

/// Jobs that wait for their thread.
///
/// `@unchecked Sendable`: `entries` and `closed` are touched only between `pthread_mutex_lock` and `pthread_mutex_unlock` of `mutex`;
/// the two pointers never change and are freed by `deinit`, when nobody is left to use them.
private final class JobQueue: @unchecked Sendable {
    struct Entry {
        let job: UnownedJob
        let executor: ThreadExecutor
    }

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var entries: [Entry] = []
    private var closed = false

    init() {
        mutex.initialize(to: pthread_mutex_t())
        changed.initialize(to: pthread_cond_t())
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    func append(_ entry: Entry) {
        pthread_mutex_lock(mutex)
        entries.append(entry)
        pthread_mutex_unlock(mutex)
        pthread_cond_signal(changed)
    }

    func close() {
        pthread_mutex_lock(mutex)
        closed = true
        pthread_mutex_unlock(mutex)
        pthread_cond_signal(changed)
    }

    /// Runs jobs until the queue is closed. Called once, on the queue's thread.
    func run() {
        while let batch = next() {
            for entry in batch { entry.job.runSynchronously(on: entry.executor.asUnownedSerialExecutor()) }
        }
    }

    /// All jobs that wait, once there is at least one; nil when the queue is closed. It cannot be closed while jobs wait: they hold the executor.
    private func next() -> [Entry]? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while entries.isEmpty {
            if closed { return nil }
            pthread_cond_wait(changed, mutex)
        }
        defer { entries = [] }
        return entries
    }
}
