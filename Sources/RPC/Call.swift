import CGRPC
import Synchronization

/// What a server's and a client's call have in common: the core's handle, and messages both ways.
// Sendable: `core` guards itself; what subclasses add is touched under its lock only.
class Call: EventOwner, @unchecked Sendable {
    /// What a receive ended with.
    enum Received {
        case message([UInt8])
        /// The peer is done.
        case end
        /// The call is over before the peer was done.
        case failed
        /// The task that waited was cancelled; the message, when it comes, is kept for the next receive.
        case abandoned
        /// Another task is waiting for the next message.
        case misused
    }

    /// What a send ended with.
    enum Sent {
        /// The core took the message.
        case taken
        /// The call is over.
        case failed
        /// The task that waited was cancelled; whether the message goes out is open.
        case abandoned
        /// The call was half-closed before.
        case misused
    }

    enum Reading {
        case idle
        /// A batch is under way, and this task waits for it; nil: it no longer does.
        case receiving(Waiter<Received>?)
        /// A batch ended that no task waited for.
        case buffered(Received)
        /// No message will come.
        case over(Received)
    }

    struct Waiter<Outcome> {
        let id: UInt64
        let continuation: UnsafeContinuation<Outcome, Never>
    }

    struct Write {
        let message: [UInt8]
        let waiter: Waiter<Sent>
    }

    // Sendable: it never leaves its lock.
    struct Core: @unchecked Sendable {
        /// nil once the call is over.
        var handle: OpaquePointer?
        /// Batches under way.
        var inFlight = 0
        /// No batch will be started any more.
        var isOver = false
        /// This side cancelled the call.
        var isCancelledHere = false
        var lastID: UInt64 = 0
        var reading = Reading.idle
        /// This side wants no more messages (``Call/endReceiving()``).
        var isReadingEnded = false
        /// A message is on its way to the core.
        var isSending = false
        /// The task that waits for it; nil: it no longer does.
        var sender: Waiter<Sent>?
        /// Messages behind it, oldest first. Each has a task that waits, so their number is bounded by that of the writers.
        var writes: [Write] = []
        /// A client's half-close goes out after the last message.
        var isHalfClosing = false
    }

    let queue: CompletionQueue
    final let core = Mutex(Core())

    init(queue: CompletionQueue) { self.queue = queue }

    deinit {
        core.withLock { core in
            if let handle = core.handle { destroy(handle) }
        }
    }

    // MARK: Batches

    /// Starts a batch. Returns false where the call is over or the core refuses.
    final func start(_ core: inout Core, _ batch: (OpaquePointer) -> Bool) -> Bool {
        guard let handle = core.handle, !core.isOver else { return false }
        let started = expect { batch(handle) }
        if started { core.inFlight += 1 }
        return started
    }

    /// Gives the handle back when the call is over and no batch is under way.
    final func releaseIfOver(_ core: inout Core) {
        guard core.isOver, core.inFlight == 0, let handle = core.handle else { return }
        core.handle = nil
        destroy(handle)
    }

    /// Takes a handle that was just created.
    final func adopt(_ handle: OpaquePointer?, _ core: inout Core) {
        core.handle = handle
        if handle != nil { queue.objectCreated() }
    }

    private final func destroy(_ handle: OpaquePointer) {
        cgrpc_call_destroy(handle)
        queue.objectDestroyed()
    }

    /// Cancels the call. From any thread, at any time.
    final func cancel() {
        core.withLock { core in
            core.isCancelledHere = true
            if let handle = core.handle { cgrpc_call_cancel(handle) }
        }
    }

    // MARK: Receiving

