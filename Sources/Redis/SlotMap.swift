/// The hash slots of Redis Cluster (the cluster specification, "Key distribution model" and "Hash tags").
enum HashSlot {
    /// How many there are.
    static let count = 16_384

    /// The slot of a key: CRC16 of what stands between its first `{` and the next `}`, if that is not empty, else of the whole key.
    static func of(_ key: some Sequence<UInt8>) -> UInt16 {
        let key = Array(key)
        if let open = key.firstIndex(of: UInt8(ascii: "{")), let close = key[(open + 1)...].firstIndex(of: UInt8(ascii: "}")),
            close > open + 1
        {
            return crc16(key[(open + 1)..<close]) % UInt16(count)
        }
        return crc16(key[...]) % UInt16(count)
    }

    /// CRC-16/XMODEM: polynomial 0x1021, from 0.
    static func crc16(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        bytes.reduce(0) { crc, byte in (crc << 8) ^ table[Int(UInt8(truncatingIfNeeded: crc >> 8) ^ byte)] }
    }

    private static let table: [UInt16] = (0..<256).map { index in
        (0..<8).reduce(UInt16(index) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : (crc << 1) ^ 0x1021 }
    }
}

/// Which nodes of a cluster serve which slots.
struct SlotMap: Equatable {
    typealias Address = RedisClient.Configuration.Address

    /// A master and its replicas.
    struct Shard: Hashable {
        var master: Address
        var replicas: [Address]
    }

    private(set) var shards: [Shard] = []
    /// The shard of each slot; −1: none.
    private var owners = [Int16](repeating: -1, count: HashSlot.count)

    /// A map that knows nothing.
    init() {}

    /// From the reply to `CLUSTER SLOTS`; nil where it is something else, names no slot, or names one twice.
    ///
    /// - Parameter host: The host of the node that answered: it stands where a node does not know its own address.
    init?(_ reply: RedisValue, from host: String) {
        var indices: [Shard: Int16] = [:]
        for range in reply.array ?? [] {
            guard let parts = range.array, parts.count >= 3, let first = parts[0].integer, let last = parts[1].integer, 0 <= first,
                first <= last, last < HashSlot.count, let master = Self.address(parts[2], host)
            else { return nil }
            let shard = Shard(master: master, replicas: parts.dropFirst(3).compactMap { Self.address($0, host) })
            let index = indices[shard] ?? Int16(shards.count)
            if indices[shard] == nil {
                indices[shard] = index
                shards.append(shard)
            }
            for slot in Int(first)...Int(last) {
                guard owners[slot] < 0 else { return nil }
                owners[slot] = index
            }
        }
        if shards.isEmpty { return nil }
    }

    /// Who serves a slot.
    func shard(of slot: UInt16) -> Shard? {
        let index = owners[Int(slot)]
        return index < 0 ? nil : shards[Int(index)]
    }

    /// Notes that a slot has moved.
    mutating func move(_ slot: UInt16, to master: Address) {
        if let index = shards.firstIndex(where: { $0.master == master }) {
            owners[Int(slot)] = Int16(index)
        } else if shards.count < HashSlot.count {
            owners[Int(slot)] = Int16(shards.count)
            shards.append(Shard(master: master, replicas: []))
        }
    }

    /// `[host, port, …]`
    private static func address(_ value: RedisValue, _ host: String) -> Address? {
        guard let parts = value.array, parts.count >= 2, let port = parts[1].integer.flatMap(UInt16.init(exactly:)), port > 0 else {
            return nil
        }
        let named = parts[0].string ?? ""
        return Address(host: named.isEmpty || named == "?" ? host : named, port: port)
    }
}

/// Where a cluster's node sends a command: `MOVED slot host:port` or `ASK slot host:port`.
struct Redirection: Equatable {
    let slot: UInt16
    let address: RedisClient.Configuration.Address

    /// - Parameter host: The host of the node that answered: it stands where the answer has none.
    init?(_ error: RedisValue.ServerError, from host: String) {
        let words = error.message.split(separator: " ")
        guard words.count >= 3, let slot = UInt16(words[1]), slot < HashSlot.count, let colon = words[2].lastIndex(of: ":"),
            let port = UInt16(words[2][words[2].index(after: colon)...]), port > 0
        else { return nil }
        let named = words[2][..<colon]
        self.slot = slot
        address = .init(host: named.isEmpty || named == "?" ? host : String(named), port: port)
    }
}
