import Testing

@testable import Redis

@Suite struct ValueTests {
    @Test(
        arguments: [
            ("redis://h", .tcp(host: "h", port: 6379), nil, nil, 0),
            ("redis://h:7/3", .tcp(host: "h", port: 7), nil, nil, 3),
            ("REDIS://:pw@h/", .tcp(host: "h", port: 6379), nil, "pw", 0),
            ("redis://us%40er:p%3Aw%2F@10.0.0.1:6380", .tcp(host: "10.0.0.1", port: 6380), "us@er", "p:w/", 0),
            ("redis://user@h", .tcp(host: "h", port: 6379), "user", "", 0),
            ("redis://@h", .tcp(host: "h", port: 6379), nil, nil, 0),
            ("redis://u:a@b:c@h", .tcp(host: "h", port: 6379), "u", "a@b:c", 0),
            ("redis://[::1]", .tcp(host: "::1", port: 6379), nil, nil, 0),
            ("redis://[fe80::1%25eth0]:6390/1", .tcp(host: "fe80::1%eth0", port: 6390), nil, nil, 1),
            ("unix:///run/redis.sock", .unix(path: "/run/redis.sock"), nil, nil, 0),
            ("unix://u:p@/a%20b/%E4%B8%AD.sock?db=15", .unix(path: "/a b/中.sock"), "u", "p", 15),
        ] as [(String, RedisClient.Configuration.Endpoint, String?, String?, Int)])
    func urls(url: String, endpoint: RedisClient.Configuration.Endpoint, username: String?, password: String?, database: Int) throws {
        let configuration = try RedisClient.Configuration(url: url)
        #expect(configuration.endpoint == endpoint)
        #expect(configuration.username == username)
        #expect(configuration.password == password)
        #expect(configuration.database == database)
    }

    @Test(arguments: [
        "", "localhost:6379", "http://h", "redis://", "redis://h:", "redis://h:0", "redis://h:65536", "redis://h:+1", "redis://h:٣",
        "redis://h/x",
        "redis://h/-1", "redis://h/1/2", "redis://h?db=1", "redis://::1", "redis://[::1", "redis://[::1]x", "redis://:sesame%zz@h",
        "redis://:sesame%@h",
        "redis://:sesame%FF@h", "redis://h%00", "unix://relative/path", "unix://", "unix:///", "unix:///p?x=1", "unix:///p?db=",
        "unix:///p?db=1&db=2", "unix:///u:sesame@/run/redis.sock", "unix:///sesame@",
    ])
    func badURLs(url: String) throws {
        let error = try #require(throws: RedisError.self) { try RedisClient.Configuration(url: url) }
        #expect(error.code == .invalidURL)
        #expect(error.message.contains("redis://[user[:password]@]host[:port][/database]"))
        #expect(!error.message.contains("sesame"))
    }

    @Test(
        arguments: [
            ("redis+sentinel://h1,h2:7,[::1]/mymaster", "redis+sentinel://h1:26379,h2:7,[::1]:26379/…", nil, 0, false),
            ("rediss+sentinel://u:p@h1/a%2Fb/4", "redis+sentinel://h1:26379/…", "p", 4, true),
            ("redis+cluster://h1,h2:7000", "redis+cluster://h1:6379,h2:7000", nil, 0, false),
            ("rediss+cluster://:p@h1/0", "redis+cluster://h1:6379", "p", 0, true),
            ("rediss://h:7/1", "redis://h:7", nil, 1, true),
        ] as [(String, String, String?, Int, Bool)])
    func urlsOfSeveralServers(url: String, endpoint: String, password: String?, database: Int, isSecured: Bool) throws {
        let configuration = try RedisClient.Configuration(url: url)
        #expect("\(configuration.endpoint)" == endpoint)
        #expect(configuration.password == password)
        #expect(configuration.database == database)
        #expect((configuration.tls != nil) == isSecured)
    }

    @Test(arguments: [
        "redis+sentinel://h1,h2", "redis+sentinel://h1/", "redis+sentinel://h1,,h2/s", "redis+sentinel:///s", "redis+sentinel://h1/s/x",
        "redis+sentinel://h1/s/1/2", "redis+cluster://", "redis+cluster://h1/1", "redis+cluster://h1,", "redis+cluster://h:99999",
        "unixs:///p", "rediss+unix:///p", "redis+sentinel://u:1/sesame@h1", "redis+sentinel://h1/sesame@s/1",
    ])
    func badURLsOfSeveralServers(url: String) throws {
        let error = try #require(throws: RedisError.self) { try RedisClient.Configuration(url: url) }
        #expect(error.code == .invalidURL)
        #expect(!error.message.contains("sesame"))
    }

