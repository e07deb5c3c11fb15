import CProtos
public import Conversation
import ProtobufC

/// The messages of `kefu.dialogue.v1`.
public enum DialogueCodec {
    /// A message as it came in: what can be said of it even where it is not valid.
    public struct Incoming: Sendable {
        /// The uid; empty where it is not valid text.
        public var uid: String
        /// The seq; 0: the client gave none.
        public var seq: UInt64
        /// The message, or what is wrong with it.
        public var message: Result<Message, ConversationError>
    }

    // MARK: Requests

    /// Reads a `ReplyRequest`.
    public static func replyRequest(decoding bytes: [UInt8]) -> Incoming {
        do throws(ConversationError) {
            return try reading(
                "kefu.dialogue.v1.ReplyRequest", bytes, unpack: kefu__dialogue__v1__reply_request__unpack,
                free: kefu__dialogue__v1__reply_request__free_unpacked
            ) { request throws(ConversationError) in
                let message = Result { () throws(ConversationError) in
                    Message(
                        uid: try UserID(text(request.uid, "uid")), query: try Utterance(text(request.query, "query")),
                        seq: request.seq == 0 ? nil : request.seq)
                }
                return Incoming(uid: (try? text(request.uid, "uid")) ?? "", seq: request.seq, message: message)
            }
        } catch {
            return Incoming(uid: "", seq: 0, message: .failure(error))
        }
    }

    /// Writes a `ReplyRequest`.
    public static func replyRequest(_ message: Message) -> [UInt8] {
        packed(
            kefu__dialogue__v1__reply_request__init, size: kefu__dialogue__v1__reply_request__get_packed_size,
            pack: kefu__dialogue__v1__reply_request__pack
        ) { request, arena in
            request.uid = arena.text(message.uid.string)
            request.query = arena.text(message.query.text)
            request.seq = message.seq ?? 0
        }
    }

    /// Reads a `GetSessionRequest`.
    public static func getSessionRequest(decoding bytes: [UInt8]) throws(ConversationError) -> UserID {
        try reading(
            "kefu.dialogue.v1.GetSessionRequest", bytes, unpack: kefu__dialogue__v1__get_session_request__unpack,
            free: kefu__dialogue__v1__get_session_request__free_unpacked
        ) { request throws(ConversationError) in try UserID(text(request.uid, "uid")) }
    }

    /// Writes a `GetSessionRequest`.
    public static func getSessionRequest(_ uid: UserID) -> [UInt8] {
        packed(
            kefu__dialogue__v1__get_session_request__init, size: kefu__dialogue__v1__get_session_request__get_packed_size,
            pack: kefu__dialogue__v1__get_session_request__pack
        ) { request, arena in request.uid = arena.text(uid.string) }
    }

    /// Reads an `EndSessionRequest`.
    public static func endSessionRequest(decoding bytes: [UInt8]) throws(ConversationError) -> UserID {
        try reading(
            "kefu.dialogue.v1.EndSessionRequest", bytes, unpack: kefu__dialogue__v1__end_session_request__unpack,
            free: kefu__dialogue__v1__end_session_request__free_unpacked
        ) { request throws(ConversationError) in try UserID(text(request.uid, "uid")) }
    }

    /// Writes an `EndSessionRequest`.
    public static func endSessionRequest(_ uid: UserID) -> [UInt8] {
        packed(
            kefu__dialogue__v1__end_session_request__init, size: kefu__dialogue__v1__end_session_request__get_packed_size,
            pack: kefu__dialogue__v1__end_session_request__pack
        ) { request, arena in request.uid = arena.text(uid.string) }
    }

    // MARK: Responses

