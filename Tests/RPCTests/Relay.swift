import Glibc
import Synchronization

/// Passes bytes between a port of its own and another one on loopback, until it is frozen or stopped: a network that can fail.
final class Relay: Sendable {
    struct Failure: Error { let call: String }

    let port: Int
    private let target: Int
    private let listener: Int32
    private let isFrozen = Atomic<Bool>(false)
    private let isStopped = Atomic<Bool>(false)

    init(to target: Int) throws {
        self.target = target
        listener = try Self.socket()
        var address = Self.address(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 8) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        guard isBound else { throw Failure(call: "bind") }
        port = Int(UInt16(bigEndian: address.sin_port))
        Self.detach { self.run() }
    }

    /// Passes nothing any more; connections stay open.
    func freeze() { isFrozen.store(true, ordering: .relaxed) }

    /// Closes all connections and takes no more.
    func stop() { isStopped.store(true, ordering: .relaxed) }

    private func run() {
        // Pairs of descriptors: what comes from one goes to its peer.
        var peers: [Int32: Int32] = [:]
        var buffer = [UInt8](repeating: 0, count: 65536)
        while !isStopped.load(ordering: .relaxed) {
            let frozen = isFrozen.load(ordering: .relaxed)
            var polled = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
            if !frozen { polled += peers.keys.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) } }
            guard poll(&polled, nfds_t(polled.count), 10) > 0 else { continue }
            if polled[0].revents != 0, let (client, server) = accept() {
                peers[client] = server
                peers[server] = client
            }
            for each in polled.dropFirst() where each.revents != 0 {
                guard let peer = peers[each.fd] else { continue }
                let count = read(each.fd, &buffer, buffer.count)
                if count > 0, write(peer, buffer, count) == count { continue }
                for descriptor in [each.fd, peer] {
                    peers[descriptor] = nil
                    close(descriptor)
                }
            }
        }
        for descriptor in peers.keys { close(descriptor) }
        close(listener)
    }

    private func accept() -> (Int32, Int32)? {
        let client = Glibc.accept(listener, nil, nil)
        guard client >= 0, let server = try? Self.socket() else { return nil }
        var address = Self.address(target)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
        if connected { return (client, server) }
        close(client)
        close(server)
        return nil
    }

    private static func socket() throws -> Int32 {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(call: "socket") }
        return descriptor
    }

    private static func address(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    private static func detach(_ body: @escaping @Sendable () -> Void) {
        final class Body {
            let run: @Sendable () -> Void
            init(_ run: @escaping @Sendable () -> Void) { self.run = run }
        }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(Body(body)).toOpaque())
        pthread_detach(thread)
    }
}
