import ArgumentParser
import Conversation
import Dialogue
import DialogueService
import Foundation
import Redis
import ServiceKit
import ServiceLifecycle

/// Where sessions are kept, and how.
struct RedisOptions: ParsableArguments {
    @Option(
        help: """
            The session store: redis://HOST:PORT/DB, rediss:// (TLS), unix:///PATH, redis+sentinel://H1,H2,H3/SERVICE, redis+cluster://H1,H2, or \
            memory: (this process only). (default: memory:)
            """)
    var redis: String?
    @Option(help: "The most a command of Redis may take, in milliseconds. (default: 1000)")
    var redisTimeoutMs: String?
    @Option(
        help:
            "How long Redis may keep silent before the connection is given up, in milliseconds. (default: 1500 with Sentinel and Cluster, else 10000)"
    )
    var redisSilenceMs: String?
    @Option(help: "How many bytes may be on their way to Redis at once. (default: 268435456)")
    var redisPendingBytes: String?
    @Option(help: "The ACL user at Redis. (default: the default user)")
    var redisUsername: String?
    @Option(help: "A file with the password at Redis; or KEFU_REDIS_PASSWORD.")
    var redisPasswordFile: String?
    @Option(help: "The ACL user at the sentinels. (default: the default user)")
    var redisSentinelUsername: String?
    @Option(help: "A file with the password at the sentinels; or KEFU_REDIS_SENTINEL_PASSWORD.")
    var redisSentinelPasswordFile: String?
    @Option(help: "TLS: the authorities that Redis's certificate must come from, PEM. (default: the system's)")
    var redisCaFile: String?
    @Option(help: "TLS: the certificate that is shown to Redis, PEM. (default: none)")
    var redisCertFile: String?
    @Option(help: "TLS: the key of that certificate, PEM.")
    var redisKeyFile: String?
    @Option(help: "TLS: the name that Redis's certificate must carry. (default: the host)")
    var redisServerName: String?
    @Option(help: "How many replicas must have a turn before it is answered (WAIT). (default: 0)")
    var redisWaitReplicas: String?
    @Option(help: "How long the replicas have for that, in milliseconds. (default: 200)")
    var redisWaitMs: String?
    @Option(
        help:
            "A file of keys with which sessions are encrypted: 'NAME BASE64' a line, the first encrypts; or KEFU_SESSION_KEYS. (default: none)"
    )
    var sessionKeysFile: String?

    /// The flags that were given, by key.
    var flags: [String: String?] {
        [
            "redis": redis, "redis-timeout-ms": redisTimeoutMs, "redis-silence-ms": redisSilenceMs,
            "redis-pending-bytes": redisPendingBytes, "redis-username": redisUsername, "redis-password-file": redisPasswordFile,
            "redis-sentinel-username": redisSentinelUsername, "redis-sentinel-password-file": redisSentinelPasswordFile,
            "redis-ca-file": redisCaFile, "redis-cert-file": redisCertFile, "redis-key-file": redisKeyFile,
            "redis-server-name": redisServerName, "redis-wait-replicas": redisWaitReplicas, "redis-wait-ms": redisWaitMs,
            "session-keys-file": sessionKeysFile,
        ]
    }

    /// The store that the settings name, and the service that keeps its connections.
    func store(_ settings: Settings, now: @escaping @Sendable () -> Timestamp) throws -> (
        any SessionStore, (any ServiceLifecycle.Service)?
    ) {
        // A command line is for everyone on the machine to read.
        if let redis, try redis != "memory:" && !(RedisClient.Configuration(url: redis).password ?? "").isEmpty {
            throw SettingsError(
                "--redis has a password in it, which everyone on the machine can read; use --redis-password-file, KEFU_REDIS_PASSWORD or KEFU_REDIS"
            )
        }
        let url = settings.string("redis", default: "memory:")
        guard url != "memory:" else { return (MemoryStore(now: now), nil) }
        let client = RedisClient(try configuration(url, settings))
        let replicas = try settings.int("redis-wait-replicas", default: 0, in: 0...100)
        let wait = try settings.milliseconds("redis-wait-ms", default: .milliseconds(200))
        let store = RedisSessionStore(
            client: client, keys: try keys(settings), replication: replicas == 0 ? nil : .init(replicas: replicas, timeout: wait))
        return (store, RedisService(client: client))
    }

    private func configuration(_ url: String, _ settings: Settings) throws -> RedisClient.Configuration {
        var configuration = try RedisClient.Configuration(url: url)
        configuration.clientName = "kefu-dialogue-orchestrator"
        configuration.commandTimeout = try settings.milliseconds("redis-timeout-ms", default: configuration.commandTimeout)
        configuration.silenceTimeout = try settings.milliseconds("redis-silence-ms", default: configuration.silenceTimeout)
        configuration.maximumPendingBytes = try settings.int(
            "redis-pending-bytes", default: configuration.maximumPendingBytes, in: 1 << 20...1 << 40)
        configuration.username = settings.string("redis-username") ?? configuration.username
        configuration.password = try settings.secret("redis-password") ?? configuration.password
        configuration.sentinelUsername = settings.string("redis-sentinel-username")
        configuration.sentinelPassword = try settings.secret("redis-sentinel-password")
        if configuration.username != nil, configuration.password == nil {
            throw SettingsError("there is a --redis-username and no password; --redis-password-file or KEFU_REDIS_PASSWORD is expected")
        }
        try secure(&configuration, settings)
        return configuration
    }

    private func secure(_ configuration: inout RedisClient.Configuration, _ settings: Settings) throws {
        let files = ["redis-ca-file", "redis-cert-file", "redis-key-file", "redis-server-name"]
        guard configuration.tls != nil else {
            if let file = files.first(where: { settings.string($0) != nil }) {
                throw SettingsError("--\(file) is for TLS, and --redis does not ask for it; rediss:// in place of redis:// is expected")
            }
            return
        }
        configuration.tls?.authorityFile = settings.string("redis-ca-file")
        configuration.tls?.certificateFile = settings.string("redis-cert-file")
        configuration.tls?.keyFile = settings.string("redis-key-file")
        configuration.tls?.serverName = settings.string("redis-server-name")
        try configuration.tls?.check()
    }

    private func keys(_ settings: Settings) throws -> SessionKeyRing? {
        try settings.secret("session-keys").map { try SessionKeyRing(text: $0) }
    }
}

extension Settings {
    /// A secret from the file that `KEY-file` names, without the line's end, or from the variable of `key`.
    ///
    /// - Throws: ``SettingsError`` where the file cannot be read, or holds nothing.
    func secret(_ key: String) throws(SettingsError) -> String? {
        guard let path = string("\(key)-file") else { return string(key) }
        guard let file = FileHandle(forReadingAtPath: path), let bytes = try? file.readToEnd() ?? Data(),
            var text = String(data: bytes, encoding: .utf8)
        else {
            throw SettingsError("the file \(path) of --\(key)-file cannot be read as UTF-8 text")
        }
        while text.last?.isNewline == true { text.removeLast() }
        if text.isEmpty { throw SettingsError("the file \(path) of --\(key)-file is empty") }
        return text
    }
}
