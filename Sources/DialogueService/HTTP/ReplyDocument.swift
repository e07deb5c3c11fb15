import Conversation
import Wire

/// A reply in JSON: the fields of `kefu.dialogue.v1.ReplyResponse` by their names there. Numbers are numbers, those of 64 bits too.
struct ReplyDocument: Encodable {
    struct Slot: Encodable {
        var name: String
        var value: String
        var normalized: String

        init(_ slot: SlotValue) {
            name = slot.name
            value = slot.value
            normalized = slot.normalized
        }
    }

    struct Recognition: Encodable {
        var intent: String
        var confidence: Float
        var slots: [Slot]
        var model: String
        /// Of the running experiment; empty: none.
        var variant: String
    }

    struct AgentMessage: Encodable {
        var id: String
        var agent: String
        var text: String
        var atMs: Int64

        enum CodingKeys: String, CodingKey {
            case id, agent, text
            case atMs = "at_ms"
        }
    }

    var uid: String
    var seq: UInt64
    var reply: String
    var source: String
    /// null: recognition was out of reach.
    var recognition: Recognition?
    var session: SessionDocument
    var replayed: Bool
    var degraded: Bool
    var degradedParts: [String]
    var agentMessages: [AgentMessage]

    enum CodingKeys: String, CodingKey {
        case uid, seq, reply, source, recognition, session, replayed, degraded
        case degradedParts = "degraded_parts"
        case agentMessages = "agent_messages"
    }

    init(_ reply: Reply) {
        uid = reply.uid.string
        seq = reply.seq
        self.reply = reply.text
        source = reply.source.contractName
        recognition = reply.recognition.map {
            Recognition(
                intent: $0.intent.name, confidence: $0.intent.confidence, slots: $0.slots.map(Slot.init), model: $0.model,
                variant: $0.variant)
        }
        session = SessionDocument(reply.session)
        replayed = reply.replayed
        degraded = !reply.degradedParts.isEmpty
        degradedParts = reply.degradedParts
        agentMessages = reply.agentMessages.map {
            AgentMessage(id: $0.id, agent: $0.agent, text: $0.text, atMs: $0.at.milliseconds)
        }
    }
}

/// A session in JSON: the fields of `kefu.dialogue.v1.Session`.
struct SessionDocument: Encodable {
    struct Turn: Encodable {
        var seq: UInt64
        var intent: String
        var confidence: Float
        var atMs: Int64
        var source: String

        enum CodingKeys: String, CodingKey {
            case seq, intent, confidence, source
            case atMs = "at_ms"
        }
    }

    var uid: String
    var turns: UInt64
    var lastSeq: UInt64
    var slots: [ReplyDocument.Slot]
    var flow: String
    var awaiting: String
    var history: [Turn]
    var handedOff: Bool
    var startedAtMs: Int64
    var updatedAtMs: Int64
    var ttlSeconds: Int64
    var suspendedFlows: [String]

    enum CodingKeys: String, CodingKey {
        case uid, turns, slots, flow, awaiting, history
        case lastSeq = "last_seq"
        case handedOff = "handed_off"
        case startedAtMs = "started_at_ms"
        case updatedAtMs = "updated_at_ms"
        case ttlSeconds = "ttl_seconds"
        case suspendedFlows = "suspended_flows"
    }

    init(_ session: SessionSnapshot) {
        uid = session.uid.string
        turns = session.turns
        lastSeq = session.lastSeq
        slots = session.slots.map(ReplyDocument.Slot.init)
        flow = session.flow ?? ""
        awaiting = session.awaiting.wireName
        history = session.history.map {
            Turn(seq: $0.seq, intent: $0.intent, confidence: $0.confidence, atMs: $0.at.milliseconds, source: $0.source.contractName)
        }
        handedOff = session.handedOff
        startedAtMs = session.startedAt.milliseconds
        updatedAtMs = session.updatedAt.milliseconds
        ttlSeconds = session.timeLeft.components.seconds
        suspendedFlows = session.suspendedFlows
    }
}

extension ReplySource {
    /// The name of the contract's enumeration.
    var contractName: String { "REPLY_SOURCE_\(label.uppercased())" }
}
