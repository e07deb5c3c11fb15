import Testing
import Understanding

/// A generator that gives the same numbers for the same seed.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}

@Suite struct LRUCacheTests {
    /// The same by a plain list, the newest first.
    private struct Reference {
        var limit: Int
        var entries: [(key: Int, value: Int, cost: Int)] = []
        var cost: Int { entries.map(\.cost).reduce(0, +) }

        mutating func value(for key: Int) -> Int? {
            guard let index = entries.firstIndex(where: { $0.key == key }) else { return nil }
            entries.insert(entries.remove(at: index), at: 0)
            return entries[0].value
        }

        mutating func insert(_ value: Int, for key: Int, cost: Int) {
            entries.removeAll { $0.key == key }
            guard cost <= limit else { return }
            entries.insert((key, value, cost), at: 0)
            while self.cost > limit { entries.removeLast() }
        }
    }

    @Test(arguments: 0..<40)
    func behavesAsAPlainList(_ seed: Int) {
        var random = Seeded(state: UInt64(seed))
        let limit = [0, 1, 7, 50, 400][seed % 5]
        var cache = LRUCache<Int, Int>(limit: limit)
        var reference = Reference(limit: limit)
        for step in 0..<500 {
            let key = Int.random(in: 0..<30, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5: #expect(cache.value(for: key) == reference.value(for: key))
            case 5..<9:
                let cost = Int.random(in: 0...12, using: &random)
                cache.insert(step, for: key, cost: cost)
                reference.insert(step, for: key, cost: cost)
            default:
                cache.remove(key)
                reference.entries.removeAll { $0.key == key }
            }
            #expect(cache.keys == reference.entries.map(\.key))
            #expect(cache.cost == reference.cost && cache.cost <= limit && cache.count == reference.entries.count)
        }
    }

    @Test func whatWasUsedLastStaysLongest() {
        var cache = LRUCache<String, Int>(limit: 30)
        for (value, key) in ["a", "b", "c"].enumerated() { cache.insert(value, for: key, cost: 10) }
        #expect(cache.value(for: "a") == 0)
        cache.insert(3, for: "d", cost: 10)
        #expect(cache.keys == ["d", "a", "c"])
        cache.insert(4, for: "e", cost: 31)
        #expect(cache.keys == ["d", "a", "c"])
        cache.insert(5, for: "c", cost: 31)
        #expect(cache.keys == ["d", "a"])
        cache.insert(6, for: "f", cost: 30)
        #expect(cache.keys == ["f"])
    }
}
