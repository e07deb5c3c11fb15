import CHiredis
import Conversation
import Dialogue
import Foundation
import Wire

@testable import DialogueService
@testable import Redis

extension FuzzTarget {
    static let redis: [FuzzTarget] = [replies, redisURL, sessionFields, sealed]

    /// All replies in bytes that come in pieces, and whether the connection would have ended.
    private static func read(_ bytes: [UInt8], piece: Int) -> (replies: [RedisValue], ended: Bool) {
        guard let reader = redisReaderCreate() else { fatalError("there is no memory for a reader") }
        defer { redisReaderFree(reader) }
        chiredis_limit_reader(reader)
        var replies: [RedisValue] = []
        var start = 0
        while start < bytes.count {
            let end = min(start + piece, bytes.count)
            let fed = bytes[start..<end].withUnsafeBytes { redisReaderFeed(reader, $0.bindMemory(to: CChar.self).baseAddress, $0.count) }
            guard fed == REDIS_OK else { return (replies, true) }
            start = end
            while true {
                var reply: UnsafeMutableRawPointer?
                guard redisReaderGetReply(reader, &reply) == REDIS_OK else {
                    require(!String(cString: chiredis_reader_error(reader)).isEmpty, "the reader does not say why")
                    return (replies, true)
                }
                guard let reply else { break }
                replies.append(RedisValue(copying: UnsafePointer(reply.assumingMemoryBound(to: redisReply.self))))
                freeReplyObject(reply)
            }
        }
        return (replies, false)
    }

    /// What a server sends, and what the client makes of it: maps of clusters, redirections, what sentinels say.
    private static let replies = FuzzTarget("redis", maximumLength: 1024) { input in
        var parts = Parts(input)
        let piece = 1 + parts.choice(32)
        let bytes = parts.bytes
        let whole = read(bytes, piece: max(1, bytes.count))
        let pieces = read(bytes, piece: piece)
        require(whole.replies == pieces.replies && whole.ended == pieces.ended, "replies differ where they come in pieces of \(piece)")
        for reply in whole.replies { look(at: reply) }
        if whole.replies.count >= 2, let answer = SentinelAnswer(address: whole.replies[0], master: whole.replies[1]) {
            require(!answer.master.host.isEmpty, "a master without a host")
            var belief = SentinelBelief(count: 3)
            require(belief.decide([answer, answer]) == answer.master, "the only answer is not believed")
        }
        let greeting = Greeting(
            .init(endpoint: .tcp(host: "h", port: 1), username: "u", password: "secret", database: 1), .master, server: "redis://h:1")
        for (step, reply) in zip(greeting.steps, whole.replies) {
            if let error = step.judge(reply) { require(!error.message.contains("secret"), "an error shows the password") }
        }
    }

    private static func look(at reply: RedisValue) {
        if let map = SlotMap(reply, from: "answering") {
            require(!map.shards.isEmpty && map.shards.count <= HashSlot.count, "\(map.shards.count) shards")
            for slot in stride(from: UInt16(0), to: UInt16(HashSlot.count), by: 1021) {
                if let shard = map.shard(of: slot) { require(shard.master.port > 0 && !shard.master.host.isEmpty, "\(shard)") }
            }
        }
        if case .error(let error) = reply {
            require(error.message.hasPrefix(error.prefix), "\(error)")
            if let redirection = Redirection(error, from: "answering") {
                require(
                    redirection.slot < UInt16(HashSlot.count) && redirection.address.port > 0 && !redirection.address.host.isEmpty,
                    "\(redirection)")
                var map = SlotMap()
                map.move(redirection.slot, to: redirection.address)
                require(map.shard(of: redirection.slot)?.master == redirection.address, "the slot did not move")
            }
        }
        if let bytes = reply.bytes { require(HashSlot.of(bytes) < UInt16(HashSlot.count), "a slot out of range") }
        for element in reply.array ?? [] { look(at: element) }
        // Commands are written from anything, too: what was read comes back as an array of bulk strings.
        if let words = reply.array?.compactMap(\.bytes), !words.isEmpty {
            let command = CommandEncoder.encode(words.map { RedisBytes($0) })
            require(read(command, piece: command.count).replies == [.array(words.map { .bulk($0) })], "a command reads as something else")
            _ = CommandKey.of(words.map { RedisBytes($0) })
            _ = SharedConnection.refusal(of: words.map { RedisBytes($0) })
        }
    }