    /// Writes a `ReplyResponse`.
    public static func replyResponse(_ reply: Reply) -> [UInt8] {
        packed(
            kefu__dialogue__v1__reply_response__init, size: kefu__dialogue__v1__reply_response__get_packed_size,
            pack: kefu__dialogue__v1__reply_response__pack
        ) { response, arena in
            response.uid = arena.text(reply.uid.string)
            response.seq = reply.seq
            response.reply = arena.text(reply.text)
            response.source = wire(reply.source)
            if let recognition = reply.recognition { response.recognition = arena.message(wire(recognition, &arena)) }
            response.session = arena.message(wire(reply.session, &arena))
            response.replayed = reply.replayed ? 1 : 0
            response.degraded = reply.degradedParts.isEmpty ? 0 : 1
            response.n_degraded_parts = reply.degradedParts.count
            response.degraded_parts = arena.texts(reply.degradedParts)
            response.n_agent_messages = reply.agentMessages.count
            response.agent_messages = arena.messages(reply.agentMessages, wire)
        }
    }

    /// Writes the `ReplyResponse` that tells on a stream why a message was not answered.
    public static func replyResponse(uid: String, seq: UInt64, failure: ConversationError, code: Int) -> [UInt8] {
        packed(
            kefu__dialogue__v1__reply_response__init, size: kefu__dialogue__v1__reply_response__get_packed_size,
            pack: kefu__dialogue__v1__reply_response__pack
        ) { response, arena in
            response.uid = arena.text(uid)
            response.seq = seq
            var error: Kefu__Dialogue__V1__Error = initial(kefu__dialogue__v1__error__init)
            error.code = Int32(clamping: code)
            error.message = arena.text(failure.message)
            error.retry_after_ms =
                failure.retryAfter.map { $0.components.seconds * 1000 + $0.components.attoseconds / 1_000_000_000_000_000 } ?? 0
            response.error = arena.message(error)
        }
    }

    /// Writes the `ReplyResponse` that brings what agents said without a message of the customer.
    public static func replyResponse(uid: UserID, agentMessages: [AgentMessage]) -> [UInt8] {
        packed(
            kefu__dialogue__v1__reply_response__init, size: kefu__dialogue__v1__reply_response__get_packed_size,
            pack: kefu__dialogue__v1__reply_response__pack
        ) { response, arena in
            response.uid = arena.text(uid.string)
            response.source = wire(.handoff)
            response.n_agent_messages = agentMessages.count
            response.agent_messages = arena.messages(agentMessages, wire)
        }
    }

    /// What a `ReplyResponse` holds.
    public enum Response: Sendable, Hashable {
        /// The message was answered.
        case reply(Reply)
        /// Agents said something, and no message is answered.
        case agents(uid: String, messages: [AgentMessage])
        /// The message failed, and the stream goes on: the google.rpc.Code, the message, and when trying again makes sense, where that is known.
        case failure(uid: String, seq: UInt64, code: Int, message: String, retryAfter: Duration?)
    }

    /// Reads a `ReplyResponse`.
    public static func replyResponse(decoding bytes: [UInt8]) throws(ConversationError) -> Response {
        try reading(
            "kefu.dialogue.v1.ReplyResponse", bytes, unpack: kefu__dialogue__v1__reply_response__unpack,
            free: kefu__dialogue__v1__reply_response__free_unpacked
        ) { response throws(ConversationError) in
            let uid = try text(response.uid, "uid")
            if let error = response.error?.pointee {
                return .failure(
                    uid: uid, seq: response.seq, code: Int(error.code), message: try text(error.message, "error.message"),
                    retryAfter: error.retry_after_ms > 0 ? .milliseconds(error.retry_after_ms) : nil)
            }
            let agentMessages = try each(response.agent_messages, response.n_agent_messages, agentMessage)
            guard let wireSession = response.session?.pointee else {
                if response.seq == 0, !agentMessages.isEmpty { return .agents(uid: uid, messages: agentMessages) }
                throw ConversationError(.internalError, "a ReplyResponse without session and without error")
            }
            var recognition: RecognitionSummary?
            if let wireRecognition = response.recognition?.pointee { recognition = try summary(wireRecognition) }
            return .reply(
                Reply(
                    uid: try UserID(uid), seq: response.seq, text: try text(response.reply, "reply"), source: source(response.source),
                    recognition: recognition, session: try snapshot(wireSession), replayed: response.replayed != 0,
                    degradedParts: try texts(response.degraded_parts, response.n_degraded_parts, "degraded_parts"),
                    agentMessages: agentMessages))
        }
    }

