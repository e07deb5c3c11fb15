import RPC
import RPCServices
import Testing

@Suite struct TraceContextTests {
    static let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @Test func aContextIsReadAndWritten() throws {
        let context = try #require(TraceContext(traceparent: Self.header, tracestate: "shop=1,other=2"))
        #expect(context.traceID == TraceContext.TraceID(high: 0x0af7_6519_16cd_43dd, low: 0x8448_eb21_1c80_319c))
        #expect(context.spanID == 0xb7ad_6b71_6920_3331 && context.isSampled && context.state == "shop=1,other=2")
        #expect(context.traceparent == Self.header)
        var unsampled = context
        unsampled.isSampled = false
        #expect(unsampled.traceparent.hasSuffix("-00"))
    }

    @Test func leadingZerosStay() throws {
        let header = "00-00000000000000000000000000000001-0000000000000002-00"
        #expect(try #require(TraceContext(traceparent: header)).traceparent == header)
    }

    @Test(arguments: [
        "", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more", "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
    ])
    func whatIsNoContextIsNone(_ header: String) {
        #expect(TraceContext(traceparent: header) == nil)
    }

    @Test func aLaterVersionMaySayMore() {
        #expect(TraceContext(traceparent: "cc" + Self.header.dropFirst(2) + "-what-comes") != nil)
    }

    @Test func statesOfSeveralPairsAreOneAndWhatIsTooLongIsDropped() throws {
        let metadata: Metadata = ["traceparent": .text(Self.header), "tracestate": "a=1", "other": "x"]
        var two = metadata
        two.append("tracestate", "b=2")
        #expect(TraceContext(two)?.state == "a=1,b=2")
        #expect(TraceContext(traceparent: Self.header, tracestate: String(repeating: "a", count: 513))?.state == "")
        #expect(TraceContext(["tracestate": "a=1"] as Metadata) == nil)
    }

    @Test func aCallTakesTheContextOfItsTask() throws {
        #expect(TraceContext.outgoing.isEmpty)
        let context = try #require(TraceContext(traceparent: Self.header, tracestate: "a=1"))
        TraceContext.$current.withValue(context) {
            #expect(TraceContext.outgoing == ["traceparent": .text(Self.header), "tracestate": "a=1"])
        }
    }
}
