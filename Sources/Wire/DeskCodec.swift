import CProtos
public import Conversation
import ProtobufC

/// What the store keeps beside a session: the messages of `desk.proto`.
public enum DeskCodec {
    /// Writes a `Query`.
    public static func query(_ text: String, seq: UInt64) -> [UInt8] {
        packed(kefu__store__v1__query__init, size: kefu__store__v1__query__get_packed_size, pack: kefu__store__v1__query__pack) {
            message, arena in
            message.seq = seq
            message.text = arena.text(text)
        }
    }

    /// Reads a `Query`.
    public static func query(decoding bytes: [UInt8]) throws(ConversationError) -> (seq: UInt64, text: String) {
        try reading(
            "kefu.store.v1.Query", bytes, unpack: kefu__store__v1__query__unpack, free: kefu__store__v1__query__free_unpacked
        ) { message throws(ConversationError) in (message.seq, try text(message.text, "text")) }
    }

    /// Writes a `Recent`.
    public static func recent(_ lines: [String]) -> [UInt8] {
        packed(kefu__store__v1__recent__init, size: kefu__store__v1__recent__get_packed_size, pack: kefu__store__v1__recent__pack) {
            message, arena in
            message.n_lines = lines.count
            message.lines = arena.texts(lines)
        }
    }

    /// Reads a `Recent`.
    public static func recent(decoding bytes: [UInt8]) throws(ConversationError) -> [String] {
        try reading(
            "kefu.store.v1.Recent", bytes, unpack: kefu__store__v1__recent__unpack, free: kefu__store__v1__recent__free_unpacked
        ) { message throws(ConversationError) in try texts(message.lines, message.n_lines, "lines") }
    }

    /// Writes an `Outbox` of one message; what was written one after the other is read as one.
    ///
    /// - Parameter sealed: The text, encrypted: it stands in place of the text.
    public static func outbox(_ message: AgentMessage, sealed: [UInt8]? = nil) -> [UInt8] {
        packed(kefu__store__v1__outbox__init, size: kefu__store__v1__outbox__get_packed_size, pack: kefu__store__v1__outbox__pack) {
            outbox, arena in
            outbox.n_messages = 1
            outbox.messages = arena.messages([message]) { message, arena in
                var wire: Kefu__Store__V1__AgentMessage = initial(kefu__store__v1__agent_message__init)
                wire.id = arena.text(message.id)
                wire.agent = arena.text(message.agent)
                if let sealed { wire.sealed_text = arena.bytes(sealed) } else { wire.text = arena.text(message.text) }
                wire.at_ms = message.at.milliseconds
                return wire
            }
        }
    }

    /// Reads an `Outbox`.
    ///
    /// - Parameter open: Decrypts a text that was encrypted.
    public static func outbox(
        decoding bytes: [UInt8], opening open: ([UInt8]) throws(ConversationError) -> [UInt8]
    ) throws(ConversationError) -> [AgentMessage] {
        try reading(
            "kefu.store.v1.Outbox", bytes, unpack: kefu__store__v1__outbox__unpack, free: kefu__store__v1__outbox__free_unpacked
        ) { outbox throws(ConversationError) in
            try each(outbox.messages, outbox.n_messages) { message throws(ConversationError) in
                var said = try text(message.text, "text")
                if message.sealed_text.len > 0 {
                    let sealed = Array(UnsafeBufferPointer(start: message.sealed_text.data, count: message.sealed_text.len))
                    said = try text(try open(sealed), "text")
                }
                return AgentMessage(
                    id: try text(message.id, "id"), agent: try text(message.agent, "agent"), text: said,
                    at: Timestamp(milliseconds: message.at_ms))
            }
        }
    }
}
