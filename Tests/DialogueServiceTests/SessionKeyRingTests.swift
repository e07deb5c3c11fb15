import Conversation
import DialogueService
import Testing

@Suite struct SessionKeyRingTests {
    private let secret = String(repeating: "A", count: 43) + "="

    @Test func keysAreRead() throws {
        let ring = try SessionKeyRing(text: "# since November\n\nb-2 \(secret)\n  a.1\t\(secret)  \n")
        #expect("\(ring)" == "session keys b-2, a.1")
        var dumped = ""
        dump(ring, to: &dumped)
        #expect(!dumped.contains("AAAA"))
    }

    @Test(arguments: [
        ("", "there is no key"), ("# none\n", "there is no key"), ("a", "line 1"), ("a AAAA", "line 1"),
        ("\na secret-that-is-no-base64", "line 2"),
        ("a b c", "line 1"), ("a/b SECRET", "line 1"), ("a SECRET\na SECRET", "line 2"),
        ("\(String(repeating: "x", count: 33)) SECRET", "line 1"),
    ])
    func badKeysAreRefusedWithoutShowingThem(text: String, problem: String) throws {
        let text = text.split(separator: "SECRET", omittingEmptySubsequences: false).joined(separator: secret)
        let error = try #require(throws: ConversationError.self) { try SessionKeyRing(text: text) }
        #expect(error.code == .invalidArgument)
        #expect(error.message.contains(problem))
        #expect(!error.message.contains("AAAA") && !error.message.contains("secret-that"))
    }

    @Test func valuesOfSlotsDoNotComeIntoLogs() {
        let slot = SlotValue(name: "phone", value: "13812345678", normalized: "13812345678")
        var session = (try? UserID("u")).map { Session(uid: $0, id: "s", startedAt: Timestamp(milliseconds: 0), timeToLive: .seconds(1)) }
        session?.slots["phone"] = slot
        var dumped = ""
        dump(session, to: &dumped)
        for shown in ["\(slot)", String(reflecting: slot), String(describing: session), String(reflecting: session), dumped] {
            #expect(!shown.contains("138"))
            #expect(shown.contains("phone"))
        }
    }
}