    /// `--redis`.
    private static let redisURL = FuzzTarget("redis-url", maximumLength: 256) { input in
        let text = String(decoding: input, as: UTF8.self)
        do throws(RedisError) {
            let configuration = try RedisClient.Configuration(url: text)
            require(configuration.database >= 0, "the database is \(configuration.database)")
            // Whoever has the same hosts has the same description, whatever user, password, path and service are.
            var bare = configuration
            (bare.username, bare.password) = (nil, nil)
            switch configuration.endpoint {
            case .tcp, .cluster: break
            case .unix: bare.endpoint = .unix(path: "/p")
            case .sentinel(_, let sentinels): bare.endpoint = .sentinel(service: "s", sentinels: sentinels)
            }
            require("\(configuration)" == "\(bare)", "the description shows more than scheme, hosts, ports and database")
            switch configuration.endpoint {
            case .tcp(let host, let port): require(!host.isEmpty && port > 0, "\(configuration)")
            case .unix(let path): require(path.utf8.count > 1 && !path.utf8.contains(0), "\(configuration)")
            case .sentinel(let service, let sentinels): require(!service.isEmpty && !sentinels.isEmpty, "\(configuration)")
            case .cluster(let seeds): require(!seeds.isEmpty && configuration.database == 0, "\(configuration)")
            }
        } catch {
            require(error.code == .invalidURL && !error.message.isEmpty, "\(error)")
        }
    }

    private static let ring = try? SessionKeyRing(
        text: "new \(Data(repeating: 7, count: 32).base64EncodedString())\nold \(Data(repeating: 9, count: 32).base64EncodedString())")

    private static let stores: [RedisSessionStore] = [nil, ring].map {
        // It is never started: nothing is sent.
        RedisSessionStore(client: RedisClient(.init(endpoint: .unix(path: "/nowhere"))), keys: $0)
    }

    /// A session as Redis gives it: its fields, whatever is in them.
    private static let sessionFields = FuzzTarget("session", maximumLength: 1024) { input in
        var parts = Parts(input)
        let choice = parts.choice(4)
        guard let uid = try? UserID("u") else { return }
        let store = stores[choice & 1]
        if choice < 2 {
            var fields: [RedisValue] = []
            for _ in RedisSessionStore.sessionFields {
                let bytes = parts.part()
                fields.append(bytes.isEmpty ? .null : .bulk(bytes))
            }
            guard let loaded = try? store.session(.array(fields), of: uid) else { return }
            require(loaded.session.uid == uid, "the session of somebody else")
            // What a turn would keep of it.
            let state = loaded.session
            require((try? store.sealed(DeskCodec.recent(loaded.recent), "recent", uid)) != nil, "\(state) cannot be kept")
        } else {
            for reply in read(parts.bytes, piece: 1024).replies { _ = try? store.session(reply, of: uid) }
        }
    }

    /// What is encrypted in a session.
    private static let sealed = FuzzTarget("sealed", maximumLength: 256) { input in
        var parts = Parts(input)
        guard let ring else { fatalError("the keys are refused") }
        switch parts.choice(3) {
        case 0:
            let opened = try? SessionKeyRing.open(parts.bytes, at: "place", with: ring)
            require(!SessionKeyRing.isSealed(parts.bytes) || opened == nil, "what nobody encrypted was decrypted")
        case 1:
            let bytes = parts.bytes
            guard var sealed = try? ring.seal(bytes, at: "place") else { fatalError("it cannot be encrypted") }
            require((try? SessionKeyRing.open(sealed, at: "place", with: ring)) == bytes, "it is not what was encrypted")
            require((try? SessionKeyRing.open(sealed, at: "elsewhere", with: ring)) == nil, "it is good elsewhere")
            let position = (Int(bytes.first ?? 0) * 7) % sealed.count
            sealed[position] ^= bytes.last ?? 1 == 0 ? 1 : bytes.last ?? 1
            let changed = try? SessionKeyRing.open(sealed, at: "place", with: ring)
            require(position == 0 || changed == nil, "a changed value was decrypted")
        default:
            if let keys = try? SessionKeyRing(text: parts.text) {
                guard let sealed = try? keys.seal([1, 2, 3], at: "p") else { fatalError("it cannot be encrypted") }
                require((try? SessionKeyRing.open(sealed, at: "p", with: keys)) == [1, 2, 3], "it is not what was encrypted")
            }
        }
    }
}
