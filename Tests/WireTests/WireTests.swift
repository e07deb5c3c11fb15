import Conversation
import Testing
import Wire

private func exampleSession() throws -> Session {
    var session = Session(
        uid: try UserID("用户-1"), id: "a1b2", startedAt: Timestamp(milliseconds: 1_700_000_000_000), timeToLive: .seconds(3600))
    session.turns = 12
    session.lastSeq = 40
    session.slots["order_id"] = SlotValue(name: "order_id", value: "２０２４", normalized: "2024")
    session.slots["address"] = SlotValue(name: "address", value: "杭州 市", normalized: "杭州市")
    session.flows = [FlowInProgress(name: "refund_request", asked: ["order_id"]), FlowInProgress(name: "address_change")]
    session.awaiting = .slot("address")
    for seq in UInt64(30)...40 {
        session.remember(
            Turn(seq: seq, intent: "inform", confidence: 0.5, at: Timestamp(milliseconds: Int64(seq)), source: .template))
        _ = session.answered.insert(seq)
    }
    session.handedOff = true
    session.updatedAt = Timestamp(milliseconds: 1_700_000_001_000)
    session.misunderstood = 2
    session.ruleCounts = ["complaint": 1]
    session.domainVersion = "v1"
    session.alternatives = ["refund_request", "return_request"]
    session.rivals = [
        SlotValue(name: "phone", value: "138 0013 8000", normalized: "13800138000"),
        SlotValue(name: "phone", value: "13900139000", normalized: "13900139000"),
    ]
    session.lastMessage = 0xFEDC_BA98_7654_3210
    session.repeats = 2
    return session
}

private func exampleReply() throws -> Reply {
    Reply(
        uid: try UserID("用户-1"), seq: 40, text: "好的😊", source: .handoff,
        recognition: RecognitionSummary(
            intent: Intent(name: "address_change", confidence: 0.97), slots: [SlotValue(name: "address", value: "杭州", normalized: "杭州")],
            model: "ecommerce@1"), session: SessionSnapshot(try exampleSession(), timeLeft: .seconds(3600)), replayed: true,
        degradedParts: ["chitchat"])
}

@Suite struct DialogueCodecTests {
    @Test func repliesSurviveTheWire() throws {
        let reply = try exampleReply()
        #expect(try DialogueCodec.replyResponse(decoding: DialogueCodec.replyResponse(reply)) == .reply(reply))
        var bare = reply
        bare.recognition = nil
        bare.degradedParts = []
        bare.session.slots = []
        bare.session.flow = nil
        bare.session.suspendedFlows = []
        bare.session.awaiting = .confirmation
        bare.session.history = []
        #expect(try DialogueCodec.replyResponse(decoding: DialogueCodec.replyResponse(bare)) == .reply(bare))
    }

    @Test func failuresSurviveTheWire() throws {
        let bytes = DialogueCodec.replyResponse(uid: "u", seq: 3, failure: ConversationError(.aborted, "太旧"), code: 10)
        #expect(try DialogueCodec.replyResponse(decoding: bytes) == .failure(uid: "u", seq: 3, code: 10, message: "太旧", retryAfter: nil))
    }

    @Test func requestsSurviveTheWire() throws {
        let message = Message(uid: try UserID("u1"), query: try Utterance("我要改地址"), seq: 7)
        #expect(try DialogueCodec.replyRequest(decoding: DialogueCodec.replyRequest(message)).message.get() == message)
        let unnumbered = Message(uid: try UserID("u1"), query: try Utterance("你好"), seq: nil)
        #expect(try DialogueCodec.replyRequest(decoding: DialogueCodec.replyRequest(unnumbered)).message.get() == unnumbered)
        #expect(try DialogueCodec.getSessionRequest(decoding: DialogueCodec.getSessionRequest(message.uid)) == message.uid)
        #expect(try DialogueCodec.endSessionRequest(decoding: DialogueCodec.endSessionRequest(message.uid)) == message.uid)
        #expect(try DialogueCodec.endSessionResponse(decoding: DialogueCodec.endSessionResponse(existed: true)))
        #expect(try !DialogueCodec.endSessionResponse(decoding: DialogueCodec.endSessionResponse(existed: false)))
        let snapshot = SessionSnapshot(try exampleSession(), timeLeft: .seconds(12))
        #expect(try DialogueCodec.session(decoding: DialogueCodec.session(snapshot)) == snapshot)
    }

