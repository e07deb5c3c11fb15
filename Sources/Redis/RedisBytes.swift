/// One word of a command: any bytes. Text is sent as UTF-8, a number in decimal.
public struct RedisBytes: Sendable, Hashable, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral {
    enum Content: Sendable, Hashable {
        case text(String)
        case bytes([UInt8])
    }

    let content: Content

    /// Text, sent as UTF-8.
    public init(_ text: String) {
        content = .text(text)
    }

    /// Bytes, sent as they are.
    public init(_ bytes: [UInt8]) {
        content = .bytes(bytes)
    }

    /// A number, sent in decimal.
    public init(_ number: some BinaryInteger) {
        content = .text(String(number))
    }

    /// Text, sent as UTF-8.
    public init(stringLiteral text: String) {
        self.init(text)
    }

    /// A number, sent in decimal.
    public init(integerLiteral number: Int64) {
        self.init(number)
    }

    /// How many bytes there are.
    public var count: Int {
        switch content {
        case .text(let text): text.utf8.count
        case .bytes(let bytes): bytes.count
        }
    }
}

/// Writes commands in the form that the server reads (RESP arrays of bulk strings).
struct CommandEncoder {
    private(set) var bytes: [UInt8] = []

    /// Starts a command of `count` words with room for `size` bytes of them.
    init(count: Int, size: Int) {
        // A word costs its bytes and "$<length>\r\n…\r\n" around them.
        bytes.reserveCapacity(16 + size + count * 16)
        appendHeader(UInt8(ascii: "*"), count)
    }

    /// A whole command.
    static func encode(_ words: [RedisBytes]) -> [UInt8] {
        var encoder = CommandEncoder(count: words.count, size: words.reduce(0) { $0 + $1.count })
        for word in words { encoder.append(word) }
        return encoder.bytes
    }

    mutating func append(_ word: RedisBytes) {
        appendHeader(UInt8(ascii: "$"), word.count)
        switch word.content {
        case .text(let text): bytes.append(contentsOf: text.utf8)
        case .bytes(let content): bytes.append(contentsOf: content)
        }
        appendLineEnd()
    }

    /// Appends words that are already encoded.
    mutating func append(encoded words: [UInt8]) {
        bytes.append(contentsOf: words)
    }

    private mutating func appendHeader(_ type: UInt8, _ number: Int) {
        bytes.append(type)
        if number < 10 {
            bytes.append(UInt8(ascii: "0") + UInt8(number))
        } else {
            bytes.append(contentsOf: String(number).utf8)
        }
        appendLineEnd()
    }

    private mutating func appendLineEnd() {
        bytes.append(UInt8(ascii: "\r"))
        bytes.append(UInt8(ascii: "\n"))
    }
}

/// Commands that change what a connection means, and so cannot be sent by one of the many callers that share it.
enum SharedConnection {
    private static let refused: Set<String> = [
        "ASKING", "AUTH", "DISCARD", "EXEC", "HELLO", "MONITOR", "MULTI", "PSUBSCRIBE", "PSYNC", "PUNSUBSCRIBE", "QUIT", "READONLY",
        "READWRITE", "RESET", "SELECT", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE", "SYNC", "UNSUBSCRIBE", "UNWATCH", "WATCH",
    ]

    /// Why a command cannot be sent; nil where it can.
    static func refusal(of words: [RedisBytes]) -> RedisError? {
        guard let first = words.first, first.count > 0 else {
            return RedisError(.invalidCommand, "a command has at least one word, its name; there was none")
        }
        guard first.count <= 12 else { return nil }
        let name = first.upperCased
        if refused.contains(name) {
            return RedisError(
                .invalidCommand, "\(name) would change the connection that all callers share; use a script, or the client's configuration")
        }
        if name == "CLIENT", words.count > 1, words[1].upperCased == "REPLY" {
            return RedisError(.invalidCommand, "CLIENT REPLY would change the connection that all callers share")
        }
        return nil
    }
}

extension RedisBytes {
    /// The word as the name of a command.
    var upperCased: String {
        switch content {
        case .text(let text): text.uppercased()
        case .bytes(let bytes): String(decoding: bytes, as: UTF8.self).uppercased()
        }
    }

    /// The hash slot of the word as a key.
    var hashSlot: UInt16 {
        switch content {
        case .text(let text): HashSlot.of(text.utf8)
        case .bytes(let bytes): HashSlot.of(bytes)
        }
    }
}
