/// Which word of a command is its first key, as far as a cluster's routing needs it.
enum CommandKey {
    /// Commands without a key.
    private static let keyless: Set<String> = [
        "ACL", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "DEBUG", "ECHO", "FAILOVER", "FLUSHALL",
        "FLUSHDB", "FUNCTION", "INFO", "KEYS", "LASTSAVE", "LATENCY", "LOLWUT", "MODULE", "PING", "PUBLISH", "PUBSUB", "RANDOMKEY",
        "REPLICAOF", "ROLE", "SAVE", "SCAN", "SCRIPT", "SENTINEL", "SHUTDOWN", "SLAVEOF", "SLOWLOG", "SWAPDB", "TIME", "WAIT",
    ]
    /// Commands whose key stands behind a word of their own.
    private static let second: Set<String> = ["BITOP", "MEMORY", "OBJECT", "XGROUP", "XINFO"]
    /// Commands with a number of keys before the keys: where that number stands.
    private static let counted: [String: Int] = [
        "EVAL": 2, "EVALSHA": 2, "EVAL_RO": 2, "EVALSHA_RO": 2, "FCALL": 2, "FCALL_RO": 2, "LMPOP": 1, "SINTERCARD": 1, "ZDIFF": 1,
        "ZINTER": 1, "ZINTERCARD": 1, "ZMPOP": 1, "ZUNION": 1, "BLMPOP": 2, "BZMPOP": 2,
    ]

    /// The first key of a command; nil where it has none. Commands that are not known here have theirs behind their name, as most do.
    static func of(_ words: [RedisBytes]) -> RedisBytes? {
        guard let name = words.first?.upperCased, !keyless.contains(name) else { return nil }
        if let place = counted[name] {
            guard words.count > place + 1, words[place].upperCased != "0" else { return nil }
            return words[place + 1]
        }
        if name == "XREAD" || name == "XREADGROUP" {
            guard let streams = words.firstIndex(where: { $0.upperCased == "STREAMS" }), streams + 1 < words.count else { return nil }
            return words[streams + 1]
        }
        let place = second.contains(name) ? 2 : 1
        return words.count > place ? words[place] : nil
    }
}
