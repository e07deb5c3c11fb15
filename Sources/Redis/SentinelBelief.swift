/// What one sentinel says of a service.
struct SentinelAnswer: Hashable {
    /// Where the master is.
    var master: RedisClient.Configuration.Address
    /// The number of the failover that made it the master: of two answers the higher is the newer.
    var epoch: UInt64

    /// From the replies to `SENTINEL GET-MASTER-ADDR-BY-NAME` and `SENTINEL MASTER`; nil where they are something else.
    ///
    /// Both are asked: while a failover is under way the first is ahead of the address in the second, and only the second has the epoch.
    init?(address: RedisValue, master: RedisValue) {
        guard let words = address.array, words.count == 2, let host = words[0].string, !host.isEmpty,
            let port = words[1].string.flatMap(UInt16.init), let fields = master.array
        else { return nil }
        var epoch: UInt64?
        for index in stride(from: 0, to: fields.count - 1, by: 2) where fields[index].string == "config-epoch" {
            epoch = fields[index + 1].string.flatMap { UInt64($0) }
        }
        guard let epoch else { return nil }
        self.init(master: RedisClient.Configuration.Address(host: host, port: port), epoch: epoch)
    }

    /// An answer by its parts.
    init(master: RedisClient.Configuration.Address, epoch: UInt64) {
        self.master = master
        self.epoch = epoch
    }
}

/// Which server is believed to be the master, from what the sentinels say.
struct SentinelBelief {
    /// How many sentinels there are.
    let count: Int
    /// The highest epoch believed so far.
    private(set) var epoch: UInt64 = 0

    init(count: Int) { self.count = count }

    /// The master by the answers of one round.
    ///
    /// The highest epoch is believed, since a sentinel that was cut off still names the old master. An epoch below one that was seen is such an
    /// old answer, unless more than half of the sentinels agree on it: then they were set up anew.
    ///
    /// - Returns: nil where no answer can be believed.
    mutating func decide(_ answers: [SentinelAnswer]) -> RedisClient.Configuration.Address? {
        guard let newest = answers.max(by: { $0.epoch < $1.epoch }) else { return nil }
        let agreeing = answers.count { $0 == newest }
        guard newest.epoch >= epoch || agreeing * 2 > count else { return nil }
        epoch = newest.epoch
        return newest.master
    }
}
