import ArgumentParser
import Conversation
import Foundation

/// What is sent, and when.
struct Plan {
    /// One request of a run.
    struct Request {
        /// Seconds from the start of the run.
        var due: Double
        var text: String
        /// What a server makes of the text: a token a character, and two.
        var tokens: Int { text.count + 2 }
        var priority: Priority
    }

    private static let classNames: [String: Priority] = ["interactive": .interactive, "standard": .standard, "background": .background]
    private static let words = Array("我要改地址退款发货订单快递到哪了怎么还没收到商品质量问题换个颜色尺码大小优惠券不能用请帮忙查一下谢谢你们客服人工在吗")

    private let lengths: ClosedRange<Int>
    private let classes: [(priority: Priority, share: Double)]
    private var random: SplitMix64

    init(lengths: String, classes: String, seed: UInt64) throws {
        let ends = lengths.split(separator: "-").compactMap { Int($0) }
        guard let least = ends.first, let most = ends.last, ends.count <= 2, least >= 3, most >= least, most <= 512 else {
            throw ValidationError("--lengths is '\(lengths)'; LEAST-MOST with 3 or more tokens and at most 512 is expected")
        }
        self.lengths = least...most
        var parsed: [(Priority, Double)] = []
        for part in classes.split(separator: ",") {
            let sides = part.split(separator: "=")
            guard sides.count == 2, let priority = Self.classNames[String(sides[0])], let share = Double(sides[1]), share >= 0 else {
                throw ValidationError("--classes has '\(part)'; interactive=0.2,standard=0.8 and the like is expected")
            }
            parsed.append((priority, share))
        }
        guard parsed.contains(where: { $0.1 > 0 }) else { throw ValidationError("--classes names no class with a share") }
        self.classes = parsed
        random = SplitMix64(state: seed)
    }

    /// The requests of one run: exponential times between them, so that they come as those of many people do.
    func requests(rate: Double, seconds: Double) -> [Request] {
        var random = random
        var requests: [Request] = []
        var time = 0.0
        while true {
            time -= log(Double.random(in: .leastNonzeroMagnitude..<1, using: &random)) / rate
            guard time < seconds else { return requests }
            let tokens = Int.random(in: lengths, using: &random)
            let text = String((0..<tokens - 2).map { _ in Self.words.randomElement(using: &random) ?? "我" })
            requests.append(Request(due: time, text: text, priority: priority(&random)))
        }
    }

    private func priority(_ random: inout SplitMix64) -> Priority {
        var left = Double.random(in: 0..<classes.reduce(0) { $0 + $1.share }, using: &random)
        for (priority, share) in classes {
            if left < share { return priority }
            left -= share
        }
        return classes[0].priority
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
