import Foundation
public import RPCServices

/// Begins spans, and keeps of sampled traces what ended until an exporter takes it.
///
/// Whether a trace is sampled is decided where it begins, by its id: every service that is told the same ratio decides alike. A trace that
/// comes in keeps the decision that came with it. The queue is bounded: a span that finds it full is counted and dropped, and no request waits.
public final class Tracer: Sendable {
    let spans: DroppingQueue<Span>
    private let threshold: UInt64

    /// A tracer.
    ///
    /// - Parameters:
    ///   - ratio: The share of the traces that begin here which is sampled, 0 to 1.
    ///   - capacity: How many spans may wait for the exporter.
    public init(ratio: Double, capacity: Int = 8192) {
        spans = DroppingQueue(capacity: capacity)
        threshold = ratio >= 1 ? .max : UInt64(max(0, ratio) * 0x1p63)
    }

    /// Begins a span that answers a request.
    ///
    /// - Parameter parent: The context that came with the request; nil: the trace begins here.
    public func begin(_ name: String, parent: TraceContext?) -> OpenSpan {
        let isSampled: Bool
        let traceID: TraceContext.TraceID
        if let parent {
            (isSampled, traceID) = (parent.isSampled, parent.traceID)
        } else {
            traceID = TraceContext.TraceID(high: .random(in: .min ... .max), low: .random(in: 1 ... .max))
            isSampled = threshold == .max || traceID.low >> 1 < threshold
        }
        let context = TraceContext(
            traceID: traceID, spanID: .random(in: 1 ... .max), isSampled: isSampled, state: parent?.state ?? "")
        return OpenSpan(name, .server, context, parent: parent?.spanID, in: self)
    }

    /// Begins a span within the one that the task is in.
    ///
    /// - Returns: nil where that one is not sampled, or there is none.
    public func beginWithin(_ name: String, _ kind: Span.Kind) -> OpenSpan? {
        guard let current = TraceContext.current, current.isSampled else { return nil }
        var context = current
        context.spanID = .random(in: 1 ... .max)
        return OpenSpan(name, kind, context, parent: current.spanID, in: self)
    }

    /// The time of day in nanoseconds since the Unix epoch.
    static func now() -> UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}

/// A span that is under way.
public struct OpenSpan: Sendable {
    /// What the span's own calls take with them.
    public let context: TraceContext
    private let name: String
    private let kind: Span.Kind
    private let parent: UInt64?
    private let tracer: Tracer
    private let start: UInt64
    private let begun: ContinuousClock.Instant

    fileprivate init(_ name: String, _ kind: Span.Kind, _ context: TraceContext, parent: UInt64?, in tracer: Tracer) {
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.tracer = tracer
        start = context.isSampled ? Tracer.now() : 0
        begun = .now
    }

    /// Ends it. Attributes are asked for only where it is kept.
    ///
    /// - Parameter failure: Why it failed; nil: it did not.
    public func end(_ attributes: @autoclosure () -> [(name: String, value: Span.Value)] = [], failure: String? = nil) {
        guard context.isSampled else { return }
        tracer.spans.add(
            Span(
                name: name, kind: kind, context: context, parent: parent, start: start, end: start + begun.duration(to: .now).nanoseconds,
                attributes: attributes(), failure: failure))
    }

    /// Adds a part of it of which only the times are known, after the fact.
    ///
    /// - Parameters:
    ///   - offset: From the span's start.
    public func addPart(_ name: String, offset: Duration, duration: Duration) {
        guard context.isSampled else { return }
        var part = context
        part.spanID = .random(in: 1 ... .max)
        let begin = start + offset.nanoseconds
        tracer.spans.add(
            Span(
                name: name, kind: .internal, context: part, parent: context.spanID, start: begin, end: begin + duration.nanoseconds))
    }
}

extension Duration {
    fileprivate var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds / 1_000_000_000))
    }
}
