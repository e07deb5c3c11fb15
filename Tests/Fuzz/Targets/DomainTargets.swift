import Conversation
import Foundation
import Wire

@testable import Dialogue
@testable import DialogueService

extension FuzzTarget {
    static let domains: [FuzzTarget] = [domain, turn]

    /// A domain as small as one can be with everything in it: Tests/Fuzz/Domain, beside the folder of this file. Each file is parsed once.
    // It is only read, by one target at a time; Yams does not say that its nodes are Sendable.
    nonisolated(unsafe) private static let files = DomainFiles(
        directory: URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Domain").path)
    private static let smallest = Result { try Domain.load(files) }

    /// The files of a domain, and recorded conversations: what is wrong is told with a place in the file, and a domain that is accepted can take a turn.
    private static let domain = FuzzTarget("domain", maximumLength: 4096) { input in
        var parts = Parts(input)
        let number = parts.choice(7)
        guard let smallest = try? smallest.get() else { fatalError("the small domain is refused: \(smallest)") }
        let file = ParsedFile(Data(parts.bytes), missing: "")
        let findings = Findings()
        let source = SourceFile(path: "input", file, findings: findings)
        do {
            // What is no YAML is told before the other files are looked at: most inputs are.
            if source.root == nil { throw DomainError(diagnostics: findings.sorted) }
            if number == 6 {
                let conversations = RecordedConversation.read(source, domain: smallest)
                for conversation in conversations { require(conversation.line >= 1, "a conversation in line \(conversation.line)") }
                if !findings.diagnostics.isEmpty { throw DomainError(diagnostics: findings.sorted) }
            } else {
                let name = DomainFiles.names[number]
                var files = files
                let bytes = parts.bytes
                let version = DomainFiles.version { $0 == name ? bytes : Array((files.parsed[$0]?.text ?? "").utf8) }
                files.parsed[name] = file
                let domain = try Domain.load(files)
                require(domain.version == version, "the version is not that of the files")
                try takeTurns(domain)
            }
        } catch let error as DomainError {
            require(!error.diagnostics.isEmpty, "there is nothing wrong with it")
            for found in error.diagnostics {
                require(found.line >= 1 && found.column >= 1 && !found.message.isEmpty, "\(found)")
            }
        } catch {
            fatalError("\(error)")
        }
    }

    /// Whatever a domain says, its replies are said.
    private static func takeTurns(_ domain: Domain) throws {
        var session = domain.newSession(uid: try UserID("u"), id: "s", now: Timestamp(milliseconds: 1_796_026_200_000))
        for (seq, intent) in domain.intentNames.sorted().prefix(3).enumerated() {
            let query = try Utterance("订单号是202411110001，对的")
            let slot = domain.slotNames.first.map {
                RecognizedSlot(value: SlotValue(name: $0, value: "202411110001", normalized: ""), range: 4..<16, confidence: 1)
            }
            let recognition = Recognition(intents: [Intent(name: intent, confidence: 0.9)], slots: slot.map { [$0] } ?? [], model: "m@1")
            session = answered(domain, session, query: query, seq: UInt64(seq) + 1, recognition: recognition).session
        }
    }

    /// A turn with a backend that answers with whatever code is tried.
    private static func answered(
        _ domain: Domain, _ session: Session, query: Utterance, seq: UInt64, recognition: Recognition?,
        now: Timestamp = Timestamp(milliseconds: 1_796_026_200_000)
    ) -> Decision {
        var results: [ActionResult] = []
        while true {
            let decision = domain.decide(session, query: query, seq: seq, recognition: recognition, now: now, results: results)
            guard decision.action != nil, results.count < 8 else {
                require(decision.action != nil || !decision.text.isEmpty, "nothing is said")
                require(decision.session.history.count <= Session.historyLimit, "the history has \(decision.session.history.count) turns")
                return decision
            }
            results.append(results.count % 2 == 0 ? ActionResult(code: "ok", values: ["status": "已发货"]) : .unavailable)
        }
    }

    /// A whole decision: a stored session, what the intent server answered, and a message, each as it comes off the wire.
    private static let turn = FuzzTarget("turn", maximumLength: 2048) { input in
        var parts = Parts(input)
        guard let domain = try? smallest.get(), let uid = try? UserID("u") else { fatalError("the small domain is refused: \(smallest)") }
        let isNew = parts.choice(4) == 0
        guard let stored = try? SessionCodec.session(decoding: parts.part(), uid: uid) else { return }
        let response = try? UnderstandingCodec.understandResponse(decoding: parts.part())
        guard let query = try? Utterance(parts.text) else { return }
        var recognition: Recognition?
        if case .recognition(let found, _)? = response { recognition = found }
        let now = Timestamp(milliseconds: 1_796_026_200_000)
        let session = isNew ? domain.newSession(uid: uid, id: "s", now: now) : stored
        let seq = session.lastSeq &+ 1
        let decision = answered(domain, session, query: query, seq: seq, recognition: recognition, now: now)
        // What is kept of it is read again.
        let state = SessionCodec.state(decision.session)
        guard let kept = try? SessionCodec.session(decoding: state, uid: uid) else { fatalError("the session cannot be read again") }
        require(SessionCodec.state(kept) == state, "the session is written another way")
        let reply = Reply(
            uid: uid, seq: seq, text: decision.text, source: decision.source, recognition: recognition.flatMap { RecognitionSummary($0) },
            session: SessionSnapshot(decision.session, timeLeft: decision.session.timeToLive), degradedParts: decision.degradedParts)
        let sent = DialogueCodec.replyResponse(reply)
        guard case .reply(let read)? = try? DialogueCodec.replyResponse(decoding: sent) else { fatalError("the reply cannot be read") }
        require(read.text == reply.text, "the reply says something else")
        if !isNew { return }
        require((try? JSONEncoder().encode(ReplyDocument(reply))) != nil, "the reply cannot be written as JSON")
    }
}
