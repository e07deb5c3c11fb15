public import RPC

/// Where a request stands in a distributed trace: W3C Trace Context, level 1 (`traceparent` and `tracestate`).
public struct TraceContext: Sendable, Hashable {
    /// Names a trace: 128 bits that are not all 0.
    public struct TraceID: Sendable, Hashable {
        /// The first 64 bits.
        public var high: UInt64
        /// The last 64 bits; these are random.
        public var low: UInt64

        /// An id by its halves.
        public init(high: UInt64, low: UInt64) {
            self.high = high
            self.low = low
        }
    }

    /// The context of the work that this task does; nil: it belongs to no trace.
    @TaskLocal public static var current: TraceContext?

    /// The trace.
    public var traceID: TraceID
    /// The span under way; not 0.
    public var spanID: UInt64
    /// Whether whoever began the trace wants its spans kept.
    public var isSampled: Bool
    /// What tracing systems along the way noted, handed on as it came: `tracestate`; empty: nothing.
    public var state: String

    /// A context by its parts.
    public init(traceID: TraceID, spanID: UInt64, isSampled: Bool, state: String = "") {
        self.traceID = traceID
        self.spanID = spanID
        self.isSampled = isSampled
        self.state = state
    }

    /// The context in the two header fields; nil where `traceparent` is not one, as the recommendation asks for.
    public init?(traceparent: String, tracestate: String = "") {
        let text = Array(traceparent.utf8)
        let dash = UInt8(ascii: "-")
        guard text.count >= 55, text[2] == dash, text[35] == dash, text[52] == dash, let version = Self.number(text[0..<2]),
            version != 0xff,
            version == 0 ? text.count == 55 : text.count == 55 || text[55] == dash,
            let high = Self.number(text[3..<19]), let low = Self.number(text[19..<35]), high | low != 0,
            let spanID = Self.number(text[36..<52]), spanID != 0, let flags = Self.number(text[53..<55])
        else { return nil }
        let isLegal = tracestate.utf8.count <= 512 && tracestate.utf8.allSatisfy { (0x20...0x7e).contains($0) }
        self.init(
            traceID: TraceID(high: high, low: low), spanID: spanID, isSampled: flags & 1 == 1, state: isLegal ? tracestate : "")
    }

    /// The context that came with a call; nil: none did.
    public init?(_ metadata: Metadata) {
        guard let traceparent = metadata["traceparent"] else { return nil }
        let states = metadata.values("tracestate").map(\.description)
        self.init(traceparent: traceparent, tracestate: states.joined(separator: ","))
    }

    /// The header field: version, trace, span and flags in hexadecimal.
    public var traceparent: String { "00-\(traceID)-\(spanID.hexadecimal)-0\(isSampled ? 1 : 0)" }

    /// What a call made within this task sends: nothing where it belongs to no trace.
    public static var outgoing: Metadata {
        guard let current else { return Metadata() }
        var metadata = Metadata()
        metadata.append("traceparent", current.traceparent)
        if !current.state.isEmpty { metadata.append("tracestate", current.state) }
        return metadata
    }

    /// Lower-case hexadecimal digits, at most 16.
    private static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
        var number: UInt64 = 0
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): number = number << 4 | UInt64(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): number = number << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        return number
    }
}

extension TraceContext.TraceID: CustomStringConvertible {
    /// 32 hexadecimal digits.
    public var description: String { high.hexadecimal + low.hexadecimal }
}

extension UInt64 {
    /// 16 hexadecimal digits.
    public var hexadecimal: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
