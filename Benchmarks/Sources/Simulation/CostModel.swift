import Batching
import Glibc

/// How long a batch takes, in virtual time.
struct CostModel: Sendable {
    /// Seconds by rows and length.
    let seconds: @Sendable (_ rows: Int, _ length: Int) -> Double

    /// `fixed` seconds a batch and `token` seconds a token, padding included.
    static func affine(fixed: Double, token: Double) -> CostModel {
        CostModel { rows, length in fixed + Double(rows * length) * token }
    }

    /// Measured times: lines `rows,length,milliseconds`; others are read over. In between, ``ServiceTimes`` says how it estimates.
    init(file: String) throws {
        guard let stream = fopen(file, "r") else { throw SimulationError("\(file) cannot be read") }
        defer { fclose(stream) }
        var measured: [(rows: Int, length: Int, milliseconds: Double)] = []
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        while getline(&line, &capacity, stream) > 0, let line {
            let fields = String(cString: line).split(whereSeparator: { $0 == "," || $0.isWhitespace })
            guard fields.count == 3, let rows = Int(fields[0]), let length = Int(fields[1]), let time = Double(fields[2]) else { continue }
            measured.append((rows, length, time))
        }
        guard !measured.isEmpty else { throw SimulationError("\(file) has no line of the form rows,length,milliseconds") }
        var times = ServiceTimes(rows: Set(measured.map(\.rows)).sorted(), lengths: Set(measured.map(\.length)).sorted())
        for (rows, length, time) in measured { times.record(rows: rows, length: length, duration: .milliseconds(time)) }
        let table = times
        seconds = { rows, length in (table.estimate(rows: rows, length: length) ?? .zero) / .seconds(1) }
    }

    private init(seconds: @escaping @Sendable (Int, Int) -> Double) { self.seconds = seconds }

    func duration(_ rows: Int, _ length: Int) -> Duration { .seconds(seconds(rows, length)) }
}

struct SimulationError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// SplitMix64: the same run for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// Exponentially distributed, with this mean.
    mutating func exponential(_ mean: Double) -> Double { -log(1 - Double.random(in: 0..<1, using: &self)) * mean }

    /// Normally distributed, with mean 0 and deviation 1 (Box and Muller, 1958).
    mutating func normal() -> Double {
        sqrt(-2 * log(1 - Double.random(in: 0..<1, using: &self))) * cos(2 * .pi * Double.random(in: 0..<1, using: &self))
    }
}
