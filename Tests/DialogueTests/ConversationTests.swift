import Conversation
import Testing

@testable import Dialogue

@Suite struct ConversationTests {
    static let domain = Result { () throws(DomainError) in try Domain.load(directory: shippedDomain) }
    static let conversations = (try? RecordedConversation.all()) ?? []

    @Test func `the shipped domain and its conversations load`() throws {
        let domain = try Self.domain.get()
        #expect(domain.name == "ecommerce")
        #expect(domain.language == "zh-CN")
        #expect(domain.intents.count == 35)
        #expect(domain.flowNames.count == 16)
        #expect(domain.slotNames.count == 9)
        #expect(try RecordedConversation.all().count >= 40)
    }

    @Test(arguments: conversations) func `a conversation goes as it is written`(_ conversation: RecordedConversation) throws {
        let domain = try Self.domain.get()
        var session = domain.newSession(uid: try UserID("u1"), id: "session-1", now: Timestamp(milliseconds: 0))
        for (index, step) in conversation.steps.enumerated() {
            let seq = UInt64(index + 1)
            let now = Timestamp(milliseconds: Int64(index) * 1000)
            let decision = domain.decide(session, query: try Utterance(step.user), seq: seq, recognition: step.recognition, now: now)
            session = decision.session
            let place = Comment(
                rawValue: "\(conversation.file):\(step.line) \(step.user) → \(decision.text) [awaiting \(session.awaiting)]")
            if let flow = step.flow { #expect(session.flows.last?.name ?? "" == flow, place) }
            if let awaiting = step.awaiting { #expect(session.awaiting.name == awaiting, place) }
            if let source = step.source { #expect("\(decision.source)" == source, place) }
            if let suspended = step.suspended { #expect(session.flows.dropLast().map(\.name) == suspended, place) }
            if let handedOff = step.handedOff { #expect(session.handedOff == handedOff, place) }
            if let misunderstood = step.misunderstood { #expect(session.misunderstood == misunderstood, place) }
            #expect(decision.degradedParts == (step.recognition == nil ? ["understanding"] : []), place)
            for (name, value) in step.slots { #expect(session.slots[name]?.normalized ?? "none" == value, place) }
            for text in step.says { #expect(decision.text.contains(text), place) }
            for text in step.silentOn { #expect(!decision.text.contains(text), place) }
            #expect(!decision.text.isEmpty && !decision.text.contains("{{"), place)
            #expect(session.turns == seq && session.lastSeq == seq && session.updatedAt == now, place)
            #expect(session.history.last?.seq == seq && session.history.last?.source == decision.source, place)
        }
    }

    @Test func `every flow, rule and answer has a conversation`() throws {
        let domain = try Self.domain.get()
        let heard = Set(Self.conversations.flatMap(\.steps).compactMap { $0.recognition?.intents.first?.name })
        #expect(domain.intents.subtracting(heard) == [])
        let begun = Set(Self.conversations.flatMap(\.steps).compactMap(\.flow))
        #expect(Set(domain.flowNames).subtracting(begun) == [])
    }
}

extension Awaiting {
    /// As conversations write it.
    var name: String {
        switch self {
        case .nothing: ""
        case .slot(let name): name
        case .confirmation: "confirm"
        case .handoff: "handoff"
        }
    }
}