    /// Writes a `Session`.
    public static func session(_ snapshot: SessionSnapshot) -> [UInt8] {
        packed(
            kefu__dialogue__v1__session__init, size: kefu__dialogue__v1__session__get_packed_size,
            pack: kefu__dialogue__v1__session__pack
        ) { session, arena in session = wire(snapshot, &arena) }
    }

    /// Reads a `Session`.
    public static func session(decoding bytes: [UInt8]) throws(ConversationError) -> SessionSnapshot {
        try reading(
            "kefu.dialogue.v1.Session", bytes, unpack: kefu__dialogue__v1__session__unpack,
            free: kefu__dialogue__v1__session__free_unpacked, snapshot)
    }

    /// Writes an `EndSessionResponse`.
    public static func endSessionResponse(existed: Bool) -> [UInt8] {
        packed(
            kefu__dialogue__v1__end_session_response__init, size: kefu__dialogue__v1__end_session_response__get_packed_size,
            pack: kefu__dialogue__v1__end_session_response__pack
        ) { response, _ in response.existed = existed ? 1 : 0 }
    }

    /// Reads an `EndSessionResponse`: whether there was a session.
    public static func endSessionResponse(decoding bytes: [UInt8]) throws(ConversationError) -> Bool {
        try reading(
            "kefu.dialogue.v1.EndSessionResponse", bytes, unpack: kefu__dialogue__v1__end_session_response__unpack,
            free: kefu__dialogue__v1__end_session_response__free_unpacked
        ) { response in response.existed != 0 }
    }
}

// MARK: Parts

private func wire(_ summary: RecognitionSummary, _ arena: inout Arena) -> Kefu__Dialogue__V1__Recognition {
    var message: Kefu__Dialogue__V1__Recognition = initial(kefu__dialogue__v1__recognition__init)
    message.intent = arena.text(summary.intent.name)
    message.confidence = summary.intent.confidence
    message.n_slots = summary.slots.count
    message.slots = arena.messages(summary.slots, wire)
    message.model = arena.text(summary.model)
    message.variant = arena.text(summary.variant)
    return message
}

private func summary(_ message: Kefu__Dialogue__V1__Recognition) throws(ConversationError) -> RecognitionSummary {
    RecognitionSummary(
        intent: Intent(
            name: try text(message.intent, "recognition.intent"), confidence: try finite(message.confidence, "recognition.confidence")),
        slots: try each(message.slots, message.n_slots, slotValue), model: try text(message.model, "recognition.model"),
        variant: try text(message.variant, "recognition.variant"))
}

private func wire(_ slot: SlotValue, _ arena: inout Arena) -> Kefu__Dialogue__V1__SlotValue {
    var message: Kefu__Dialogue__V1__SlotValue = initial(kefu__dialogue__v1__slot_value__init)
    message.name = arena.text(slot.name)
    message.value = arena.text(slot.value)
    message.normalized = arena.text(slot.normalized)
    return message
}

private func slotValue(_ message: Kefu__Dialogue__V1__SlotValue) throws(ConversationError) -> SlotValue {
    SlotValue(
        name: try text(message.name, "slot.name"), value: try text(message.value, "slot.value"),
        normalized: try text(message.normalized, "slot.normalized"))
}

private func wire(_ snapshot: SessionSnapshot, _ arena: inout Arena) -> Kefu__Dialogue__V1__Session {
    var message: Kefu__Dialogue__V1__Session = initial(kefu__dialogue__v1__session__init)
    message.uid = arena.text(snapshot.uid.string)
    message.turns = snapshot.turns
    message.last_seq = snapshot.lastSeq
    message.n_slots = snapshot.slots.count
    message.slots = arena.messages(snapshot.slots, wire)
    message.flow = arena.text(snapshot.flow ?? "")
    message.awaiting = arena.text(snapshot.awaiting.wireName)
    message.n_history = snapshot.history.count
    message.history = arena.messages(snapshot.history, wire)
    message.handed_off = snapshot.handedOff ? 1 : 0
    message.started_at_ms = snapshot.startedAt.milliseconds
    message.updated_at_ms = snapshot.updatedAt.milliseconds
    message.ttl_seconds = UInt32(clamping: snapshot.timeLeft.components.seconds)
    message.n_suspended_flows = snapshot.suspendedFlows.count
    message.suspended_flows = arena.texts(snapshot.suspendedFlows)
    return message
}

