/// How long batches take: a table over rows x lengths that learns from measurements.
///
/// Measured are cells of a grid: each of ``rows`` at each of ``lengths``. In between and beyond, the estimate is
/// - over rows: linear between the two measured neighbours; below the least, the time of the least (fewer rows take no longer); above the
///   greatest, in
///   proportion to the rows (a batch takes no longer than its halves one after the other);
/// - over lengths: a length is rounded up to one of ``lengths``; a length of which nothing was measured is linear between its measured
///   neighbours, below
///   them equal to the shortest, above them in proportion to the length.
///
/// A measurement moves the one or two cells around it, each by its weight in the interpolation. A cell is the mean of its first ten
/// measurements, and from
/// then on an exponentially weighted moving average (EWMA) with gain 1/10. One measurement counts at most as twice the estimate, so that a
/// single stall moves
/// a cell by a tenth and does not shut requests out.
public struct ServiceTimes: Sendable {
    /// A measured cell; `seconds` is 0 where nothing was measured.
    private struct Cell {
        var seconds = 0.0
        var samples = 0
    }

    private static let gain = 0.1

    /// The rows of the grid, rising.
    public let rows: [Int]
    /// The lengths of the grid, rising.
    public let lengths: [Int]
    /// The mean of |measured / estimated - 1|, as an EWMA with gain 1/10.
    public private(set) var deviation = 0.0

    /// By length, then by rows.
    private var cells: [Cell]
    /// Estimates in seconds by length, then by number of rows from 0 to the last of ``rows``; empty while nothing was measured.
    private var table: [Double] = []

    /// A table in which nothing is measured.
    ///
    /// - Parameters:
    ///   - rows: Numbers of rows, rising, from 1 on.
    ///   - lengths: Lengths of a row, rising.
    public init(rows: [Int], lengths: [Int]) {
        precondition(rows.first.map { $0 >= 1 } ?? false && zip(rows, rows.dropFirst()).allSatisfy(<), "rows rise from 1 or more")
        precondition(!lengths.isEmpty && zip(lengths, lengths.dropFirst()).allSatisfy(<), "lengths rise")
        self.rows = rows
        self.lengths = lengths
        cells = Array(repeating: Cell(), count: rows.count * lengths.count)
    }

    /// A table for batches of at most `batchSize` rows: 1, 2, 4, … and `batchSize`.
    public init(batchSize: Int, lengths: [Int]) {
        var rows = [1]
        while let last = rows.last, last < batchSize { rows.append(min(2 * last, batchSize)) }
        self.init(rows: rows, lengths: lengths)
    }

    /// The mean time of a batch; nil while nothing was measured.
    public func estimate(rows: Int, length: Int) -> Duration? { estimate(rows: rows, bucket: bucket(length)) }

    /// What most batches (some 99 of 100) stay under: the mean and three mean deviations, after Jacobson's retransmission timer
    /// ("Congestion Avoidance and
    /// Control", 1988), which takes four. nil while nothing was measured.
    public func ceiling(rows: Int, length: Int) -> Duration? { ceiling(rows: rows, bucket: bucket(length)) }

    /// Learns from a batch that was computed. A duration of 0 or less teaches nothing.
    public mutating func record(rows: Int, length: Int, duration: Duration) {
        let seconds = duration.inSeconds
        guard rows >= 1, seconds > 0 else { return }
        let bucket = bucket(length)
        let above = self.rows.firstIndex { $0 >= rows } ?? self.rows.count - 1
        let below = self.rows[above] > rows && above > 0 ? above - 1 : above
        let share = below == above ? 1 : Double(rows - self.rows[below]) / Double(self.rows[above] - self.rows[below])
        let expected = self.seconds(rows: rows, bucket: bucket) ?? seconds
        let ratio = min(seconds / expected, 2)
        var isFirst = false
        for (index, weight) in below == above ? [(above, 1)] : [(below, 1 - share), (above, share)] {
            let cell = bucket * self.rows.count + index
            if cells[cell].samples == 0 {
                isFirst = true
                cells[cell] = Cell(seconds: seconds * Double(self.rows[index]) / Double(rows), samples: 1)
            } else {
                cells[cell].seconds *= 1 + weight * max(Self.gain, 1 / Double(cells[cell].samples + 1)) * (ratio - 1)
                cells[cell].samples += 1
            }
        }
        if !isFirst { deviation += Self.gain * (abs(ratio - 1) - deviation) }
        rebuild(bucket, columnWasKnown: !isFirst)
    }

