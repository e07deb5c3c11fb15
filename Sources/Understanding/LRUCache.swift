/// Values by key, of bounded cost: what was not used for longest goes first. A value without a lock; every operation takes constant time.
public struct LRUCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Entry {
        var key: Key
        var value: Value
        var cost: Int
        /// The places of the entries that were used next after and next before this one; nil at the ends.
        var newer: Int?
        var older: Int?
    }

    /// The most that all values together may cost.
    public let limit: Int
    /// What all values together cost.
    public private(set) var cost = 0

    private var places: [Key: Int] = [:]
    /// Entries at their places; nil: the place is free.
    private var entries: [Entry?] = []
    private var free: [Int] = []
    private var newest: Int?
    private var oldest: Int?

    /// An empty cache.
    ///
    /// - Parameter limit: The most that all values together may cost; at least 0.
    public init(limit: Int) {
        precondition(limit >= 0, "a cache holds 0 or more")
        self.limit = limit
    }

    /// How many values there are.
    public var count: Int { places.count }

    /// The keys, the one that was used last first.
    public var keys: [Key] {
        var keys: [Key] = []
        var place = newest
        while let current = place, let entry = entries[current] {
            keys.append(entry.key)
            place = entry.older
        }
        return keys
    }

    /// The value of a key, which counts as a use; nil: there is none.
    public mutating func value(for key: Key) -> Value? {
        guard let place = places[key] else { return nil }
        unlink(place)
        linkAsNewest(place)
        return entries[place]?.value
    }

    /// Puts a value in, instead of the key's former one, and drops what was not used for longest until the cost is within the limit. A value that costs
    /// more than the limit by itself is not kept.
    ///
    /// - Parameter cost: At least 0.
    public mutating func insert(_ value: Value, for key: Key, cost: Int) {
        precondition(cost >= 0, "a value costs 0 or more")
        remove(key)
        guard cost <= limit else { return }
        while self.cost > limit - cost, let oldest, let entry = entries[oldest] { remove(entry.key) }
        let place = free.popLast() ?? entries.count
        if place == entries.count { entries.append(nil) }
        entries[place] = Entry(key: key, value: value, cost: cost)
        places[key] = place
        self.cost += cost
        linkAsNewest(place)
    }

    /// Takes a value out.
    public mutating func remove(_ key: Key) {
        guard let place = places.removeValue(forKey: key) else { return }
        unlink(place)
        cost -= entries[place]?.cost ?? 0
        entries[place] = nil
        free.append(place)
    }

    private mutating func unlink(_ place: Int) {
        let (newer, older) = (entries[place]?.newer, entries[place]?.older)
        if let newer { entries[newer]?.older = older } else { newest = older }
        if let older { entries[older]?.newer = newer } else { oldest = newer }
    }

    private mutating func linkAsNewest(_ place: Int) {
        entries[place]?.newer = nil
        entries[place]?.older = newest
        if let newest { entries[newest]?.newer = place } else { oldest = place }
        newest = place
    }
}
