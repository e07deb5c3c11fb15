internal import CHiredis

/// A connection over TLS: libevent's stream over OpenSSL, with hiredis's reader behind it.
final class TLSConnection: Connection {
    private let events: ConnectionEvents
    private let reader: UnsafeMutablePointer<redisReader>
    private var stream: OpaquePointer?
    private var unwritten: [UInt8] = []

    /// Starts to connect to a numeric address.
    ///
    /// - Parameter name: The name or the address that the server's certificate must carry.
    init(
        _ host: String, _ port: UInt16, _ tls: RedisClient.Configuration.TLS, name: String, on loop: EventLoop, events: ConnectionEvents
    ) throws(RedisError) {
        guard let reader = redisReaderCreate() else { throw RedisError(.connectionFailed, "hiredis had no memory for a reader") }
        chiredis_limit_reader(reader)
        self.events = events
        self.reader = reader
        var callbacks = chiredis_tls_events()
        callbacks.owner = Unmanaged.passUnretained(self).toOpaque()
        callbacks.connected = { TLSConnection.of($0)?.events.connected() }
        callbacks.received = { TLSConnection.of($0)?.received($1, $2) }
        callbacks.ended = { owner, reason in TLSConnection.of(owner)?.ended(reason.map { String(cString: $0) } ?? "the connection ended") }
        var reason = [CChar](repeating: 0, count: 512)
        stream = chiredis_tls_connect(
            loop.base, host, port, name, tls.authorityFile, tls.certificateFile, tls.keyFile, &callbacks, &reason, reason.count)
        if stream == nil { throw RedisError(.connectionFailed, Self.text(reason)) }
    }

    deinit {
        close()
        redisReaderFree(reader)
    }

    func send(_ command: [UInt8]) {
        unwritten.append(contentsOf: command)
    }

    func flush() {
        guard let stream, !unwritten.isEmpty else { return }
        // Without memory the commands get no reply, and the silence ends the connection.
        _ = chiredis_tls_write(stream, unwritten, unwritten.count)
        unwritten.removeAll(keepingCapacity: unwritten.count <= 65_536)
    }

    func close() {
        guard let stream else { return }
        self.stream = nil
        chiredis_tls_free(stream)
    }

    private static func of(_ owner: UnsafeMutableRawPointer?) -> TLSConnection? {
        owner.map { Unmanaged<TLSConnection>.fromOpaque($0).takeUnretainedValue() }
    }

    private func received(_ bytes: UnsafePointer<CChar>?, _ count: Int) {
        guard let bytes, events.reading() else { return }
        guard redisReaderFeed(reader, bytes, count) == REDIS_OK else { return ended(String(cString: chiredis_reader_error(reader))) }
        // The owner may close the connection between two replies.
        while stream != nil {
            var reply: UnsafeMutableRawPointer?
            guard redisReaderGetReply(reader, &reply) == REDIS_OK else { return ended(String(cString: chiredis_reader_error(reader))) }
            guard let reply else { return }
            let value = RedisValue(copying: UnsafePointer(reply.assumingMemoryBound(to: redisReply.self)))
            freeReplyObject(reply)
            events.replied(value)
        }
    }

    private func ended(_ reason: String) {
        guard stream != nil else { return }
        close()
        events.ended(reason)
    }

    fileprivate static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension RedisClient.Configuration.TLS {
    /// Whether the files can be used.
    ///
    /// - Throws: ``RedisError`` of the code ``RedisError/Code/connectionFailed``, which names the file.
    public func check() throws(RedisError) {
        var reason = [CChar](repeating: 0, count: 512)
        guard chiredis_tls_check(authorityFile, certificateFile, keyFile, &reason, reason.count) == 0 else {
            throw RedisError(.connectionFailed, TLSConnection.text(reason))
        }
    }
}
