@testable import Batching
import Testing

@Suite struct ServiceTimesTests {
    /// A table of 1, 2, 4, 8 rows at 8 and 16, filled with `time` in ms.
    func table(_ time: (Int, Int) -> Int) -> ServiceTimes {
        var times = ServiceTimes(batchSize: 8, lengths: [8, 16])
        for rows in times.rows {
            for length in times.lengths { times.record(rows: rows, length: length, duration: .milliseconds(time(rows, length))) }
        }
        return times
    }

    func milliseconds(_ duration: Duration?) -> Double? { duration.map { ($0 / .milliseconds(1) * 1e6).rounded() / 1e6 } }

    @Test func knowsNothingBeforeAMeasurement() {
        var times = ServiceTimes(batchSize: 6, lengths: [8, 16])
        #expect(times.rows == [1, 2, 4, 6])
        #expect(times.estimate(rows: 1, length: 8) == nil)
        #expect(times.ceiling(rows: 1, length: 8) == nil)
        times.record(rows: 2, length: 8, duration: .zero)
        #expect(times.estimate(rows: 1, length: 8) == nil)
        #expect(times.economicalRows(bucket: 0, efficiency: 0.5) == 6)
    }

    @Test func interpolatesAndExtrapolates() {
        let times = table { rows, length in rows * length + 10 }
        #expect(milliseconds(times.estimate(rows: 4, length: 8)) == 42)
        #expect(milliseconds(times.estimate(rows: 6, length: 8)) == 58)
        #expect(milliseconds(times.estimate(rows: 7, length: 12)) == 122, "12 is computed at 16")
        #expect(milliseconds(times.estimate(rows: 16, length: 16)) == 276)
        #expect(times.ceiling(rows: 4, length: 8) == times.estimate(rows: 4, length: 8), "nothing has deviated")
    }

    @Test func whatWasNotMeasuredIsBoundedByItsNeighbours() {
        var times = ServiceTimes(rows: [1, 4, 8], lengths: [8, 16, 24, 32])
        times.record(rows: 4, length: 16, duration: .milliseconds(20))
        times.record(rows: 4, length: 24, duration: .milliseconds(40))
        #expect(milliseconds(times.estimate(rows: 1, length: 16)) == 20)
        #expect(milliseconds(times.estimate(rows: 8, length: 16)) == 40)
        #expect(milliseconds(times.estimate(rows: 4, length: 8)) == 20)
        #expect(milliseconds(times.estimate(rows: 4, length: 24)) == 40)
        #expect(milliseconds(times.estimate(rows: 4, length: 32)) == 53.333333)
        var sparse = ServiceTimes(rows: [4], lengths: [8, 16, 24])
        sparse.record(rows: 4, length: 8, duration: .milliseconds(10))
        sparse.record(rows: 4, length: 24, duration: .milliseconds(30))
        #expect(milliseconds(sparse.estimate(rows: 4, length: 16)) == 20)
    }

    @Test func followsWhatIsMeasured() throws {
        var times = table { rows, length in rows * length }
        for _ in 0..<200 { times.record(rows: 6, length: 16, duration: .milliseconds(192)) }
        let slowed = try #require(times.estimate(rows: 6, length: 16)) / .milliseconds(192)
        #expect(slowed > 0.99 && slowed < 1.01)
        #expect(milliseconds(times.estimate(rows: 6, length: 8)) == 48, "other lengths keep theirs")
        #expect(milliseconds(times.estimate(rows: 1, length: 16)) == 16)
        #expect(times.deviation < 0.01)
    }

    @Test func oneStallCountsLittleAndIsRememberedAsDeviation() throws {
        var times = table { rows, length in rows * length }
        for _ in 0..<20 { times.record(rows: 8, length: 8, duration: .milliseconds(64)) }
        times.record(rows: 8, length: 8, duration: .seconds(60))
        #expect(abs(try #require(milliseconds(times.estimate(rows: 8, length: 8))) - 70.4) < 0.01)
        #expect(abs(times.deviation - 0.1) < 1e-9)
        #expect(abs(try #require(milliseconds(times.ceiling(rows: 8, length: 8))) - 1.3 * 70.4) < 0.01)
    }

    @Test func theFewestRowsThatAreWorthTheirTime() {
        // Rows in proportion to time beyond 8: more rows gain nothing. With a great fixed cost they gain much.
        #expect(table { rows, _ in 1 + 10 * rows }.economicalRows(bucket: 0, efficiency: 0.95) == 2)
        #expect(table { rows, _ in 1 + 10 * rows }.economicalRows(bucket: 0, efficiency: 1) == 8)
        #expect(table { rows, _ in 1000 + rows }.economicalRows(bucket: 1, efficiency: 0.95) == 8)
        var partly = ServiceTimes(batchSize: 8, lengths: [8])
        for rows in [1, 2, 4] { partly.record(rows: rows, length: 8, duration: .milliseconds(rows)) }
        #expect(partly.economicalRows(bucket: 0, efficiency: 0.95) == 8, "8 rows must be tried before they are judged")
    }

    @Test(arguments: [0.05, 0.15, 0.3, 1])
    func roundingUpToABucketIsBounded(share: Double) {
        let buckets = BatchQueue.Limits.lengthBuckets(upTo: 300, padding: share)
        #expect(buckets.last == 300)
        let times = ServiceTimes(batchSize: 1, lengths: buckets)
        for length in 1...300 {
            let bucket = buckets[times.bucket(length)]
            #expect(bucket >= length)
            #expect(Double(bucket - length) <= share * Double(bucket))
        }
        #expect(BatchQueue.Limits.lengthBuckets(upTo: 4, padding: 0) == [1, 2, 3, 4])
        #expect(BatchQueue.Limits.lengthBuckets(upTo: 21) == [1, 2, 3, 4, 5, 7, 9, 11, 14, 17, 21])
    }
}