    @Test func aServiceIsDecoded() throws {
        let configuration = try RedisClient.Configuration(url: "redis+sentinel://h/a%2Fb%40c")
        #expect(configuration.endpoint == .sentinel(service: "a/b@c", sentinels: [.init(host: "h", port: 26379)]))
    }

    /// A password that is repeated where none belongs.
    @Test(arguments: [
        ("redis://u:sesame@h:7/3", "redis://h:7 database 3"), ("unix://u:sesame@/run/sesame.sock?db=2", "unix://… database 2"),
        ("unix:///sesame%40/redis.sock", "unix://… database 0"),
        ("rediss+sentinel://u:sesame@h1,h2:7/sesame/1", "redis+sentinel://h1:26379,h2:7/… database 1 over TLS"),
        ("redis+cluster://:sesame@h1", "redis+cluster://h1:6379 database 0"),
    ])
    func aDescriptionIsOfSchemeHostsPortsAndDatabase(url: String, description: String) throws {
        let configuration = try RedisClient.Configuration(url: url)
        #expect("\(configuration)" == description)
        #expect(String(reflecting: configuration) == description)
        var dumped = ""
        dump(configuration, to: &dumped)
        #expect(!dumped.contains("sesame"), "\(dumped)")
    }

    /// The check value of CRC-16/XMODEM, and slots as `CLUSTER KEYSLOT` of redis-server 7.0.15 gives them.
    @Test(arguments: [
        ("123456789", 0x31C3), ("", 0), ("foo", 12182), ("{foo}.bar", 12182), ("x{foo}{bar}", 12182), ("foo{}{bar}", 8363),
        ("foo{{bar}}zap", 4015), ("foo{bar", 15278), ("chat:{用户{1}}", 8643),
    ])
    func slots(key: String, slot: UInt16) {
        #expect(HashSlot.of(key.utf8) == slot % 16384)
    }

    @Test func firstKeys() {
        func key(_ words: RedisBytes...) -> RedisBytes? { CommandKey.of(words) }
        #expect(key("GET", "k") == "k")
        #expect(key("hset", "k", "f", "v") == "k")
        #expect(key("PING") == nil)
        #expect(key("EVALSHA", "sha", "1", "k", "a") == "k")
        #expect(key("EVAL", "return 1", "0") == nil)
        #expect(key("MEMORY", "USAGE", "k") == "k")
        #expect(key("XREAD", "COUNT", "2", "STREAMS", "k", "0") == "k")
        #expect(key("GET") == nil)
    }

    @Test func slotMapsAreRead() throws {
        func node(_ host: RedisValue, _ port: Int64) -> RedisValue { .array([host, .integer(port), .bulk(Array("id".utf8))]) }
        func host(_ text: String) -> RedisValue { .bulk(Array(text.utf8)) }
        let reply = RedisValue.array([
            .array([.integer(0), .integer(99), node(host("a"), 1), node(host("b"), 2)]),
            .array([.integer(100), .integer(199), node(.null, 3)]),
            .array([.integer(201), .integer(16383), node(.null, 3)]),
            .array([.integer(200), .integer(200), node(host("a"), 1), node(host("b"), 2)]),
        ])
        var map = try #require(SlotMap(reply, from: "asked"))
        #expect(map.shards.count == 2)
        #expect(map.shard(of: 99) == .init(master: .init(host: "a", port: 1), replicas: [.init(host: "b", port: 2)]))
        #expect(map.shard(of: 100)?.master == .init(host: "asked", port: 3))
        #expect(map.shard(of: 200)?.master.host == "a")
        map.move(7, to: .init(host: "c", port: 4))
        #expect(map.shard(of: 7)?.master.host == "c")
        for bad in [RedisValue.null, .array([]), .array([.array([.integer(0), .integer(16384), node(host("a"), 1)])]), .integer(1)] {
            #expect(SlotMap(bad, from: "asked") == nil)
        }
        // However many there are, no more than there are slots are looked at.
        let everything = RedisValue.array([.integer(0), .integer(16383), node(host("a"), 1)])
        #expect(SlotMap(.array([everything, everything]), from: "asked") == nil)
        let many = (0..<40_000).map {
            RedisValue.array([.integer(Int64($0 % 16384)), .integer(Int64($0 % 16384)), node(host("h\($0)"), 1)])
        }
        #expect(SlotMap(.array(many), from: "asked") == nil)
    }