    /// field 1 "u", field 2 `query`, field 3 seq 9.
    private func request(query: [UInt8]) -> [UInt8] { [0x0A, 1, 0x75, 0x12, UInt8(query.count)] + query + [0x18, 9] }

    @Test(
        arguments: [
            ([0x61, 0x00, 0x62], "U+0000"), ([0xFF, 0xFE], "UTF-8"), ([0xED, 0xA0, 0x80], "UTF-8"), ([0xC0, 0x80], "UTF-8"), ([], "empty"),
        ] as [([UInt8], String)])
    func textThatIsNotTextIsRefused(_ query: [UInt8], _ word: String) {
        let incoming = DialogueCodec.replyRequest(decoding: request(query: query))
        #expect(incoming.uid == "u" && incoming.seq == 9)
        #expect {
            try incoming.message.get()
        } throws: { error in
            (error as? ConversationError)?.code == .invalidArgument && (error as? ConversationError)?.message.contains(word) == true
        }
    }

    @Test func anythingElseIsRefusedWithoutACrash() throws {
        let whole = DialogueCodec.replyResponse(try exampleReply())
        for length in 0..<whole.count { _ = try? DialogueCodec.replyResponse(decoding: Array(whole.prefix(length))) }
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var bytes = whole
            for _ in 0..<3 { bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator) }
            _ = try? DialogueCodec.replyResponse(decoding: bytes)
            _ = DialogueCodec.replyRequest(decoding: bytes)
            _ = UnderstandingCodec.understandRequest(decoding: bytes)
            _ = try? SessionCodec.session(decoding: bytes, uid: UserID("u"))
        }
        #expect(throws: ConversationError.self) { try DialogueCodec.replyRequest(decoding: [0x0A, 5, 0x75]).message.get() }
        #expect(throws: ConversationError.self) { try DialogueCodec.replyRequest(decoding: []).message.get() }
    }
}

@Suite struct SessionCodecTests {
    @Test(arguments: [Float.nan, -.infinity]) func aConfidenceThatIsNoNumberIsRefused(confidence: Float) throws {
        var session = try exampleSession()
        session.remember(Turn(seq: 41, intent: "inform", confidence: confidence, at: Timestamp(milliseconds: 1), source: .template))
        #expect(throws: ConversationError.self) { try SessionCodec.session(decoding: SessionCodec.state(session), uid: session.uid) }
        let snapshot = SessionSnapshot(session, timeLeft: .seconds(1))
        #expect(throws: ConversationError.self) { try DialogueCodec.session(decoding: DialogueCodec.session(snapshot)) }
    }

    @Test func sessionsSurviveTheStore() throws {
        let session = try exampleSession()
        #expect(try SessionCodec.session(decoding: SessionCodec.state(session), uid: session.uid) == session)
        var offered = session
        offered.awaiting = .handoff
        #expect(try SessionCodec.session(decoding: SessionCodec.state(offered), uid: session.uid) == offered)
        let young = Session(uid: session.uid, id: "x", startedAt: Timestamp(milliseconds: 1), timeToLive: .seconds(1))
        #expect(try SessionCodec.session(decoding: SessionCodec.state(young), uid: session.uid) == young)
    }
}

@Suite struct DeskCodecTests {
    private let said = AgentMessage(id: "lease:1", agent: "小王", text: "您好😊", at: Timestamp(milliseconds: 1_796_026_200_000))