private func snapshot(_ message: Kefu__Dialogue__V1__Session) throws(ConversationError) -> SessionSnapshot {
    let flow = try text(message.flow, "session.flow")
    return SessionSnapshot(
        uid: try UserID(text(message.uid, "session.uid")), turns: message.turns, lastSeq: message.last_seq,
        slots: try each(message.slots, message.n_slots, slotValue), flow: flow.isEmpty ? nil : flow,
        suspendedFlows: try texts(message.suspended_flows, message.n_suspended_flows, "session.suspended_flows"),
        awaiting: Awaiting(wireName: try text(message.awaiting, "session.awaiting")),
        history: try each(message.history, message.n_history, turn), handedOff: message.handed_off != 0,
        startedAt: Timestamp(milliseconds: message.started_at_ms), updatedAt: Timestamp(milliseconds: message.updated_at_ms),
        timeLeft: .seconds(message.ttl_seconds))
}

private func wire(_ turn: Turn, _ arena: inout Arena) -> Kefu__Dialogue__V1__Turn {
    var message: Kefu__Dialogue__V1__Turn = initial(kefu__dialogue__v1__turn__init)
    message.seq = turn.seq
    message.intent = arena.text(turn.intent)
    message.confidence = turn.confidence
    message.at_ms = turn.at.milliseconds
    message.source = wire(turn.source)
    return message
}

private func turn(_ message: Kefu__Dialogue__V1__Turn) throws(ConversationError) -> Turn {
    Turn(
        seq: message.seq, intent: try text(message.intent, "turn.intent"), confidence: try finite(message.confidence, "turn.confidence"),
        at: Timestamp(milliseconds: message.at_ms), source: source(message.source))
}

func wire(_ message: AgentMessage, _ arena: inout Arena) -> Kefu__Dialogue__V1__AgentMessage {
    var wire: Kefu__Dialogue__V1__AgentMessage = initial(kefu__dialogue__v1__agent_message__init)
    wire.id = arena.text(message.id)
    wire.agent = arena.text(message.agent)
    wire.text = arena.text(message.text)
    wire.at_ms = message.at.milliseconds
    return wire
}

func agentMessage(_ message: Kefu__Dialogue__V1__AgentMessage) throws(ConversationError) -> AgentMessage {
    AgentMessage(
        id: try text(message.id, "agent_message.id"), agent: try text(message.agent, "agent_message.agent"),
        text: try text(message.text, "agent_message.text"), at: Timestamp(milliseconds: message.at_ms))
}

func wire(_ source: ReplySource) -> Kefu__Dialogue__V1__ReplySource {
    switch source {
    case .template: KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_TEMPLATE
    case .rule: KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_RULE
    case .chitchat: KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_CHITCHAT
    case .fallback: KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_FALLBACK
    case .handoff: KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_HANDOFF
    }
}

/// A source that this version does not know reads as a template's.
func source(_ source: Kefu__Dialogue__V1__ReplySource) -> ReplySource {
    switch source {
    case KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_RULE: .rule
    case KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_CHITCHAT: .chitchat
    case KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_FALLBACK: .fallback
    case KEFU__DIALOGUE__V1__REPLY_SOURCE__REPLY_SOURCE_HANDOFF: .handoff
    default: .template
    }
}

extension Awaiting {
    /// The contract's word for it: a slot's name, `confirm`, or empty. The offer of a person wants a yes or no as well.
    public var wireName: String {
        switch self {
        case .nothing: ""
        case .slot(let name): name
        case .confirmation, .handoff: "confirm"
        }
    }

    init(wireName: String) {
        switch wireName {
        case "": self = .nothing
        case "confirm": self = .confirmation
        default: self = .slot(wireName)
        }
    }
}
