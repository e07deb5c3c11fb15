/// Pairs that travel beside the messages of a call, in the order they were added. A key may occur more than once.
///
/// Keys are lower case: ASCII letters, digits, `-`, `_` and `.`. A key that ends in `-bin` has bytes as its value, any other
/// has printable ASCII. Keys that begin with `grpc-` belong to gRPC, but for those that end in `-bin`, and for `grpc-retry-pushback-ms`, by which a server says
/// when to try again.
public struct Metadata: Sendable, Hashable, ExpressibleByDictionaryLiteral, RandomAccessCollection {
    /// What a key stands for.
    public enum Value: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
        /// Printable ASCII.
        case text(String)
        /// Any bytes, of a key that ends in `-bin`.
        case binary([UInt8])

        /// Text.
        public init(stringLiteral value: String) { self = .text(value) }

        /// The text, or how many bytes there are.
        public var description: String {
            switch self {
            case .text(let text): text
            case .binary(let bytes): "\(bytes.count) bytes"
            }
        }
    }

    /// A key and its value.
    public struct Pair: Sendable, Hashable {
        /// In lower case.
        public let key: String
        /// Bytes where the key ends in `-bin`.
        public let value: Value
    }

    private var pairs: [Pair] = []

    /// No pair.
    public init() {}

    /// The pairs in their order.
    public init(dictionaryLiteral elements: (String, Value)...) {
        for (key, value) in elements { append(key, value) }
    }

    /// Adds a pair; the key is made lower case.
    public mutating func append(_ key: String, _ value: Value) { pairs.append(Pair(key: key.lowercased(), value: value)) }

    /// Adds a pair of text.
    public mutating func append(_ key: String, _ text: String) { append(key, .text(text)) }

    /// Adds a pair of bytes; the key must end in `-bin`.
    public mutating func append(_ key: String, _ bytes: [UInt8]) { append(key, .binary(bytes)) }

    /// Adds all pairs of `other`.
    public mutating func append(contentsOf other: Metadata) { pairs.append(contentsOf: other.pairs) }

    /// The first text of a key, which is given in lower case.
    public subscript(key: String) -> String? {
        for pair in pairs where pair.key == key {
            if case .text(let text) = pair.value { return text }
        }
        return nil
    }

    /// The first bytes of a key, which is given in lower case and ends in `-bin`.
    public func binary(_ key: String) -> [UInt8]? {
        for pair in pairs where pair.key == key {
            if case .binary(let bytes) = pair.value { return bytes }
        }
        return nil
    }

    /// All values of a key, which is given in lower case.
    public func values(_ key: String) -> [Value] { pairs.filter { $0.key == key }.map(\.value) }

    /// The position of the first pair.
    public var startIndex: Int { 0 }
    /// The number of pairs.
    public var endIndex: Int { pairs.count }
    /// The pair at a position.
    public subscript(position: Int) -> Pair { pairs[position] }

    /// A pair as it came off the wire.
    mutating func appendReceived(_ key: String, _ value: UnsafeRawBufferPointer) {
        let isBinary = key.hasSuffix("-bin")
        pairs.append(Pair(key: key, value: isBinary ? .binary(Array(value)) : .text(String(decoding: value, as: UTF8.self))))
    }

    mutating func reserveCapacity(_ count: Int) { pairs.reserveCapacity(count) }
}

extension Metadata.Pair {
    /// What keeps the pair from being sent; nil: it is legal.
    var fault: String? {
        let isBinary = key.hasSuffix("-bin")
        guard !key.isEmpty, key.utf8.allSatisfy(Self.isKeyByte) else {
            return "the metadata key '\(key)' is not legal; letters, digits, '-', '_' and '.' are expected"
        }
        if (key.hasPrefix("grpc-") && !isBinary && key != "grpc-retry-pushback-ms") || key == "content-type" || key == "te" {
            return "the metadata key '\(key)' belongs to gRPC itself"
        }
        switch value {
        case .text(let text):
            if isBinary { return "the metadata key '\(key)' ends in -bin, and its value is text; bytes are expected" }
            if !text.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) {
                return
                    "the value of the metadata key '\(key)' is not printable ASCII; for anything else use bytes and a key that ends in -bin"
            }
        case .binary:
            if !isBinary { return "the value of the metadata key '\(key)' is bytes, and the key does not end in -bin" }
        }
        return nil
    }

    private static func isKeyByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
        default: false
        }
    }
}

extension Metadata {
    /// - Throws: ``RPCError`` with code `.invalidArgument` where a pair cannot be sent.
    func validate() throws(RPCError) {
        for pair in pairs {
            if let fault = pair.fault { throw RPCError(.invalidArgument, fault) }
        }
    }

    /// The pairs that can be sent.
    var legal: Metadata {
        var result = Metadata()
        result.pairs = pairs.filter { $0.fault == nil }
        return result
    }
}