    @Test func anOutboxIsReadAsOne() throws {
        let outbox = DeskCodec.outbox(said) + DeskCodec.outbox(said, sealed: [1, 2, 3])
        let messages = try DeskCodec.outbox(decoding: outbox) { sealed in
            #expect(sealed == [1, 2, 3])
            return Array("在吗".utf8)
        }
        #expect(messages.map(\.text) == ["您好😊", "在吗"])
    }

    /// Text that was encrypted is held to what other text is: what is read of it can be written plain, and read again.
    @Test(arguments: ["a\0b".utf8.map { $0 }, [0xFF], [0xE5, 0xB9]])
    func whatIsNotTextIsRefusedEncryptedToo(bytes: [UInt8]) {
        let error = #expect(throws: ConversationError.self) {
            try DeskCodec.outbox(decoding: DeskCodec.outbox(said, sealed: [1])) { _ in bytes }
        }
        #expect(error?.code == .invalidArgument)
    }
}

@Suite struct UnderstandingCodecTests {
    @Test func requestsSurviveTheWire() throws {
        let request = RecognitionRequest(
            utterance: try Utterance("我要改地址"), priority: .background, model: try ModelSelector("ecommerce@2"), topK: 5, requestID: "r-1")
        let incoming = UnderstandingCodec.understandRequest(decoding: UnderstandingCodec.understandRequest(request))
        #expect(try incoming.request.get() == request)
        #expect(incoming.requestID == "r-1")
        let plain = RecognitionRequest(utterance: try Utterance("在吗"))
        #expect(try UnderstandingCodec.understandRequest(decoding: UnderstandingCodec.understandRequest(plain)).request.get() == plain)
    }

    @Test func anUnknownPriorityIsRefused() {
        // text "a", priority 9
        #expect(throws: ConversationError.self) {
            try UnderstandingCodec.understandRequest(decoding: [0x0A, 1, 0x61, 0x10, 9]).request.get()
        }
    }

    @Test func recognitionsSurviveTheWire() throws {
        let recognition = Recognition(
            intents: [Intent(name: "address_change", confidence: 0.9), Intent(name: "inform", confidence: 0.1)],
            slots: [
                RecognizedSlot(value: SlotValue(name: "address", value: "杭州", normalized: "杭州"), range: 2..<4, confidence: 0.8)
            ], model: "ecommerce@1", route: .heavy,
            timing: Timing(queue: .microseconds(120), compute: .milliseconds(3), batchSize: 8, paddedLength: 24))
        let bytes = UnderstandingCodec.understandResponse(recognition, requestID: "r")
        #expect(try UnderstandingCodec.understandResponse(decoding: bytes) == .recognition(recognition, requestID: "r"))
        for broken in [Float.nan, .infinity] {
            var confused = recognition
            confused.intents[0].confidence = broken
            let bytes = UnderstandingCodec.understandResponse(confused, requestID: "r")
            let error = #expect(throws: ConversationError.self) { try UnderstandingCodec.understandResponse(decoding: bytes) }
            #expect(error?.message.contains("intent.confidence") ?? false)
        }
        let failure = UnderstandingCodec.understandResponse(requestID: "r", failure: ConversationError(.notFound, "no"), code: 5)
        #expect(try UnderstandingCodec.understandResponse(decoding: failure) == .failure(requestID: "r", code: 5, message: "no"))
    }

    @Test(arguments: [ModelDescription.State.loading, .warming, .ready, .draining, .failed])
    func modelsSurviveTheWire(_ state: ModelDescription.State) throws {
        let model = ModelDescription(
            name: "ecommerce", version: "1", state: state, isDefault: true, device: "cpu", precision: "bfloat16", intents: ["a", "b"],
            slotLabels: ["O"],
            memoryBytes: 1 << 33, sha256: "00ff")
        #expect(try UnderstandingCodec.listModelsResponse(decoding: UnderstandingCodec.listModelsResponse([model])) == [model])
        #expect(try UnderstandingCodec.listModelsResponse(decoding: UnderstandingCodec.listModelsResponse([])).isEmpty)
    }
}
