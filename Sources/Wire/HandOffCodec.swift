import CProtos
public import Conversation
import ProtobufC

/// The messages of `kefu.handoff.v1`, as the orchestrator reads and writes them.
public enum HandOffCodec {
    /// Reads a `ListWaitingRequest`: how many are asked for.
    public static func listWaitingRequest(decoding bytes: [UInt8]) throws(ConversationError) -> Int {
        try reading(
            "kefu.handoff.v1.ListWaitingRequest", bytes, unpack: kefu__handoff__v1__list_waiting_request__unpack,
            free: kefu__handoff__v1__list_waiting_request__free_unpacked
        ) { request throws(ConversationError) in
            guard request.limit <= 200 else { throw ConversationError(.invalidArgument, "limit is \(request.limit); 0 to 200 is expected") }
            return request.limit == 0 ? 50 : Int(request.limit)
        }
    }

    /// Reads a `ClaimRequest`.
    public static func claimRequest(decoding bytes: [UInt8]) throws(ConversationError) -> (uid: UserID, agent: String, span: Duration) {
        try reading(
            "kefu.handoff.v1.ClaimRequest", bytes, unpack: kefu__handoff__v1__claim_request__unpack,
            free: kefu__handoff__v1__claim_request__free_unpacked
        ) { request throws(ConversationError) in
            let agent = try text(request.agent, "agent")
            guard 1...64 ~= agent.utf8.count else {
                throw ConversationError(.invalidArgument, "agent has \(agent.utf8.count) bytes of UTF-8; 1 to 64 are expected")
            }
            guard request.lease_seconds <= 3600 else {
                throw ConversationError(.invalidArgument, "lease_seconds is \(request.lease_seconds); 0 to 3600 is expected")
            }
            return (try UserID(text(request.uid, "uid")), agent, .seconds(request.lease_seconds == 0 ? 120 : request.lease_seconds))
        }
    }

    /// Reads an `AnswerRequest`.
    public static func answerRequest(decoding bytes: [UInt8]) throws(ConversationError) -> (
        uid: UserID, lease: String, text: String, number: UInt64
    ) {
        try reading(
            "kefu.handoff.v1.AnswerRequest", bytes, unpack: kefu__handoff__v1__answer_request__unpack,
            free: kefu__handoff__v1__answer_request__free_unpacked
        ) { request throws(ConversationError) in
            let said = try text(request.text, "text")
            let count = said.unicodeScalars.count
            guard 1...2000 ~= count else {
                throw ConversationError(.invalidArgument, "text has \(count) Unicode scalars; 1 to 2000 are expected")
            }
            // Lua counts in doubles.
            guard 1...(1 << 53) ~= request.number else {
                throw ConversationError(.invalidArgument, "number is \(request.number); 1 to 2^53 is expected")
            }
            return (try UserID(text(request.uid, "uid")), try lease(request.lease), said, request.number)
        }
    }

    /// Reads a `RenewRequest`.
    public static func renewRequest(decoding bytes: [UInt8]) throws(ConversationError) -> (uid: UserID, lease: String) {
        try reading(
            "kefu.handoff.v1.RenewRequest", bytes, unpack: kefu__handoff__v1__renew_request__unpack,
            free: kefu__handoff__v1__renew_request__free_unpacked
        ) { request throws(ConversationError) in (try UserID(text(request.uid, "uid")), try lease(request.lease)) }
    }

    /// Reads a `GiveBackRequest`.
    public static func giveBackRequest(decoding bytes: [UInt8]) throws(ConversationError) -> (uid: UserID, lease: String, endsFlows: Bool) {
        try reading(
            "kefu.handoff.v1.GiveBackRequest", bytes, unpack: kefu__handoff__v1__give_back_request__unpack,
            free: kefu__handoff__v1__give_back_request__free_unpacked
        ) { request throws(ConversationError) in
            (try UserID(text(request.uid, "uid")), try lease(request.lease), request.end_flows != 0)
        }
    }

