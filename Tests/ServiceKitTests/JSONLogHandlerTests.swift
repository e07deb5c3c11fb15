import Foundation
import Logging
import RPCServices
import Synchronization
import Testing

@testable import ServiceKit

@Suite struct JSONLogHandlerTests {
    @Test func aLineIsAnObject() throws {
        let lines = Mutex<[String]>([])
        var logger = Logger(label: "shop") { label in
            JSONLogHandler(label: label, metadataProvider: .trace) { line in lines.withLock { $0.append(line) } }
        }
        logger[metadataKey: "own"] = "客服"
        logger.info("a \"quoted\"\nline\u{1}", metadata: ["slots": ["order_id": "1"], "list": ["a", "b"], "message": "not this"])
        let context = TraceContext(traceID: .init(high: 1, low: 2), spanID: 3, isSampled: true)
        TraceContext.$current.withValue(context) { logger.error("within") }
        logger.debug("not written")

        let written = lines.withLock { $0 }
        #expect(written.count == 2 && written.allSatisfy { $0.hasSuffix("}\n") && $0.count { $0 == "\n" } == 1 })
        let objects = try written.map { try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]) }
        #expect(objects[0]["message"] as? String == "a \"quoted\"\nline\u{1}")
        #expect(
            objects[0]["level"] as? String == "info" && objects[0]["logger"] as? String == "shop" && objects[0]["own"] as? String == "客服")
        #expect(objects[0]["slots"] as? [String: String] == ["order_id": "1"] && objects[0]["list"] as? [String] == ["a", "b"])
        #expect(objects[0]["trace_id"] == nil && (objects[0]["time"] as? String)?.hasSuffix("Z") == true)
        #expect(objects[1]["trace_id"] as? String == String(repeating: "0", count: 15) + "1" + String(repeating: "0", count: 15) + "2")
        #expect(objects[1]["span_id"] as? String == String(repeating: "0", count: 15) + "3")
    }
}
