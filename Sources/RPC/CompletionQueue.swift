import CGRPC
import Glibc
import Synchronization

/// One completion queue of the gRPC C core with a thread of its own. Servers and channels share it; calls that a server handles
/// run on its thread from beginning to end, and so do tasks that prefer it as their executor.
///
/// What runs on this thread must never block it: no blocking I/O, no long computation, no waiting for locks that are held for long.
/// Long work belongs on another executor or thread; `await` it.
///
/// A queue lives until ``shutdown()``.
public final class CompletionQueue: TaskExecutor, @unchecked Sendable {
    // Sendable: `handle` is thread-safe; `inbox`, `objects` and `thread` guard themselves; all else is touched by the queue's own thread only.

    /// How many jobs may run before the queue is looked at again.
    private static let jobsBetweenPolls = 256

    let handle: OpaquePointer
    private let inbox = Mutex(Inbox())
    /// Servers, channels and calls of the core that use the queue.
    private let objects = Atomic<Int>(0)
    /// The queue's thread while it runs; 0 before and after.
    private let thread = Atomic<UInt>(0)
    /// Jobs from the queue's own thread, `next` first.
    private var jobs: [UnownedJob] = []
    private var next = 0

    /// What other threads hand in.
    private struct Inbox {
        var jobs: [UnownedJob] = []
        var poller = Poller.awake
        var phase = Phase.open
        var waiters: [UnsafeContinuation<Void, Never>] = []
    }

    private enum Poller {
        /// It will look into the inbox before it sleeps.
        case awake
        /// It may be waiting for an event.
        case asleep
        /// It may be waiting, and an event is on its way.
        case woken
    }

    private enum Phase {
        case open, closing, closed
    }

    /// Starts the queue's thread.
    ///
    /// - Parameter name: The thread's name; the system shows the first 15 bytes.
    public init(name: String = "rpc") {
        handle = cgrpc_queue_create()
        let start = ThreadStart(queue: self, name: name)
        let argument = Unmanaged.passRetained(start).toOpaque()
        var created = pthread_t()
        let status = pthread_create(
            &created, nil,
            { argument in
                // `argument` is not optional here, whatever the C type says: it was passed three lines above.
                let start = Unmanaged<ThreadStart>.fromOpaque(argument!).takeRetainedValue()
                cgrpc_name_thread(start.name)
                start.queue.run()
                return nil
            }, argument)
        precondition(status == 0, "the thread of a completion queue cannot be created: \(String(cString: strerror(status)))")
        pthread_detach(created)
    }

    private final class ThreadStart {
        let queue: CompletionQueue
        let name: String

        init(queue: CompletionQueue, name: String) {
            self.queue = queue
            self.name = name
        }
    }

    /// Ends the queue's thread when all servers, channels and calls on it are gone; so shut down and close those before.
    ///
    /// Tasks that prefer the queue go on, on the global executor.
    public func shutdown() async {
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let isClosed = inbox.withLock { inbox in
                if inbox.phase == .closed { return true }
                inbox.phase = .closing
                inbox.waiters.append(continuation)
                wake(&inbox)
                return false
            }
            if isClosed { continuation.resume() }
        }
    }

    /// Runs a job on the queue's thread.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isCurrent {
            jobs.append(job)
            return
        }
        let taken = inbox.withLock { inbox in
            if inbox.phase == .closed { return false }
            inbox.jobs.append(job)
            wake(&inbox)
            return true
        }
        if !taken { globalConcurrentExecutor.enqueue(ExecutorJob(job)) }
    }

    /// Servers, channels and calls of the core that use the queue.
    var liveObjects: Int { objects.load(ordering: .relaxed) }

    /// An object of the core that uses the queue was created.
    func objectCreated() { objects.add(1, ordering: .relaxed) }

    /// An object of the core that used the queue was destroyed.
    func objectDestroyed() {
        guard objects.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        inbox.withLock { inbox in
            if inbox.phase == .closing { wake(&inbox) }
        }
    }

    /// Whether the caller runs on the queue's thread.
    var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    private func wake(_ inbox: inout Inbox) {
        guard inbox.poller == .asleep else { return }
        inbox.poller = .woken
        cgrpc_queue_wake(handle)
    }

    private func run() {
        thread.store(UInt(pthread_self()), ordering: .relaxed)
        loop: while true {
            runJobs()
            let wait = prepareToPoll()
            let event = cgrpc_queue_next(handle, wait)
            if wait { wakeUp(consumed: event.kind == CGRPC_QUEUE_WOKEN) }
            switch event.kind {
            case CGRPC_QUEUE_EMPTY: break
            case CGRPC_QUEUE_WOKEN:
                if !wait { wakeUp(consumed: true) }
            case CGRPC_QUEUE_SHUTDOWN: break loop
            default:
                guard let owner = event.owner else { break }
                Unmanaged<EventOwner>.fromOpaque(owner).takeRetainedValue().handle(event.kind, success: event.success)
            }
        }
        while next < jobs.count { runJobs() }
        thread.store(0, ordering: .relaxed)
        cgrpc_queue_destroy(handle)
        for waiter in inbox.withLock({ $0.waiters }) { waiter.resume() }
    }

    private func runJobs() {
        for _ in 0..<Self.jobsBetweenPolls {
            if next == jobs.count { break }
            let job = jobs[next]
            next += 1
            job.runSynchronously(on: asUnownedTaskExecutor())
        }
        if next == jobs.count {
            jobs.removeAll(keepingCapacity: true)
            next = 0
        }
    }

    /// Takes what other threads handed in. Returns whether there is nothing to do but to wait for an event.
    private func prepareToPoll() -> Bool {
        var begin = false
        let wait = inbox.withLock { inbox in
            if !inbox.jobs.isEmpty {
                jobs.append(contentsOf: inbox.jobs)
                inbox.jobs.removeAll(keepingCapacity: true)
            }
            if next < jobs.count { return false }
            if inbox.phase == .closing, objects.load(ordering: .acquiring) == 0 {
                inbox.phase = .closed
                begin = true
            } else if inbox.poller == .awake {
                inbox.poller = .asleep
            }
            return true
        }
        if begin { cgrpc_queue_begin_shutdown(handle) }
        return wait
    }

    private func wakeUp(consumed: Bool) {
        inbox.withLock { inbox in
            if consumed || inbox.poller == .asleep { inbox.poller = .awake }
        }
    }
}

/// Whatever started work in the core. It retains itself once for each event that is to come (``expect(_:)``).
class EventOwner {
    /// The pointer that the core carries.
    final var opaque: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    /// Starts work and keeps self alive until its event was handled.
    ///
    /// - Returns: What `start` returned: false where the core refused, and no event follows.
    final func expect(_ start: () -> Bool) -> Bool {
        let reference = Unmanaged.passRetained(self)
        if start() { return true }
        reference.release()
        return false
    }

    /// An event of the queue, on its thread.
    func handle(_ kind: cgrpc_kind, success: Bool) {}
}
