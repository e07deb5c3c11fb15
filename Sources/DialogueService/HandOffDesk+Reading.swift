public import Conversation
import Dialogue
import Redis
import Wire

extension HandOffDesk {
    /// A session as an agent reads it; nil where there is none.
    ///
    /// - Parameter masked: Whether the values of sensitive slots are masked.
    public func read(_ uid: UserID, masked: Bool, _ deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> HandedOffConversation?
    {
        let positions = 0..<AnsweredSequence.limit
        let names: [RedisBytes] =
            RedisSessionStore.sessionFields + ["since", "reason"] + positions.map { "reply:\($0)" } + positions.map { "query:\($0)" }
        let first = RedisSessionStore.sessionFields.count
        guard let values = try await store.send(["HMGET", RedisSessionStore.key(uid)] + names, deadline).array, values.count == names.count,
            let loaded = try store.session(.array(Array(values.prefix(first))), of: uid)
        else { return nil }
        let session = loaded.session
        let domain = domain()

        var replies: [UInt64: Reply] = [:]
        var queries: [UInt64: String] = [:]
        for position in positions {
            if let bytes = values[first + 2 + position].bytes, let reply = try store.reply(bytes, "reply:\(position)", uid) {
                replies[reply.seq] = reply
            }
            if let bytes = values[first + 2 + positions.count + position].bytes {
                let query = try store.stored(bytes, "query:\(position)", uid) { bytes throws(ConversationError) in
                    try DeskCodec.query(decoding: bytes)
                }
                queries[query.seq] = query.text
            }
        }
        let turns = session.history.map { turn in
            Exchange(
                seq: turn.seq, query: queries[turn.seq] ?? "", reply: replies[turn.seq]?.text ?? "",
                intent: turn.intent.isEmpty ? nil : Intent(name: turn.intent, confidence: turn.confidence), at: turn.at,
                source: turn.source,
                agentMessages: replies[turn.seq]?.agentMessages ?? [])
        }
        let slots = session.slots.values.sorted { $0.name < $1.name }.map { slot in
            var shown = slot
            if masked {
                shown.value = domain.masked(slot)
                if shown.value != slot.value { shown.normalized = shown.value }
            }
            return HandedOffConversation.Slot(value: shown, label: domain.label(ofSlot: slot.name))
        }
        let flow = session.flows.last?.name
        return HandedOffConversation(
            uid: uid, sessionID: session.id,
            waitingSince: values[first].string.flatMap { Int64($0) }.map(Timestamp.init(milliseconds:)) ?? session.updatedAt,
            reason: values[first + 1].string ?? "", flow: flow, flowTitle: flow.map(domain.title(ofFlow:)),
            suspendedFlows: session.flows.dropLast().map(\.name), slots: slots, turns: turns, unseen: loaded.outbox.messages)
    }
}
