extension RedisClient {
    /// Where the servers are, who the client is, and the bounds it keeps.
    public struct Configuration: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
        /// Where one server listens, or where those are that know.
        public enum Endpoint: Sendable, Hashable, CustomStringConvertible {
            /// A host name, an IPv4 or an IPv6 address (without brackets), and a port.
            case tcp(host: String, port: UInt16)
            /// The path of a unix socket, at most 107 bytes.
            case unix(path: String)
            /// The master of a service, as the sentinels name it.
            case sentinel(service: String, sentinels: [Address])
            /// A Redis Cluster, found through any of these nodes.
            case cluster(seeds: [Address])

            /// The endpoint as a URL: scheme, hosts and ports. The path of a socket and the name of a service are not shown: whoever writes user and password
            /// in the wrong place has them there.
            public var description: String {
                switch self {
                case .tcp(let host, let port): "redis://\(Address(host: host, port: port))"
                case .unix: "unix://…"
                case .sentinel(_, let sentinels): "redis+sentinel://\(Self.list(sentinels))/…"
                case .cluster(let seeds): "redis+cluster://\(Self.list(seeds))"
                }
            }

            private static func list(_ addresses: [Address]) -> String { addresses.map(\.description).joined(separator: ",") }
        }

        /// A host and a port.
        public struct Address: Sendable, Hashable, CustomStringConvertible {
            /// A host name, an IPv4 or an IPv6 address (without brackets).
            public var host: String
            /// The TCP port.
            public var port: UInt16

            /// An address by its parts.
            public init(host: String, port: UInt16) {
                self.host = host
                self.port = port
            }

            /// `host:port`; an IPv6 address is in brackets.
            public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
        }

        /// How connections are secured. The files are PEM, and are read anew for every connection: a renewed certificate needs no restart.
        public struct TLS: Sendable, Hashable {
            /// The certificates that the server's must come from; nil: those of the system.
            public var authorityFile: String?
            /// The certificate that the client shows, with its chain; nil: none.
            public var certificateFile: String?
            /// The key of the client's certificate.
            public var keyFile: String?
            /// The name or the IP address that the server's certificate must carry, where it is not the host that was asked for.
            public var serverName: String?

            /// TLS that trusts the system's authorities and shows no certificate.
            public init() {}
        }

        /// Where the servers are.
        public var endpoint: Endpoint
        /// The ACL user; nil: the default user.
        public var username: String?
        /// The password; nil: none is sent.
        public var password: String?
        /// The number of the database. A cluster has only 0.
        public var database: Int
        /// TLS towards every server, sentinels included; nil: plain TCP. A unix socket has none.
        public var tls: TLS?
        /// The ACL user at the sentinels; nil: the default user.
        public var sentinelUsername: String?
        /// The password at the sentinels; nil: none is sent.
        public var sentinelPassword: String?
        /// The name that `CLIENT LIST` shows.
        public var clientName: String?
        /// How long connecting to one address may take, the greeting (AUTH, SELECT) included.
        public var connectTimeout: Duration = .seconds(2)
        /// How long a command may take where the caller gives no deadline.
        public var commandTimeout: Duration = .seconds(1)
        /// How long the server may stay silent while commands wait for it before the connection counts as lost.
        ///
        /// With sentinels and in a cluster an idle connection is asked for a sign of life as well, and a server that was silent for so long is not
        /// believed when it speaks again: it may have been replaced meanwhile. It must be shorter than the time after which the servers
        /// replace a master (`down-after-milliseconds`, `cluster-node-timeout`).
        public var silenceTimeout: Duration
        /// How often sentinels, and the nodes of a cluster, are asked whether anything has changed. Losses and redirections are
        /// followed at once.
        public var topologyInterval: Duration = .seconds(1)
        /// The waits between attempts to connect, and between attempts of a command that a cluster cannot serve at the moment.
        public var backoff = Backoff()
        /// How many commands may be under way at once; more are refused as ``RedisError/Code/overloaded``.
        public var maximumPendingCommands = 65_536
        /// How many bytes of commands may be under way at once; more are refused as ``RedisError/Code/overloaded``.
        public var maximumPendingBytes = 256 << 20

        /// Servers by their endpoint.
        public init(endpoint: Endpoint, username: String? = nil, password: String? = nil, database: Int = 0, tls: TLS? = nil) {
            self.endpoint = endpoint
            self.username = username
            self.password = password
            self.database = database
            self.tls = tls
            silenceTimeout = endpoint.hasReplacements ? .milliseconds(1500) : .seconds(10)
        }

        /// The endpoint and the database; never the password.
        public var description: String { "\(endpoint) database \(database)\(tls == nil ? "" : " over TLS")" }

        /// The same as ``description``: a dump must not show the password either.
        public var debugDescription: String { description }

        /// Shows no more than ``description`` in dumps.
        public var customMirror: Mirror { Mirror(self, children: ["endpoint": "\(endpoint)", "database": database]) }
    }
}

extension RedisClient.Configuration.Endpoint {
    /// Whether another server may take the place of one.
    var hasReplacements: Bool {
        switch self {
        case .tcp, .unix: false
        case .sentinel, .cluster: true
        }
    }

    /// Whether keys are spread over several masters.
    var isCluster: Bool {
        if case .cluster = self { true } else { false }
    }
}

/// One server that can be connected to.
enum Server: Hashable, CustomStringConvertible {
    case tcp(RedisClient.Configuration.Address)
    case unix(path: String)

    var description: String {
        switch self {
        case .tcp(let address): "redis://\(address)"
        case .unix(let path): "unix://\(path)"
        }
    }
}
