internal import CHiredis
internal import Glibc

/// Looks host names up on threads of their own: `getaddrinfo` blocks, and the event loop must not.
enum Resolver {
    /// Resolves a host, and leaves the result in the inbox.
    ///
    /// - Returns: Whether the thread could be started.
    static func resolve(_ host: String, attempt: Int, into inbox: Inbox) -> Bool {
        startDetachedThread {
            inbox.post(Resolution(attempt: attempt, addresses: addresses(of: host)))
        }
    }

    /// The numeric addresses of a host, in the system's order of preference.
    static func addresses(of host: String) -> Result<[String], RedisError> {
        guard !host.utf8.contains(0) else { return .failure(RedisError(.connectionFailed, "the host name contains a NUL byte")) }
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, nil, &hints, &list)
        guard status == 0, let list else {
            return .failure(RedisError(.connectionFailed, "the host \(host) was not found: \(String(cString: gai_strerror(status)))"))
        }
        defer { freeaddrinfo(list) }
        var addresses: [String] = []
        for entry in sequence(first: list, next: { $0.pointee.ai_next }) {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let status = getnameinfo(
                entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
            guard status == 0 else { continue }
            let address = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            if !addresses.contains(address) { addresses.append(address) }
        }
        if addresses.isEmpty { return .failure(RedisError(.connectionFailed, "the host \(host) has no address")) }
        return .success(addresses)
    }
}

/// Starts a detached thread.
///
/// - Returns: Whether there was room for one.
func startDetachedThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    let argument = Unmanaged.passRetained(Body(body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    var thread = pthread_t()
    let status = pthread_create(
        &thread, &attributes,
        { argument in
            if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
            return nil
        }, argument.toOpaque())
    if status != 0 { argument.release() }
    return status == 0
}