    /// The next message. One task at a time.
    final func receive() async -> Received {
        let id = core.withLock { Self.nextID(&$0) }
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let outcome: Received? = core.withLock { core in
                    if Task.isCancelled { return .abandoned }
                    if core.isReadingEnded { return .end }
                    switch core.reading {
                    case .idle:
                        core.reading = .receiving(Waiter(id: id, continuation: continuation))
                        if start(&core, { cgrpc_call_receive($0) }) { return nil }
                        core.reading = .over(.failed)
                        return .failed
                    case .receiving(nil):
                        core.reading = .receiving(Waiter(id: id, continuation: continuation))
                        return nil
                    case .receiving:
                        return .misused
                    case .buffered(let received):
                        core.reading = Self.reading(after: received)
                        return received
                    case .over(let received):
                        return received
                    }
                }
                if let outcome { continuation.resume(returning: outcome) }
            }
        } onCancel: {
            // On the queue's thread: a cancelling task never runs what waits here.
            Task(executorPreference: queue) { self.abandonReceive(id) }
        }
    }

    /// Takes no more messages: whoever waits for one, and each who asks, is told that there is none. From any thread, at any time.
    final func endReceiving() {
        let waiter: Waiter<Received>? = core.withLock { core in
            core.isReadingEnded = true
            guard case .receiving(let waiter?) = core.reading else { return nil }
            core.reading = .receiving(nil)
            return waiter
        }
        waiter?.continuation.resume(returning: .end)
    }

    final func messageReceived(success: Bool) {
        let (waiter, received) = core.withLock { core -> (Waiter<Received>?, Received) in
            core.inFlight -= 1
            let received = Self.takeMessage(core.handle, success: success)
            var waiter: Waiter<Received>?
            if case .receiving(let waiting) = core.reading { waiter = waiting }
            core.reading = waiter == nil ? .buffered(received) : Self.reading(after: received)
            releaseIfOver(&core)
            return (waiter, received)
        }
        waiter?.continuation.resume(returning: received)
    }

    /// The message that a batch brought.
    static func takeMessage(_ handle: OpaquePointer?, success: Bool) -> Received {
        guard let handle else { return .failed }
        if let message = takeMessage(handle) { return .message(message) }
        return success && !cgrpc_call_receive_failed(handle) ? .end : .failed
    }

    static func takeMessage(_ handle: OpaquePointer) -> [UInt8]? {
        let size = cgrpc_call_message_size(handle)
        if size < 0 { return nil }
        return [UInt8](unsafeUninitializedCapacity: Int(size)) { buffer, count in
            cgrpc_call_take_message(handle, buffer.baseAddress)
            count = Int(size)
        }
    }

    private func abandonReceive(_ id: UInt64) {
        let waiter: Waiter<Received>? = core.withLock { core in
            guard case .receiving(let waiter?) = core.reading, waiter.id == id else { return nil }
            core.reading = .receiving(nil)
            return waiter
        }
        waiter?.continuation.resume(returning: .abandoned)
    }

    private static func reading(after received: Received) -> Reading {
        if case .message = received { return .idle }
        return .over(received)
    }

    private static func nextID(_ core: inout Core) -> UInt64 {
        core.lastID += 1
        return core.lastID
    }

    // MARK: Sending

    /// Sends a message; returns when the core took it. Tasks that send at the same time take turns.
    final func send(_ message: [UInt8]) async -> Sent {
        let id = core.withLock { Self.nextID(&$0) }
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let waiter = Waiter<Sent>(id: id, continuation: continuation)
                let outcome: Sent? = core.withLock { core in
                    if Task.isCancelled { return .abandoned }
                    if core.isHalfClosing { return .misused }
                    if core.isSending {
                        core.writes.append(Write(message: message, waiter: waiter))
                        return nil
                    }
                    guard startSend(&core, message) else { return .failed }
                    core.sender = waiter
                    return nil
                }
                if let outcome { continuation.resume(returning: outcome) }
            }
        } onCancel: {
            Task(executorPreference: queue) { self.abandonSend(id) }
        }
    }

    final func messageSent(success: Bool) {
        var failed: [Waiter<Sent>] = []
        let sender = core.withLock { core in
            core.inFlight -= 1
            core.isSending = false
            if let handle = core.handle { cgrpc_call_forget_sent(handle) }
            let sender = core.sender
            core.sender = nil
            while !core.writes.isEmpty, !core.isSending {
                let write = core.writes.removeFirst()
                if startSend(&core, write.message) { core.sender = write.waiter } else { failed.append(write.waiter) }
            }
            if !core.isSending, core.isHalfClosing { sendClose(&core) }
            releaseIfOver(&core)
            return sender
        }
        sender?.continuation.resume(returning: success ? .taken : .failed)
        for waiter in failed { waiter.continuation.resume(returning: .failed) }
    }

    /// What must be set before a message goes out; a server's initial metadata.
    func prepareToSend(_ core: inout Core) {}

    /// Half-closes after the messages that are on their way.
    final func halfClose() {
        core.withLock { core in
            if core.isHalfClosing { return }
            core.isHalfClosing = true
            if !core.isSending { sendClose(&core) }
        }
    }

    final func closeSent() {
        core.withLock { core in
            core.inFlight -= 1
            releaseIfOver(&core)
        }
    }

    /// Takes the writes that have not begun; to be resumed with `.failed` outside of the lock.
    final func takeWrites(_ core: inout Core) -> [Write] {
        defer { core.writes = [] }
        return core.writes
    }

    private func startSend(_ core: inout Core, _ message: [UInt8]) -> Bool {
        prepareToSend(&core)
        core.isSending = message.withUnsafeBufferPointer { bytes in
            start(&core) { cgrpc_call_send($0, cgrpc_bytes(bytes)) }
        }
        return core.isSending
    }

    private func sendClose(_ core: inout Core) {
        // Refused only where the call is over, and then there is nothing to close.
        _ = start(&core) { cgrpc_call_send_close($0) }
    }

    private func abandonSend(_ id: UInt64) {
        let waiter: Waiter<Sent>? = core.withLock { core in
            if let sender = core.sender, sender.id == id {
                core.sender = nil
                return sender
            }
            guard let index = core.writes.firstIndex(where: { $0.waiter.id == id }) else { return nil }
            return core.writes.remove(at: index).waiter
        }
        waiter?.continuation.resume(returning: .abandoned)
    }
}

// MARK: Values of the core

extension cgrpc_bytes {
    init(_ bytes: UnsafeBufferPointer<UInt8>) { self.init(start: bytes.baseAddress, count: bytes.count) }

    var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

    /// The bytes as text; what is not UTF-8 becomes U+FFFD.
    var string: String { String(decoding: buffer, as: UTF8.self) }
}

extension Metadata {
    /// What a call received.
    init(received handle: OpaquePointer, _ side: cgrpc_metadata_side) {
        self.init()
        let count = cgrpc_call_metadata_count(handle, side)
        if count == 0 { return }
        reserveCapacity(count)
        for index in 0..<count {
            let pair = cgrpc_call_metadata(handle, side, index)
            appendReceived(pair.key.string, pair.value.buffer)
        }
    }

    /// Adds the pairs to what a call will send. Those that are not legal are left out.
    func add(to handle: OpaquePointer, _ side: cgrpc_metadata_side) {
        for pair in self where pair.fault == nil {
            var key = pair.key
            key.withUTF8 { key in
                switch pair.value {
                case .text(var text):
                    text.withUTF8 { _ = cgrpc_call_add_metadata(handle, side, cgrpc_bytes(key), cgrpc_bytes($0)) }
                case .binary(let bytes):
                    bytes.withUnsafeBufferPointer { _ = cgrpc_call_add_metadata(handle, side, cgrpc_bytes(key), cgrpc_bytes($0)) }
                }
            }
        }
    }
}
