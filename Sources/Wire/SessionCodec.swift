import CProtos
public import Conversation
import ProtobufC

/// The form in which a session is kept: `kefu.store.v1.SessionState`. The user's id is the key, so it is not in it.
public enum SessionCodec {
    /// Writes a session.
    public static func state(_ session: Session) -> [UInt8] {
        packed(
            kefu__store__v1__session_state__init, size: kefu__store__v1__session_state__get_packed_size,
            pack: kefu__store__v1__session_state__pack
        ) { message, arena in
            message.id = arena.text(session.id)
            message.turns = session.turns
            message.last_seq = session.lastSeq
            message.n_slots = session.slots.count
            message.slots = arena.messages(session.slots.values.sorted { $0.name < $1.name }, wire)
            message.n_flows = session.flows.count
            message.flows = arena.messages(session.flows, wire)
            message.awaiting = arena.text(session.awaiting == .handoff ? offer : session.awaiting.wireName)
            message.n_history = session.history.count
            message.history = arena.messages(session.history, wire)
            message.handed_off = session.handedOff ? 1 : 0
            message.started_at_ms = session.startedAt.milliseconds
            message.updated_at_ms = session.updatedAt.milliseconds
            message.n_answered_seqs = session.answered.ring.count
            message.answered_seqs = arena.values(session.answered.ring)
            message.forgotten_seq = session.answered.forgotten
            message.misunderstood = UInt32(clamping: session.misunderstood)
            message.n_rule_counts = session.ruleCounts.count
            message.rule_counts = arena.messages(session.ruleCounts.sorted { $0.key < $1.key }, wire)
            message.ttl_seconds = UInt32(clamping: session.timeToLive.components.seconds)
            message.domain_version = arena.text(session.domainVersion)
            message.n_alternatives = session.alternatives.count
            message.alternatives = arena.texts(session.alternatives)
            message.n_rivals = session.rivals.count
            message.rivals = arena.messages(session.rivals, wire)
            message.last_message = session.lastMessage
            message.repeats = UInt32(clamping: session.repeats)
        }
    }

    /// Reads the session of `uid`.
    public static func session(decoding bytes: [UInt8], uid: UserID) throws(ConversationError) -> Session {
        try reading(
            "kefu.store.v1.SessionState", bytes, unpack: kefu__store__v1__session_state__unpack,
            free: kefu__store__v1__session_state__free_unpacked
        ) { message throws(ConversationError) in
            var session = Session(
                uid: uid, id: try text(message.id, "id"), startedAt: Timestamp(milliseconds: message.started_at_ms),
                timeToLive: .seconds(message.ttl_seconds))
            session.turns = message.turns
            session.lastSeq = message.last_seq
            for slot in try each(message.slots, message.n_slots, slot) { session.slots[slot.name] = slot }
            session.flows = try each(message.flows, message.n_flows, flow)
            let awaiting = try text(message.awaiting, "awaiting")
            session.awaiting = awaiting == offer ? .handoff : Awaiting(wireName: awaiting)
            session.history = try each(message.history, message.n_history, turn)
            session.handedOff = message.handed_off != 0
            session.updatedAt = Timestamp(milliseconds: message.updated_at_ms)
            let ring = Array(UnsafeBufferPointer(start: message.answered_seqs, count: message.n_answered_seqs))
            session.answered = AnsweredSequence(ring: ring, forgotten: message.forgotten_seq)
            session.misunderstood = Int(message.misunderstood)
            for count in try each(message.rule_counts, message.n_rule_counts, count) { session.ruleCounts[count.0] = count.1 }
            session.domainVersion = try text(message.domain_version, "domain_version")
            session.alternatives = try texts(message.alternatives, message.n_alternatives, "alternatives")
            session.rivals = try each(message.rivals, message.n_rivals, slot)
            session.lastMessage = message.last_message
            session.repeats = Int(message.repeats)
            return session
        }
    }
}

/// How the offer of a person is stored; a domain has no slot of that name.
private let offer = "handoff"

private func wire(_ slot: SlotValue, _ arena: inout Arena) -> Kefu__Store__V1__Slot {
    var message: Kefu__Store__V1__Slot = initial(kefu__store__v1__slot__init)
    message.name = arena.text(slot.name)
    message.value = arena.text(slot.value)
    message.normalized = arena.text(slot.normalized)
    return message
}

private func slot(_ message: Kefu__Store__V1__Slot) throws(ConversationError) -> SlotValue {
    SlotValue(
        name: try text(message.name, "slot.name"), value: try text(message.value, "slot.value"),
        normalized: try text(message.normalized, "slot.normalized"))
}

private func wire(_ flow: FlowInProgress, _ arena: inout Arena) -> Kefu__Store__V1__Flow {
    var message: Kefu__Store__V1__Flow = initial(kefu__store__v1__flow__init)
    message.name = arena.text(flow.name)
    message.n_asked = flow.asked.count
    message.asked = arena.texts(flow.asked)
    return message
}

private func flow(_ message: Kefu__Store__V1__Flow) throws(ConversationError) -> FlowInProgress {
    FlowInProgress(name: try text(message.name, "flow.name"), asked: try texts(message.asked, message.n_asked, "flow.asked"))
}

private func wire(_ turn: Turn, _ arena: inout Arena) -> Kefu__Store__V1__Turn {
    var message: Kefu__Store__V1__Turn = initial(kefu__store__v1__turn__init)
    message.seq = turn.seq
    message.intent = arena.text(turn.intent)
    message.confidence = turn.confidence
    message.at_ms = turn.at.milliseconds
    message.source = wire(turn.source).rawValue
    return message
}

private func turn(_ message: Kefu__Store__V1__Turn) throws(ConversationError) -> Turn {
    Turn(
        seq: message.seq, intent: try text(message.intent, "turn.intent"), confidence: try finite(message.confidence, "turn.confidence"),
        at: Timestamp(milliseconds: message.at_ms), source: source(Kefu__Dialogue__V1__ReplySource(rawValue: message.source)))
}

private func wire(_ count: (key: String, value: Int), _ arena: inout Arena) -> Kefu__Store__V1__Count {
    var message: Kefu__Store__V1__Count = initial(kefu__store__v1__count__init)
    message.name = arena.text(count.key)
    message.count = UInt32(clamping: count.value)
    return message
}

private func count(_ message: Kefu__Store__V1__Count) throws(ConversationError) -> (String, Int) {
    (try text(message.name, "count.name"), Int(message.count))
}