    @Test func redirectionsAreRead() {
        func read(_ message: String) -> Redirection? { Redirection(.init(message: message), from: "asked") }
        #expect(read("MOVED 3999 127.0.0.1:6381")?.address == .init(host: "127.0.0.1", port: 6381))
        #expect(read("ASK 3999 ::1:6381")?.address == .init(host: "::1", port: 6381))
        #expect(read("MOVED 3999 :6381")?.address.host == "asked")
        for bad in ["MOVED", "MOVED 16384 h:1", "MOVED x h:1", "MOVED 1 h", "MOVED 1 h:0", "MOVED 1 h:65536"] { #expect(read(bad) == nil) }
    }

    @Test func theNewestOfTheSentinelsIsBelieved() {
        let (old, new) = (RedisClient.Configuration.Address(host: "old", port: 1), RedisClient.Configuration.Address(host: "new", port: 1))
        var belief = SentinelBelief(count: 3)
        #expect(belief.decide([]) == nil)
        #expect(belief.decide([.init(master: old, epoch: 1)]) == old)
        // One that was cut off still names the old master; one that knows is enough.
        #expect(belief.decide([.init(master: old, epoch: 1), .init(master: new, epoch: 2), .init(master: old, epoch: 1)]) == new)
        #expect(belief.decide([.init(master: old, epoch: 1)]) == nil)
        #expect(belief.epoch == 2)
        // Sentinels that were set up anew count from 0, and agree.
        #expect(belief.decide([.init(master: old, epoch: 0), .init(master: old, epoch: 0)]) == old)
    }

    @Test func dumpsShowNoPassword() throws {
        let configuration = try RedisClient.Configuration(url: "redis://u:sesame@h")
        var dumped = ""
        dump(configuration, to: &dumped)
        #expect(!"\(configuration) \(String(reflecting: configuration)) \(dumped)".contains("sesame"))
    }

    /// The vectors of RFC 3174, and lengths around the ends of blocks (digests by Python's hashlib).
    @Test(arguments: [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
        (String(repeating: "a", count: 55), "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
        (String(repeating: "a", count: 63), "03f09f5b158a7a8cdad920bddc29b81c18a551f5"),
        (String(repeating: "a", count: 64), "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
        (String(repeating: "a", count: 1_000_000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
    ])
    func digests(message: String, digest: String) {
        #expect(SHA1.hexDigest(Array(message.utf8)) == digest)
    }

    @Test func commandsAreEncodedByTheProtocol() {
        let words: [RedisBytes] = ["SET", RedisBytes([0, 13, 10]), 1_234_567_890_123, ""]
        #expect(CommandEncoder.encode(words) == Array("*4\r\n$3\r\nSET\r\n$3\r\n\0\r\n\r\n$13\r\n1234567890123\r\n$0\r\n\r\n".utf8))
        let script = RedisScript("return 1")
        #expect(
            script.encodeCallByDigest(keys: ["k"], arguments: [7, "x"])
                == CommandEncoder.encode(["EVALSHA", RedisBytes(script.sha1), 1, "k", 7, "x"]))
        #expect(script.encodeCallBySource(keys: [], arguments: ["x"]) == CommandEncoder.encode(["EVAL", "return 1", 0, "x"]))
    }

    @Test func waitsGrowWithinTheirBounds() {
        let backoff = Backoff(initial: .milliseconds(20), maximum: .seconds(2))
        #expect(backoff.delay(failures: 1, random: 0) == .milliseconds(10))
        #expect(backoff.delay(failures: 1, random: 1) == .milliseconds(20))
        #expect(backoff.delay(failures: 4, random: 1) == .milliseconds(160))
        #expect(backoff.delay(failures: 1000, random: 1) == .seconds(2))
        #expect(backoff.delay(failures: 1000, random: 0.5) == .milliseconds(1500))
    }

    @Test func theQueueKeepsItsOrder() {
        var queue = RequestQueue()
        var (added, taken) = (0, 0)
        func request(_ number: Int) -> Request { Request(command: Array("\(number)".utf8), deadline: .now) }
        for round in 1...50 {
            for _ in 0..<(round * 7) {
                queue.append(request(added))
                added += 1
            }
            for _ in 0..<(round * 6) {
                #expect(queue.popFirst()?.command == Array("\(taken)".utf8))
                taken += 1
            }
        }
        #expect(queue.count == added - taken)
        let removed = queue.remove { $0.command.last != UInt8(ascii: "7") }
        #expect(removed.count + queue.count == added - taken)
        #expect(removed.allSatisfy { $0.command.last == UInt8(ascii: "7") })
        while queue.popFirst() != nil {}
        #expect(queue.isEmpty)
    }
}
