import Conversation
import Foundation
import Testing

@testable import Dialogue

/// Where the shipped domain lies.
let shippedDomain = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Deploy/domains/ecommerce").path

@Suite struct ConversationTests {
    static let domain = Result { () throws(DomainError) in try Domain.load(directory: shippedDomain) }
    static let conversations = (try? RecordedConversation.load(shippedDomain + "/conversations", domain: domain.get())) ?? []

    @Test func `the shipped domain and its conversations load`() throws {
        let domain = try Self.domain.get()
        #expect(domain.name == "ecommerce")
        #expect(domain.language == "zh-CN")
        #expect(domain.intentNames.count == 35)
        #expect(domain.flowNames.count == 16)
        #expect(domain.slotNames.count == 9)
        let conversations = try RecordedConversation.load(shippedDomain + "/conversations", domain: domain)
        #expect(Set(conversations.map(\.name)).count == conversations.count, "names must differ")
    }

    @Test(arguments: conversations) func `a conversation goes as it is written`(_ conversation: RecordedConversation) async throws {
        let outcome = await ConversationRunner(domain: try Self.domain.get()).run(conversation)
        for failure in outcome.failures { Issue.record("\(conversation.file) \(failure)") }
    }

    @Test func `every flow, rule and answer has a conversation`() throws {
        let domain = try Self.domain.get()
        let messages = Self.conversations.flatMap(\.steps).flatMap(\.messages)
        let heard = Set(messages.compactMap { $0.recognition?.intents.first?.name })
        #expect(domain.intentNames.subtracting(heard) == [])
        let begun = Set(messages.compactMap(\.expectation.flow))
        #expect(Set(domain.flowNames).subtracting(begun) == [])
    }
}

extension RecordedConversation.Step {
    var messages: [RecordedConversation.Message] {
        switch event {
        case .message(let message): [message]
        case .messages(let messages): messages
        default: []
        }
    }
}
