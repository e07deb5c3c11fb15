/// A Lua script that the server runs in one step. It is sent by its SHA-1, and in full only where the server does not know it yet.
public struct RedisScript: Sendable, Hashable {
    /// The Lua text.
    public let source: String
    /// The SHA-1 of the source in 40 lower-case hexadecimal digits: the server's name for it.
    public let sha1: String

    /// `EVALSHA` and the digest, encoded once.
    private let callByDigest: [UInt8]

    /// A script by its Lua text.
    public init(_ source: String) {
        self.source = source
        sha1 = SHA1.hexDigest(Array(source.utf8))
        callByDigest = Array("$7\r\nEVALSHA\r\n$40\r\n\(sha1)\r\n".utf8)
    }

    /// `EVALSHA sha1 numkeys key… argument…`
    func encodeCallByDigest(keys: [RedisBytes], arguments: [RedisBytes]) -> [UInt8] {
        encode(call: callByDigest, keys: keys, arguments: arguments)
    }

    /// `EVAL source numkeys key… argument…`
    func encodeCallBySource(keys: [RedisBytes], arguments: [RedisBytes]) -> [UInt8] {
        encode(call: Array("$4\r\nEVAL\r\n$\(source.utf8.count)\r\n\(source)\r\n".utf8), keys: keys, arguments: arguments)
    }

    private func encode(call: [UInt8], keys: [RedisBytes], arguments: [RedisBytes]) -> [UInt8] {
        let size = keys.reduce(0) { $0 + $1.count } + arguments.reduce(0) { $0 + $1.count }
        var encoder = CommandEncoder(count: 3 + keys.count + arguments.count, size: call.count + size)
        encoder.append(encoded: call)
        encoder.append(RedisBytes(keys.count))
        for key in keys { encoder.append(key) }
        for argument in arguments { encoder.append(argument) }
        return encoder.bytes
    }
}
