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
        "unix:///p?db=1&db=2",
    ])
    func badURLs(url: String) throws {
        let error = try #require(throws: RedisError.self) { try RedisClient.Configuration(url: url) }
        #expect(error.code == .invalidURL)
        #expect(error.message.contains("redis://[user[:password]@]host[:port][/database]"))
        #expect(!error.message.contains("sesame"))
    }

    @Test(arguments: ["rediss://h", "redis+sentinel://h1,h2/service", "redis+cluster://h1,h2"]) func schemesOfLater(url: String) throws {
        let error = try #require(throws: RedisError.self) { try RedisClient.Configuration(url: url) }
        #expect(error.code == .invalidURL)
        #expect(error.message.contains("not supported yet"))
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