    /// The index of the least length that is not below `length`; that of the greatest where there is none.
    func bucket(_ length: Int) -> Int {
        var low = 0
        var high = lengths.count - 1
        while low < high {
            let middle = (low + high) / 2
            if lengths[middle] < length { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func estimate(rows: Int, bucket: Int) -> Duration? { seconds(rows: rows, bucket: bucket).map(Duration.init(inSeconds:)) }

    func ceiling(rows: Int, bucket: Int) -> Duration? {
        seconds(rows: rows, bucket: bucket).map { Duration(inSeconds: $0 * (1 + 3 * deviation)) }
    }

    private func seconds(rows: Int, bucket: Int) -> Double? {
        guard !table.isEmpty else { return nil }
        let most = self.rows[self.rows.count - 1]
        let base = bucket * (most + 1)
        return rows <= most ? table[base + rows] : table[base + most] * (Double(rows) / Double(most))
    }

    /// The fewest rows whose throughput is at least the share `efficiency` of the best of this length. The most, while a number of rows was
    /// not measured at this length (or at its measured neighbours, where nothing was at this one): an estimate of what was never tried must
    /// not keep it from being tried.
    func economicalRows(bucket: Int, efficiency: Double) -> Int {
        let most = rows[rows.count - 1]
        let sources = Set([lengths.indices.last { $0 <= bucket && isKnown($0) }, lengths.indices.first { $0 >= bucket && isKnown($0) }])
            .compactMap { $0 }
        guard !sources.isEmpty, sources.allSatisfy({ cells[$0 * rows.count..<($0 + 1) * rows.count].allSatisfy { $0.samples > 0 } }) else {
            return most
        }
        let throughputs = (1...most).map { Double($0) / table[bucket * (most + 1) + $0] }
        let enough = efficiency * (throughputs.max() ?? 0)
        return (throughputs.firstIndex { $0 >= enough } ?? most - 1) + 1
    }

    /// Whether something was measured at a length.
    private func isKnown(_ bucket: Int) -> Bool { cells[bucket * rows.count..<(bucket + 1) * rows.count].contains { $0.samples > 0 } }

    /// Brings the table up to date with a column, or with all where a column became known.
    private mutating func rebuild(_ bucket: Int, columnWasKnown: Bool) {
        let width = rows[rows.count - 1] + 1
        if table.isEmpty { table = Array(repeating: 0, count: width * lengths.count) }
        let known = lengths.indices.filter(isKnown)
        for column in columnWasKnown && known.count == lengths.count ? [bucket] : Array(lengths.indices) {
            let after = known.first { $0 >= column }
            let before = known.last { $0 <= column }
            for count in 1..<width {
                let seconds: Double
                switch (before, after) {
                case (let before?, let after?) where before < after:
                    let share = Double(lengths[column] - lengths[before]) / Double(lengths[after] - lengths[before])
                    seconds = (1 - share) * time(count, before) + share * time(count, after)
                case (_, let after?): seconds = time(count, after)
                case (let before?, nil): seconds = time(count, before) * Double(lengths[column]) / Double(lengths[before])
                case (nil, nil): seconds = 0
                }
                table[column * width + count] = seconds
            }
        }
    }

    /// Seconds of `count` rows at a length of which something was measured.
    private func time(_ count: Int, _ column: Int) -> Double {
        var below: (rows: Int, seconds: Double)?
        for index in rows.indices where cells[column * rows.count + index].samples > 0 {
            let here = (rows: rows[index], seconds: cells[column * rows.count + index].seconds)
            if here.rows >= count {
                guard let below else { return here.seconds }
                let share = Double(count - below.rows) / Double(here.rows - below.rows)
                return (1 - share) * below.seconds + share * here.seconds
            }
            below = here
        }
        return below.map { $0.seconds * Double(count) / Double($0.rows) } ?? 0
    }
}

/// Duration's own arithmetic with floating-point numbers converts by way of 128-bit integers, generically: with it a batch of eight costs a queue 21 µs instead
/// of 18.
extension Duration {
    /// So many seconds, to the nanosecond.
    init(inSeconds seconds: Double) { self = .nanoseconds(Int64((seconds * 1e9).rounded())) }

    /// In seconds.
    var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}
