import RPCServices
import Testing

@testable import ServiceKit

@Suite struct TracerTests {
    @Test func theRatioDecidesWhereATraceBegins() {
        let (all, none, half) = (Tracer(ratio: 1), Tracer(ratio: 0), Tracer(ratio: 0.5))
        let sampled = (0..<4000).count { _ in half.begin("x", parent: nil).context.isSampled }
        // Seven standard deviations of a fair coin.
        #expect((1780...2220).contains(sampled))
        #expect((0..<100).allSatisfy { _ in all.begin("x", parent: nil).context.isSampled })
        #expect(!(0..<100).contains { _ in none.begin("x", parent: nil).context.isSampled })
    }

    @Test(arguments: [true, false]) func aTraceThatComesInKeepsItsDecision(_ isSampled: Bool) {
        let parent = TraceContext(traceID: .init(high: 1, low: 2), spanID: 3, isSampled: isSampled, state: "a=1")
        let span = Tracer(ratio: isSampled ? 0 : 1).begin("x", parent: parent)
        #expect(span.context.traceID == parent.traceID && span.context.isSampled == isSampled && span.context.state == "a=1")
        #expect(span.context.spanID != parent.spanID)
    }

    @Test func partsBelongToTheSpanOfTheTask() throws {
        let tracer = Tracer(ratio: 1)
        #expect(tracer.beginWithin("step", .client) == nil)
        let turn = tracer.begin("turn", parent: nil)
        let step = TraceContext.$current.withValue(turn.context) { tracer.beginWithin("step", .client) }
        step?.end([("n", .integer(1))], failure: "broken")
        turn.addPart("part", offset: .milliseconds(1), duration: .milliseconds(2))
        turn.end()
        let spans = tracer.spans.take(10)
        #expect(spans.map(\.name) == ["step", "part", "turn"])
        #expect(spans.map(\.parent) == [turn.context.spanID, turn.context.spanID, nil])
        #expect(spans[0].failure == "broken" && spans[1].end - spans[1].start == 2_000_000)
        #expect(Set(spans.map(\.context.traceID)) == [turn.context.traceID] && Set(spans.map(\.context.spanID)).count == 3)
    }

    @Test func whatFindsTheQueueFullIsDroppedAndCounted() {
        let tracer = Tracer(ratio: 1, capacity: 3)
        for _ in 0..<5 { tracer.begin("x", parent: nil).end() }
        #expect(tracer.spans.dropped == 2 && tracer.spans.take(10).count == 3 && tracer.spans.take(10).isEmpty)
        let unsampled = Tracer(ratio: 0)
        unsampled.begin("x", parent: nil).end()
        #expect(unsampled.spans.take(1).isEmpty)
    }
}
