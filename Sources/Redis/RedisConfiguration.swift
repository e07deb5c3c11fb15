extension RedisClient {
    /// Where the server is, who the client is, and the bounds it keeps.
    public struct Configuration: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
        /// Where a server listens.
        public enum Endpoint: Sendable, Hashable, CustomStringConvertible {
            /// A host name, an IPv4 or an IPv6 address (without brackets), and a port.
            case tcp(host: String, port: UInt16)
            /// The path of a unix socket, at most 107 bytes.
            case unix(path: String)

            /// The endpoint as a URL without user, password and database.
            public var description: String {
                switch self {
                case .tcp(let host, let port): host.contains(":") ? "redis://[\(host)]:\(port)" : "redis://\(host):\(port)"
                case .unix(let path): "unix://\(path)"
                }
            }
        }

        /// Where the server listens.
        public var endpoint: Endpoint
        /// The ACL user; nil: the default user.
        public var username: String?
        /// The password; nil: none is sent.
        public var password: String?
        /// The number of the database.
        public var database: Int
        /// The name that `CLIENT LIST` shows.
        public var clientName: String?
        /// How long connecting to one address may take, the greeting (AUTH, SELECT) included.
        public var connectTimeout: Duration = .seconds(2)
        /// How long a command may take where the caller gives no deadline.
        public var commandTimeout: Duration = .seconds(1)
        /// How long the server may stay silent while commands wait for it before the connection counts as lost.
        public var silenceTimeout: Duration = .seconds(10)
        /// The waits between attempts to connect.
        public var backoff = Backoff()
        /// How many commands may be under way at once; more are refused as ``RedisError/Code/overloaded``.
        public var maximumPendingCommands = 65_536
        /// How many bytes of commands may be under way at once; more are refused as ``RedisError/Code/overloaded``.
        public var maximumPendingBytes = 256 << 20

        /// A server by its endpoint.
        public init(endpoint: Endpoint, username: String? = nil, password: String? = nil, database: Int = 0) {
            self.endpoint = endpoint
            self.username = username
            self.password = password
            self.database = database
        }

        /// The endpoint and the database; never the password.
        public var description: String { "\(endpoint) database \(database)" }

        /// The same as ``description``: a dump must not show the password either.
        public var debugDescription: String { description }

        /// Shows no password in dumps.
        public var customMirror: Mirror { Mirror(self, children: ["endpoint": endpoint, "database": database]) }
    }
}
