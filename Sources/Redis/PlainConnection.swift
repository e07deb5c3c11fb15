internal import CHiredis
internal import Glibc

/// A connection without TLS: hiredis on an event loop.
///
/// hiredis frees its context by itself when the connection ends, inside any call that reads or writes. Its last sign of life is the `cleanup`
/// hook, which clears ``context``; whoever called into hiredis then reports the end through ``ConnectionEvents/ended``.
final class PlainConnection: Connection {
    private var context: UnsafeMutablePointer<redisAsyncContext>?
    private let events: ConnectionEvents
    private var readable: LoopEvent?
    private var writable: LoopEvent?
    private var isFlushing = false
    private var hasUnwritten = false
    private var endReason = "the connection was closed"
    private var isOver = false

    /// Starts to connect.
    init(_ address: SocketAddress, on loop: EventLoop, events: ConnectionEvents) throws(RedisError) {
        self.events = events
        let made =
            switch address {
            case .tcp(let host, let port): redisAsyncConnect(host, Int32(port))
            case .unix(let path): redisAsyncConnectUnix(path)
            }
        guard let context = made else { throw RedisError(.connectionFailed, "hiredis had no memory for a connection") }
        guard context.pointee.err == 0 else {
            let reason = String(cString: chiredis_error_text(context))
            redisAsyncFree(context)
            throw RedisError(.connectionFailed, reason)
        }
        self.context = context
        chiredis_limit_reader(context.pointee.c.reader)
        attach(context, loop)
    }

    func send(_ command: [UInt8]) {
        guard let context else { return }
        command.withUnsafeBytes { bytes in
            // Not an error to look at: it refuses only when the connection is ending, and then every command gets no reply.
            _ = redisAsyncFormattedCommand(
                context,
                { context, reply, _ in
                    // Without a reply the connection is ending.
                    guard let reply, let owner = context?.pointee.data else { return }
                    let value = RedisValue(copying: UnsafePointer(reply.assumingMemoryBound(to: redisReply.self)))
                    Unmanaged<PlainConnection>.fromOpaque(owner).takeUnretainedValue().events.replied(value)
                }, nil, bytes.bindMemory(to: CChar.self).baseAddress, bytes.count)
        }
    }

    func flush() {
        guard let context, hasUnwritten, chiredis_is_connected(context) != 0, writable?.isArmed == false else { return }
        write()
    }

    func close() {
        isOver = true
        guard let context else { return }
        redisAsyncFree(context)
    }

    private func attach(_ context: UnsafeMutablePointer<redisAsyncContext>, _ loop: EventLoop) {
        readable = LoopEvent(readable: context.pointee.c.fd, on: loop) { [unowned self] in read() }
        writable = LoopEvent(writable: context.pointee.c.fd, on: loop) { [unowned self] in write() }
        let owner = Unmanaged.passUnretained(self).toOpaque()
        context.pointee.data = owner
        context.pointee.ev.data = owner
        context.pointee.ev.addRead = { PlainConnection.of($0)?.readable?.arm() }
        context.pointee.ev.delRead = { PlainConnection.of($0)?.readable?.disarm() }
        context.pointee.ev.addWrite = { PlainConnection.of($0)?.wantsToWrite() }
        context.pointee.ev.delWrite = { PlainConnection.of($0)?.writable?.disarm() }
        context.pointee.ev.cleanup = { PlainConnection.of($0)?.contextIsEnding() }
        redisAsyncSetConnectCallback(context) { context, status in
            // A failure is reported with the end of the context, which follows.
            guard status == REDIS_OK, let owner = context?.pointee.data else { return }
            Unmanaged<PlainConnection>.fromOpaque(owner).takeUnretainedValue().events.connected()
        }
        writable?.arm()
    }

    private static func of(_ pointer: UnsafeMutableRawPointer?) -> PlainConnection? {
        pointer.map { Unmanaged<PlainConnection>.fromOpaque($0).takeUnretainedValue() }
    }

    /// hiredis has something to write. A burst of commands is written by one `flush`, without watching the socket; what did not fit is
    /// written when the socket can take more.
    private func wantsToWrite() {
        hasUnwritten = true
        if isFlushing { writable?.arm() }
    }

    private func read() {
        guard let context else { return }
        guard events.reading() else { return }
        redisAsyncHandleRead(context)
        reportEnd()
    }

    private func write() {
        guard let context else { return }
        hasUnwritten = false
        isFlushing = true
        redisAsyncHandleWrite(context)
        isFlushing = false
        reportEnd()
    }

    private func contextIsEnding() {
        guard let context else { return }
        let reason = String(cString: chiredis_error_text(context))
        if !reason.isEmpty { endReason = reason }
        self.context = nil
        readable = nil
        writable = nil
    }

    private func reportEnd() {
        guard context == nil, !isOver else { return }
        isOver = true
        events.ended(endReason)
    }
}