    /// Writes a `ListWaitingResponse`.
    public static func listWaitingResponse(_ conversations: [HandedOffConversation], more: Bool) -> [UInt8] {
        packed(
            kefu__handoff__v1__list_waiting_response__init, size: kefu__handoff__v1__list_waiting_response__get_packed_size,
            pack: kefu__handoff__v1__list_waiting_response__pack
        ) { response, arena in
            response.n_conversations = conversations.count
            response.conversations = arena.messages(conversations, wire)
            response.more = more ? 1 : 0
        }
    }

    /// Writes a `ClaimResponse`.
    public static func claimResponse(lease: String, until: Timestamp, conversation: HandedOffConversation) -> [UInt8] {
        packed(
            kefu__handoff__v1__claim_response__init, size: kefu__handoff__v1__claim_response__get_packed_size,
            pack: kefu__handoff__v1__claim_response__pack
        ) { response, arena in
            response.lease = arena.text(lease)
            response.until_ms = until.milliseconds
            response.conversation = arena.message(wire(conversation, &arena))
        }
    }

    /// Writes an `AnswerResponse`.
    public static func answerResponse(until: Timestamp, wasSaid: Bool) -> [UInt8] {
        packed(
            kefu__handoff__v1__answer_response__init, size: kefu__handoff__v1__answer_response__get_packed_size,
            pack: kefu__handoff__v1__answer_response__pack
        ) { response, _ in
            response.until_ms = until.milliseconds
            response.repeated = wasSaid ? 1 : 0
        }
    }

    /// Writes a `RenewResponse`.
    public static func renewResponse(until: Timestamp, conversation: HandedOffConversation) -> [UInt8] {
        packed(
            kefu__handoff__v1__renew_response__init, size: kefu__handoff__v1__renew_response__get_packed_size,
            pack: kefu__handoff__v1__renew_response__pack
        ) { response, arena in
            response.until_ms = until.milliseconds
            response.conversation = arena.message(wire(conversation, &arena))
        }
    }

    /// Writes a `GiveBackResponse`.
    public static func giveBackResponse() -> [UInt8] { [] }

    private static func lease(_ data: ProtobufCBinaryData) throws(ConversationError) -> String {
        let lease = try text(data, "lease")
        guard 1...128 ~= lease.utf8.count else {
            throw ConversationError(.invalidArgument, "lease has \(lease.utf8.count) bytes; what Claim gave is expected")
        }
        return lease
    }

    private static func wire(_ conversation: HandedOffConversation, _ arena: inout Arena) -> Kefu__Handoff__V1__Conversation {
        var message: Kefu__Handoff__V1__Conversation = initial(kefu__handoff__v1__conversation__init)
        message.uid = arena.text(conversation.uid.string)
        message.session = arena.text(conversation.sessionID)
        message.waiting_since_ms = conversation.waitingSince.milliseconds
        message.reason = arena.text(conversation.reason)
        message.flow = arena.text(conversation.flow ?? "")
        message.flow_title = arena.text(conversation.flowTitle ?? "")
        message.n_suspended_flows = conversation.suspendedFlows.count
        message.suspended_flows = arena.texts(conversation.suspendedFlows)
        message.n_slots = conversation.slots.count
        message.slots = arena.messages(conversation.slots) { slot, arena in
            var message: Kefu__Handoff__V1__Slot = initial(kefu__handoff__v1__slot__init)
            message.name = arena.text(slot.value.name)
            message.label = arena.text(slot.label)
            message.value = arena.text(slot.value.value)
            message.normalized = arena.text(slot.value.normalized)
            return message
        }
        message.n_turns = conversation.turns.count
        message.turns = arena.messages(conversation.turns) { turn, arena in
            var message: Kefu__Handoff__V1__Exchange = initial(kefu__handoff__v1__exchange__init)
            message.seq = turn.seq
            message.query = arena.text(turn.query)
            message.reply = arena.text(turn.reply)
            message.intent = arena.text(turn.intent?.name ?? "")
            message.confidence = turn.intent?.confidence ?? 0
            message.at_ms = turn.at.milliseconds
            message.source = Wire.wire(turn.source)
            message.n_agent_messages = turn.agentMessages.count
            message.agent_messages = arena.messages(turn.agentMessages, Wire.wire)
            return message
        }
        message.n_unseen = conversation.unseen.count
        message.unseen = arena.messages(conversation.unseen, Wire.wire)
        return message
    }
}
