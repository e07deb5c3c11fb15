internal import CHiredis
internal import Glibc

/// A libevent base. Used on one thread only, and therefore without locks.
final class EventLoop {
    let base: OpaquePointer

    /// - Returns: nil where libevent cannot make one (descriptors or memory are used up).
    init?() {
        guard let configuration = event_config_new() else { return nil }
        defer { event_config_free(configuration) }
        event_config_set_flag(configuration, Int32(EVENT_BASE_FLAG_NOLOCK.rawValue))
        guard let base = event_base_new_with_config(configuration) else { return nil }
        self.base = base
    }

    deinit { event_base_free(base) }

    /// Waits for events (or only looks for them) and runs their handlers.
    func runOnce(blocking: Bool) {
        event_base_loop(base, blocking ? EVLOOP_ONCE : EVLOOP_NONBLOCK)
    }
}

/// One event of a loop, and what happens when it comes. Must be freed before its loop; both live on the loop's thread.
final class LoopEvent {
    private var event: OpaquePointer?
    private let handler: () -> Void
    private(set) var isArmed = false
    private let isPersistent: Bool

    /// A timer.
    convenience init(timerOn loop: EventLoop, handler: @escaping () -> Void) {
        self.init(loop, descriptor: -1, flags: 0, handler: handler)
    }

    /// Fires for as long as a descriptor can be read.
    convenience init(readable descriptor: Int32, on loop: EventLoop, handler: @escaping () -> Void) {
        self.init(loop, descriptor: descriptor, flags: EV_READ | EV_PERSIST, handler: handler)
    }

    /// Fires for as long as a descriptor can be written.
    convenience init(writable descriptor: Int32, on loop: EventLoop, handler: @escaping () -> Void) {
        self.init(loop, descriptor: descriptor, flags: EV_WRITE | EV_PERSIST, handler: handler)
    }

    private init(_ loop: EventLoop, descriptor: Int32, flags: Int32, handler: @escaping () -> Void) {
        self.handler = handler
        isPersistent = flags & EV_PERSIST != 0
        event = event_new(
            loop.base, descriptor, Int16(flags),
            { _, _, argument in
                guard let argument else { return }
                Unmanaged<LoopEvent>.fromOpaque(argument).takeUnretainedValue().fire()
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit {
        if let event { event_free(event) }
    }

    /// Starts to watch for the event; a timer fires after `delay`, and once.
    func arm(after delay: Duration? = nil) {
        guard let event, !isArmed || delay != nil else { return }
        isArmed = true
        guard let delay else {
            event_add(event, nil)
            return
        }
        let (seconds, attoseconds) = max(delay, .zero).components
        var time = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        event_add(event, &time)
    }

    /// Stops watching.
    func disarm() {
        guard let event, isArmed else { return }
        isArmed = false
        event_del(event)
    }

    private func fire() {
        if !isPersistent { isArmed = false }
        handler()
    }
}
