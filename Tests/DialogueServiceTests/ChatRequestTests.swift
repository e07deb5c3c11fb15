import Conversation
import Dialogue
import Foundation
import Testing

@testable import DialogueService

@Suite struct ChatRequestTests {
    private static func message(_ text: String, nested levels: Int = 0) throws -> Message {
        let rest = levels == 0 ? "0" : String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        return try ChatRequest.message(in: Data("{\"uid\": \"u\", \"query\": \"\(text)\", \"more\": \(rest)}".utf8))
    }

    @Test func otherFieldsAreLeftAlone() throws {
        #expect(try Self.message("我要改地址", nested: 63).query.text == "我要改地址")
    }

    /// With 513 the decoder of Foundation ends the process.
    @Test(arguments: [65, 511, 512, 513, 514, 100_000], ["[", "{\"a\":", "[\"\\\"\","])
    func whatIsNestedTooDeepIsRefused(levels: Int, bracket: String) {
        let error = #expect(throws: ConversationError.self) {
            try ChatRequest.message(in: Data(String(repeating: bracket, count: levels).utf8))
        }
        #expect(error?.code == .invalidArgument)
    }

    @Test func bracketsInTextAreNoLevels() throws {
        let text = String(repeating: "[{", count: 100)
        #expect(try Self.message("\\\"" + text).query.text == "\"" + text)
    }

    @Test func anotherEncodingIsRefused() throws {
        let bytes = try #require("{\"uid\": \"u\", \"query\": \"a\"}".data(using: .utf16))
        #expect(throws: ConversationError.self) { try ChatRequest.message(in: bytes) }
    }
}
