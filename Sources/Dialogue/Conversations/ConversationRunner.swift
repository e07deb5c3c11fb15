import Conversation
import Synchronization

/// What became of a recorded conversation.
public struct ConversationOutcome: Sendable {
    /// An answer that was not as expected.
    public struct Failure: Sendable, CustomStringConvertible {
        /// The line of the step in its file, from 1.
        public var line: Int
        /// What was written.
        public var message: String
        /// What was answered.
        public var reply: String
        /// What was expected and what came instead, one line each.
        public var differences: [String]

        /// The step, the answer, and what is wrong with it.
        public var description: String {
            (["line \(line): \(message)", "  → \(reply.split(separator: "\n").joined(separator: " ⏎ "))"] + differences.map { "  ✗ \($0)" })
                .joined(separator: "\n")
        }
    }

    /// The conversation.
    public var conversation: RecordedConversation
    /// What was not as expected; empty: it passed.
    public var failures: [Failure]
}

/// Plays recorded conversations against a domain, with a store in memory and a clock that stands still.
public struct ConversationRunner: Sendable {
    private let domain: Domain

    /// A runner for conversations with `domain`.
    public init(domain: Domain) { self.domain = domain }

    /// Plays a conversation to its end.
    public func run(_ conversation: RecordedConversation) async -> ConversationOutcome {
        var failures: [ConversationOutcome.Failure] = []
        let stage = Stage(domain: domain, conversation: conversation)
        for step in conversation.steps {
            switch step.event {
            case .message(let message): failures += await stage.play(message).map { [$0] } ?? []
            case .messages(let messages):
                failures += await withTaskGroup(of: ConversationOutcome.Failure?.self) { group in
                    for message in messages { group.addTask { await stage.play(message) } }
                    return await group.reduce(into: []) { if let failure = $1 { $0.append(failure) } }
                }
            case .resend(let user): failures += await stage.resend(user, step).map { [$0] } ?? []
            case .reconnect: stage.reconnect()
            case .advance(let duration): stage.advance(duration)
            }
        }
        return ConversationOutcome(conversation: conversation, failures: failures)
    }
}

/// A conversation being played.
private final class Stage: Sendable {
    private struct State {
        var seqs: [String: UInt64] = [:]
        var last: [String: (message: RecordedConversation.Message, reply: Reply)] = [:]
        var turns: TurnTaker?
    }

    private let domain: Domain
    private let hasBackend: Bool
    private let store: MemoryStore
    private let recognizer = RecordedRecognizer()
    private let state = Mutex(State())
    private let clock: Clock

    /// The time that the stage's store and turns see.
    private final class Clock: Sendable {
        let now: Mutex<Timestamp>
        let sessions = Mutex(0)
        init(_ now: Timestamp) { self.now = Mutex(now) }
    }

    init(domain: Domain, conversation: RecordedConversation) {
        self.domain = domain
        hasBackend = conversation.hasBackend
        let clock = Clock(conversation.start)
        self.clock = clock
        store = MemoryStore(now: { clock.now.withLock { $0 } })
        reconnect()
    }

    func reconnect() {
        let clock = clock
        let environment = TurnEnvironment(
            now: { clock.now.withLock { $0 } },
            newSessionID: {
                clock.sessions.withLock {
                    $0 += 1
                    return "session-\($0)"
                }
            })
        let turns = TurnTaker(domain: domain, store: store, recognizer: recognizer, environment: environment)
        state.withLock { $0.turns = turns }
    }

    func advance(_ duration: Duration) { clock.now.withLock { $0 = $0.advanced(by: duration) } }

    /// - Returns: What was not as expected.
    func play(_ message: RecordedConversation.Message) async -> ConversationOutcome.Failure? {
        recognizer.expect(message)
        let seq = state.withLock { state in
            state.seqs[message.user, default: 0] += 1
            return state.seqs[message.user] ?? 1
        }
        do throws(ConversationError) {
            let uid = try UserID("user-\(message.user)")
            var called: [String] = []
            let reply = try await hasBackend ? answerWithBackend(message, uid, seq, &called) : answer(message, uid, seq)
            state.withLock { $0.last[message.user] = (message, reply) }
            return await compare(reply, message.expectation, line: message.line, text: message.text, called: called)
        } catch {
            return .init(line: message.line, message: message.text, reply: "", differences: ["\(error)"])
        }
    }

