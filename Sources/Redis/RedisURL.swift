extension RedisClient.Configuration {
    /// Servers by their URL:
    ///
    /// - `redis://[user[:password]@]host[:port][/database]`: one server; the port is 6379 where it is missing
    /// - `unix://[user[:password]@]/path[?db=database]`: one server on a unix socket
    /// - `redis+sentinel://[user[:password]@]host[:port],…/service[/database]`: the master of a service, found by sentinels (port 26379)
    /// - `redis+cluster://[user[:password]@]host[:port],…`: a Redis Cluster, found by some of its nodes
    /// - `rediss://`, `rediss+sentinel://` and `rediss+cluster://`: the same over TLS
    ///
    /// User, password, hosts, service and path may be percent-encoded, and an @ in service or path must be: what stands before one is taken for user and
    /// password in the wrong place. An IPv6 address is in brackets.
    public init(url: String) throws(RedisError) {
        guard let separator = Self.range(of: "://", in: url) else {
            throw Self.invalid("it has no scheme")
        }
        let scheme = url[..<separator.lowerBound].lowercased()
        let rest = url[separator.upperBound...]
        switch scheme {
        case "redis", "rediss": try self.init(tcp: rest)
        case "redis+sentinel", "rediss+sentinel": try self.init(sentinel: rest)
        case "redis+cluster", "rediss+cluster": try self.init(cluster: rest)
        case "unix": try self.init(unix: rest)
        default: throw Self.invalid("the scheme is unknown")
        }
        if scheme.hasPrefix("rediss") { tls = TLS() }
    }

    /// `[user[:password]@]host[:port][/database]`
    private init(tcp text: Substring) throws(RedisError) {
        let (username, password, authority, path) = try Self.parts(text)
        let address = try Self.address(authority, port: 6379)
        let database = path.isEmpty ? 0 : try Self.database(path)
        self.init(endpoint: .tcp(host: address.host, port: address.port), username: username, password: password, database: database)
    }

    /// `[user[:password]@]host[:port],…/service[/database]`
    private init(sentinel text: Substring) throws(RedisError) {
        let (username, password, authority, path) = try Self.parts(text)
        let sentinels = try Self.addresses(authority, port: 26379)
        let words = path.split(separator: "/", omittingEmptySubsequences: false)
        guard let first = words.first, !first.isEmpty, words.count <= 2 else {
            throw Self.invalid("after the sentinels comes /service, the name of what they watch, and perhaps /database")
        }
        let database = words.count == 2 ? try Self.database(words[1]) : 0
        self.init(
            endpoint: .sentinel(service: try Self.named(first, "the service"), sentinels: sentinels), username: username,
            password: password, database: database)
    }

    /// `[user[:password]@]host[:port],…`
    private init(cluster text: Substring) throws(RedisError) {
        let (username, password, authority, path) = try Self.parts(text)
        guard path.isEmpty || path == "0" else { throw Self.invalid("a cluster has no database but 0") }
        self.init(endpoint: .cluster(seeds: try Self.addresses(authority, port: 6379)), username: username, password: password)
    }

    /// `[user[:password]@]/path[?db=database]`
    private init(unix text: Substring) throws(RedisError) {
        let slash = text.firstIndex(of: "/") ?? text.endIndex
        let (username, password, host) = try Self.splitUser(text[..<slash])
        guard host.isEmpty else { throw Self.invalid("unix:// is followed by an absolute path, as in unix:///run/redis.sock") }
        let question = text[slash...].firstIndex(of: "?") ?? text.endIndex
        let path = try Self.named(text[slash..<question], "the path")
        guard path.utf8.count > 1 else { throw Self.invalid("unix:// needs the path of a socket") }
        var database = 0
        let query = text[question...].dropFirst()
        if !query.isEmpty {
            guard query.hasPrefix("db="), !query.contains("&") else { throw Self.invalid("unix:// knows one query parameter, db") }
            database = try Self.database(query.dropFirst(3))
        }
        self.init(endpoint: .unix(path: path), username: username, password: password, database: database)
    }

    /// User, password, hosts, and what follows the first slash.
    private static func parts(_ text: Substring) throws(RedisError) -> (
        user: String?, password: String?, authority: Substring, path: Substring
    ) {
        if text.contains("?") || text.contains("#") {
            throw invalid("there is no query and no fragment but in unix:// (write ? and # as %3F and %23)")
        }
        let slash = text.firstIndex(of: "/") ?? text.endIndex
        let (user, password, authority) = try splitUser(text[..<slash])
        return (user, password, authority, text[slash...].dropFirst())
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

    private static func addresses(_ list: Substring, port: UInt16) throws(RedisError) -> [Address] {
        var addresses: [Address] = []
        for text in list.split(separator: ",", omittingEmptySubsequences: false) {
            let address = try address(text, port: port)
            if !addresses.contains(address) { addresses.append(address) }
        }
        return addresses
    }

    private static func address(_ text: Substring, port standard: UInt16) throws(RedisError) -> Address {
        var host = text
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw invalid("the [ before an IPv6 address has no ]") }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw invalid("after the ] of an IPv6 address only :port may follow") }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[colon...].dropFirst()
        }
        let name = try decoded(host, "the host")
        guard !name.isEmpty else { throw invalid("the host is missing") }
        guard let port else { return Address(host: name, port: standard) }
        guard port.allSatisfy(\.isASCII), let number = UInt16(port), number > 0, !port.hasPrefix("+") else {
            throw invalid("the port is not a number from 1 to 65535 (an IPv6 address stands in brackets)")
        }
        return Address(host: name, port: number)
    }

    private static func database(_ text: Substring) throws(RedisError) -> Int {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int32(text) else {
            throw invalid("the database is not a whole number from 0")
        }
        return Int(number)
    }

    /// Percent-decoding of what errors may repeat: a user and a password that got into it are refused.
    private static func named(_ text: Substring, _ part: String) throws(RedisError) -> String {
        guard !text.contains("@") else {
            throw invalid(
                "\(part) has an @ in it (user and password stand before it, with %2F in place of a /; an @ of its own is written %40)")
        }
        return try decoded(text, part)
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
            """
            not a Redis URL: \(problem); supported are redis://[user[:password]@]host[:port][/database], unix:///path[?db=database], \
            redis+sentinel://host[:port],…/service[/database] and redis+cluster://host[:port],…, and with rediss in place of redis the same over TLS
            """)
    }
}
