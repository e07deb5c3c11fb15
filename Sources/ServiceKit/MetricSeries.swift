import Synchronization

/// A number that only rises.
public final class Counter: Sendable {
    private let count = Atomic<UInt64>(0)

    init() {}

    /// Adds to it.
    public func increment(by amount: Int = 1) {
        precondition(amount >= 0, "a counter only rises")
        count.wrappingAdd(UInt64(amount), ordering: .relaxed)
    }

    /// How much was added since the process began.
    public var value: UInt64 { count.load(ordering: .relaxed) }
}

/// A number that rises and falls.
public final class Gauge: Sendable {
    private let number = Mutex<Double>(0)

    init() {}

    /// The number now.
    public var value: Double { number.withLock { $0 } }

    /// Replaces it.
    public func set(_ value: Double) { number.withLock { $0 = value } }

    /// Adds to it; a negative amount takes away.
    public func add(_ amount: Double) { number.withLock { $0 += amount } }
}

/// Counts observations by their size.
public final class Histogram: Sendable {
    private struct State {
        /// Not cumulative; the last is of what is greater than every bound.
        var counts: [UInt64]
        var sum = 0.0
    }

    private let bounds: [Double]
    private let state: Mutex<State>

    init(buckets: [Double]) {
        precondition(!buckets.isEmpty && zip(buckets, buckets.dropFirst()).allSatisfy(<), "the bounds of buckets rise")
        bounds = buckets
        state = Mutex(State(counts: Array(repeating: 0, count: buckets.count + 1)))
    }

    /// Counts an observation.
    public func observe(_ value: Double) {
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[bucket] += 1
            state.sum += value
        }
    }

    /// Counts a time, in seconds.
    public func observe(_ duration: Duration) { observe(duration / .seconds(1)) }

    /// How many observations there were.
    public var count: UInt64 { state.withLock { $0.counts.reduce(0, +) } }

    /// The cumulative buckets, the sum and the count, of one moment.
    var samples: [MetricSample] {
        let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
        var total: UInt64 = 0
        var samples: [MetricSample] = []
        for (bound, count) in zip(bounds + [.infinity], counts) {
            total += count
            var sample = MetricSample(["le", bound.metricText], value: Double(total))
            sample.suffix = "_bucket"
            samples.append(sample)
        }
        for (suffix, value) in [("_sum", sum), ("_count", Double(total))] {
            var sample = MetricSample(value: value)
            sample.suffix = suffix
            samples.append(sample)
        }
        return samples
    }
}

extension [Double] {
    /// Bounds for times that people or their programs wait for, in seconds.
    public static let secondsOfWaiting: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
}