    func resend(_ user: String, _ step: RecordedConversation.Step) async -> ConversationOutcome.Failure? {
        guard let (message, first) = state.withLock({ $0.last[user] }) else {
            return .init(line: step.line, message: "resend", reply: "", differences: ["nothing was sent before"])
        }
        do throws(ConversationError) {
            let again = try await answer(message, first.uid, first.seq)
            var failure = await compare(again, step.expectation, line: step.line, text: message.text, called: [])
            var same = again
            same.replayed = first.replayed
            if same != first || !again.replayed {
                let difference = "the reply sent again must be the one sent before"
                failure = failure ?? .init(line: step.line, message: message.text, reply: again.text, differences: [])
                failure?.differences.append(difference)
            }
            return failure
        } catch {
            return .init(line: step.line, message: message.text, reply: "", differences: ["\(error)"])
        }
    }

    private func answer(_ message: RecordedConversation.Message, _ uid: UserID, _ seq: UInt64) async throws(ConversationError) -> Reply {
        guard let turns = state.withLock({ $0.turns }) else { throw ConversationError(.internalError, "no connection") }
        return try await turns.reply(to: Message(uid: uid, query: Utterance(message.text), seq: seq), deadline: nil)
    }

    /// Takes the turn with the results that are recorded for it.
    private func answerWithBackend(
        _ message: RecordedConversation.Message, _ uid: UserID, _ seq: UInt64, _ called: inout [String]
    ) async throws(ConversationError) -> Reply {
        let loaded = try await store.load(uid, deadline: nil)
        let now = clock.now.withLock { $0 }
        let session = loaded?.session ?? domain.newSession(uid: uid, id: "session-\(uid.string)", now: now)
        var results: [ActionResult] = []
        var decision: Decision
        repeat {
            decision = domain.decide(
                session, query: try Utterance(message.text), seq: seq, recognition: message.recognition, now: now, results: results)
            guard let call = decision.action else { break }
            called.append(call.name)
            results.append(results.count < message.results.count ? message.results[results.count] : .unavailable)
        } while called.count < 10
        var after = decision.session
        let position = after.answered.insert(seq)
        let reply = Reply(
            uid: uid, seq: seq, text: decision.text, source: decision.source,
            recognition: message.recognition.flatMap { RecognitionSummary($0) },
            session: SessionSnapshot(after, timeLeft: after.timeToLive), degradedParts: decision.degradedParts)
        _ = try await store.commit(
            SessionCommit(session: after, reply: reply, position: position), expected: loaded?.version, deadline: nil)
        return reply
    }

    // MARK: Comparing

    private func compare(
        _ reply: Reply, _ expected: RecordedConversation.Expectation, line: Int, text: String, called: [String]
    ) async -> ConversationOutcome.Failure? {
        var differences: [String] = []
        func check<T: Equatable>(_ name: String, _ wanted: T?, _ found: T) {
            guard let wanted, wanted != found else { return }
            differences.append("\(name): \(shown(wanted)) was expected, and it is \(shown(found))")
        }
        check("intent", expected.intent, reply.recognition?.intent.name ?? "")
        check("flow", expected.flow, reply.session.flow ?? "")
        check("awaiting", expected.awaiting, reply.session.awaiting.testName)
        check("source", expected.source, "\(reply.source)")
        check("suspended", expected.suspended, reply.session.suspendedFlows)
        check("handed_off", expected.handedOff, reply.session.handedOff)
        check("degraded", expected.degraded, !reply.degradedParts.isEmpty)
        check("replayed", expected.replayed, reply.replayed)
        check("turns", expected.turns, Int(reply.session.turns))
        check("actions", expected.actions, called)
        if let wanted = expected.misunderstood, let session = (try? await store.load(reply.uid, deadline: nil))?.session {
            check("misunderstood", wanted, session.misunderstood)
        }
        for (name, value) in expected.slots {
            let slot = reply.session.slots.first { $0.name == name }
            if slot?.value == value, slot?.normalized != value { continue }
            check("slot \(name)", value, slot?.normalized ?? "none")
        }
        for text in expected.says where !reply.text.contains(text) { differences.append("the reply must say '\(text)'") }
        for text in expected.silentOn where reply.text.contains(text) { differences.append("the reply must not say '\(text)'") }
        if reply.text.isEmpty || reply.text.contains("{{") { differences.append("the reply is no text") }
        return differences.isEmpty ? nil : .init(line: line, message: text, reply: reply.text, differences: differences)
    }

    private func shown(_ value: some Equatable) -> String {
        let text = "\(value)"
        return text.isEmpty ? "none" : text
    }
}

/// Recognises what is recorded for a text.
private final class RecordedRecognizer: Recognizer {
    private let recorded = Mutex<[String: Recognition?]>([:])

    func expect(_ message: RecordedConversation.Message) {
        recorded.withLock { $0[message.text] = .some(message.recognition) }
    }

    func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        guard let recognition = recorded.withLock({ $0[utterance.text] ?? nil }) else {
            throw ConversationError(.unavailable, "the recogniser is out of reach")
        }
        return recognition
    }
}
