extension RedisClient.Configuration {
    /// A server by its URL: `redis://[user[:password]@]host[:port][/database]` or `unix://[user[:password]@]/path[?db=database]`.
    ///
    /// User, password, host and path may be percent-encoded. An IPv6 address is in brackets; the port is 6379 where it is missing.
    public init(url: String) throws(RedisError) {
        guard let separator = Self.range(of: "://", in: url) else {
            throw Self.invalid("it has no scheme")
        }
        let scheme = url[..<separator.lowerBound].lowercased()
        let rest = url[separator.upperBound...]
        switch scheme {
        case "redis": try self.init(tcp: rest)
        case "unix": try self.init(unix: rest)
        case "rediss", "redis+sentinel", "redis+cluster":
            throw Self.invalid("the scheme \(scheme):// is not supported yet")
        default:
            throw Self.invalid("the scheme is unknown")
        }
    }

    /// `[user[:password]@]host[:port][/database]`
    private init(tcp text: Substring) throws(RedisError) {
        if text.contains("?") || text.contains("#") {
            throw Self.invalid("redis:// takes no query and no fragment (write ? and # as %3F and %23)")
        }
        let slash = text.firstIndex(of: "/") ?? text.endIndex
        let (username, password, address) = try Self.splitUser(text[..<slash])
        let path = text[slash...].dropFirst()
        let database = path.isEmpty ? 0 : try Self.database(path)
        let (host, port) = try Self.splitPort(address)
        self.init(endpoint: .tcp(host: host, port: port), username: username, password: password, database: database)
    }

    /// `[user[:password]@]/path[?db=database]`
    private init(unix text: Substring) throws(RedisError) {
        let slash = text.firstIndex(of: "/") ?? text.endIndex
        let (username, password, host) = try Self.splitUser(text[..<slash])
        guard host.isEmpty else { throw Self.invalid("unix:// is followed by an absolute path, as in unix:///run/redis.sock") }
        let question = text[slash...].firstIndex(of: "?") ?? text.endIndex
        let path = try Self.decoded(text[slash..<question], "the path")
        guard path.utf8.count > 1 else { throw Self.invalid("unix:// needs the path of a socket") }
        var database = 0
        let query = text[question...].dropFirst()
        if !query.isEmpty {
            guard query.hasPrefix("db="), !query.contains("&") else { throw Self.invalid("unix:// knows one query parameter, db") }
            database = try Self.database(query.dropFirst(3))
        }
        self.init(endpoint: .unix(path: path), username: username, password: password, database: database)
    }

    private static func splitUser(_ authority: Substring) throws(RedisError) -> (user: String?, password: String?, rest: Substring) {
        guard let at = authority.lastIndex(of: "@") else { return (nil, nil, authority) }
        let credentials = authority[..<at]
        let colon = credentials.firstIndex(of: ":") ?? credentials.endIndex
        let user = try decoded(credentials[..<colon], "the user")
        let password = try decoded(credentials[colon...].dropFirst(), "the password")
        // `user@` is a user whose password is empty (an ACL user with nopass); `@` and `:@` are nobody.
        if user.isEmpty { return (nil, password.isEmpty ? nil : password, authority[at...].dropFirst()) }
        return (user, password, authority[at...].dropFirst())
    }

    private static func splitPort(_ address: Substring) throws(RedisError) -> (host: String, port: UInt16) {
        var host = address
        var port: Substring?
        if address.hasPrefix("[") {
            guard let end = address.firstIndex(of: "]") else { throw invalid("the [ before an IPv6 address has no ]") }
            host = address[address.index(after: address.startIndex)..<end]
            let rest = address[address.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw invalid("after the ] of an IPv6 address only :port may follow") }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = address.firstIndex(of: ":") {
            host = address[..<colon]
            port = address[colon...].dropFirst()
        }
        let name = try decoded(host, "the host")
        guard !name.isEmpty else { throw invalid("the host is missing") }
        guard let port else { return (name, 6379) }
        guard port.allSatisfy(\.isASCII), let number = UInt16(port), number > 0, !port.hasPrefix("+") else {
            throw invalid("the port is not a number from 1 to 65535 (an IPv6 address stands in brackets)")
        }
        return (name, number)
    }

    private static func database(_ text: Substring) throws(RedisError) -> Int {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int32(text) else {
            throw invalid("the database is not a whole number from 0")
        }
        return Int(number)
    }

    /// Percent-decoding. The text itself is not repeated in the error: it may be a password.
    private static func decoded(_ text: Substring, _ part: String) throws(RedisError) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexValue), let low = rest.popFirst().flatMap(hexValue) else {
                throw invalid("\(part) has a % that two hexadecimal digits do not follow")
            }
            bytes.append(high << 4 | low)
        }
        guard !bytes.contains(0) else { throw invalid("\(part) contains a NUL byte") }
        guard let decoded = String(validating: bytes, as: UTF8.self) else { throw invalid("\(part) is not UTF-8 once it is decoded") }
        return decoded
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x41 + 10
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
    }

    private static func range(of separator: String, in text: String) -> Range<String.Index>? {
        var start = text.startIndex
        while start < text.endIndex {
            if text[start...].hasPrefix(separator) { return start..<text.index(start, offsetBy: separator.count) }
            start = text.index(after: start)
        }
        return nil
    }

    private static func invalid(_ problem: String) -> RedisError {
        RedisError(
            .invalidURL,
            "not a Redis URL: \(problem); supported are redis://[user[:password]@]host[:port][/database] and unix:///path[?db=database]")
    }
}
