import Conversation
import Testing

@Suite struct UtteranceTests {
    @Test func countsUnicodeScalars() throws {
        #expect(try Utterance(String(repeating: "改", count: 512)).text.count == 512)
        // One visible character of seven scalars.
        #expect(try Utterance(String(repeating: "👨‍👩‍👧‍👦", count: 73)).text.unicodeScalars.count == 511)
    }

    @Test func refusesWhatIsEmptyOrTooLong() {
        #expect { try Utterance("") } throws: { ($0 as? ConversationError)?.message.contains("empty") == true }
        #expect {
            try Utterance(String(repeating: "改", count: 513))
        } throws: { error in
            guard let error = error as? ConversationError else { return false }
            return error.code == .invalidArgument && error.message.contains("513") && error.message.contains("512")
        }
    }
}

@Suite struct UserIDTests {
    @Test func countsBytes() throws {
        #expect(try UserID(String(repeating: "u", count: 128)).string.count == 128)
        #expect(throws: ConversationError.self) { try UserID(String(repeating: "u", count: 129)) }
        #expect(throws: ConversationError.self) { try UserID(String(repeating: "户", count: 43)) }
        #expect(throws: ConversationError.self) { try UserID("") }
    }
}

@Suite struct ModelSelectorTests {
    @Test func readsNameAndVersion() throws {
        #expect(try ModelSelector("ecommerce").version == nil)
        let selector = try ModelSelector("ecommerce@12")
        #expect(selector.name == "ecommerce" && selector.version == "12")
        #expect(selector.description == "ecommerce@12")
    }

    @Test(arguments: ["", "@", "a@", "@1"]) func refusesEmptyParts(_ string: String) {
        #expect(throws: ConversationError.self) { try ModelSelector(string) }
    }
}

@Suite struct AnsweredSequenceTests {
    @Test func keepsTheLastSixteen() {
        var answered = AnsweredSequence()
        for seq in UInt64(1)...16 { #expect(answered.insert(seq) == Int(seq) - 1) }
        #expect(answered.state(of: 1) == .kept(position: 0))
        #expect(answered.insert(17) == 0)
        #expect(answered.state(of: 1) == .tooOld)
        #expect(answered.state(of: 2) == .kept(position: 1))
        #expect(answered.state(of: 17) == .kept(position: 0))
        #expect(answered.state(of: 18) == .new)
    }

    @Test func aLateSeqThatWasNeverAnsweredIsNew() {
        var answered = AnsweredSequence()
        _ = answered.insert(1)
        _ = answered.insert(5)
        #expect(answered.state(of: 3) == .new)
        _ = answered.insert(3)
        #expect(answered.state(of: 3) == .kept(position: 2))
    }

    @Test func aLateSeqIsTheFirstToGo() {
        var answered = AnsweredSequence()
        for seq in UInt64(10)...25 { _ = answered.insert(seq) }
        let position = answered.insert(3)
        #expect(answered.state(of: 3) == .kept(position: position))
        #expect(answered.forgotten == 10)
        #expect(answered.insert(26) == position)
        // 3 is forgotten, but so was 10: what is at or below 10 is too old.
        #expect(answered.forgotten == 10)
        #expect(answered.state(of: 10) == .tooOld)
        #expect(answered.state(of: 11) == .kept(position: 1))
    }

    @Test func nothingIsEverNewTwice() {
        var answered = AnsweredSequence()
        var seen = Set<UInt64>()
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let seq = UInt64.random(in: 1...200, using: &random) + UInt64(seen.count)
            guard answered.state(of: seq) == .new else { continue }
            #expect(seen.insert(seq).inserted)
            #expect(answered.insert(seq) < AnsweredSequence.limit)
        }
        #expect(answered.ring.count == AnsweredSequence.limit)
    }
}

@Suite struct SessionTests {
    @Test func remembersTenTurns() throws {
        var session = Session(uid: try UserID("u"), id: "s", startedAt: Timestamp(milliseconds: 0), timeToLive: .seconds(3600))
        for seq in UInt64(1)...25 {
            session.remember(Turn(seq: seq, intent: "inform", confidence: 1, at: Timestamp(milliseconds: 0), source: .template))
        }
        #expect(session.history.map(\.seq) == Array(16...25))
    }

    @Test func timestampsAdvance() {
        #expect(Timestamp(milliseconds: 5).advanced(by: .milliseconds(1500)).milliseconds == 1505)
        #expect(Timestamp(milliseconds: 5) < Timestamp(milliseconds: 6))
    }
}
