import CProtos
public import Conversation
import ProtobufC

/// What the shop's backend is asked to do, on the wire.
public struct ActionRequest: Sendable, Hashable {
    /// The action in the domain's flow.
    public var name: String
    /// The flow that needs it.
    public var flow: String
    /// The customer.
    public var uid: UserID
    /// The same call made again has the same key.
    public var idempotencyKey: String
    /// The flow's filled slots, in its order.
    public var arguments: [SlotValue]
    /// The turn's clock.
    public var now: Timestamp

    /// A request by its parts.
    public init(name: String, flow: String, uid: UserID, idempotencyKey: String, arguments: [SlotValue], now: Timestamp) {
        self.name = name
        self.flow = flow
        self.uid = uid
        self.idempotencyKey = idempotencyKey
        self.arguments = arguments
        self.now = now
    }
}

/// What the shop's backend answered, on the wire.
public struct ActionResponse: Sendable, Hashable {
    /// Why it was not done; empty: it was.
    public var refusal: String
    /// What replies may name.
    public var values: [String: String]

    /// A response by its parts.
    public init(refusal: String, values: [String: String]) {
        self.refusal = refusal
        self.values = values
    }
}

/// The messages of `kefu.actions.v1`.
public enum ActionsCodec {
    /// Writes a `PerformRequest`.
    public static func performRequest(_ request: ActionRequest) -> [UInt8] {
        packed(
            kefu__actions__v1__perform_request__init, size: kefu__actions__v1__perform_request__get_packed_size,
            pack: kefu__actions__v1__perform_request__pack
        ) { message, arena in
            message.name = arena.text(request.name)
            message.flow = arena.text(request.flow)
            message.uid = arena.text(request.uid.string)
            message.idempotency_key = arena.text(request.idempotencyKey)
            message.n_arguments = request.arguments.count
            message.arguments = arena.messages(request.arguments, wire)
            message.now_ms = request.now.milliseconds
        }
    }

    /// Reads a `PerformRequest`.
    public static func performRequest(decoding bytes: [UInt8]) throws(ConversationError) -> ActionRequest {
        try reading(
            "kefu.actions.v1.PerformRequest", bytes, unpack: kefu__actions__v1__perform_request__unpack,
            free: kefu__actions__v1__perform_request__free_unpacked
        ) { message throws(ConversationError) in
            ActionRequest(
                name: try text(message.name, "name"), flow: try text(message.flow, "flow"), uid: try UserID(text(message.uid, "uid")),
                idempotencyKey: try text(message.idempotency_key, "idempotency_key"),
                arguments: try each(message.arguments, message.n_arguments, argument), now: Timestamp(milliseconds: message.now_ms))
        }
    }

    /// Writes a `PerformResponse`.
    public static func performResponse(_ response: ActionResponse) -> [UInt8] {
        packed(
            kefu__actions__v1__perform_response__init, size: kefu__actions__v1__perform_response__get_packed_size,
            pack: kefu__actions__v1__perform_response__pack
        ) { message, arena in
            message.refusal = arena.text(response.refusal)
            message.n_values = response.values.count
            message.values = arena.messages(response.values.sorted { $0.key < $1.key }, wire)
        }
    }

    /// Reads a `PerformResponse`.
    public static func performResponse(decoding bytes: [UInt8]) throws(ConversationError) -> ActionResponse {
        try reading(
            "kefu.actions.v1.PerformResponse", bytes, unpack: kefu__actions__v1__perform_response__unpack,
            free: kefu__actions__v1__perform_response__free_unpacked
        ) { message throws(ConversationError) in
            var response = ActionResponse(refusal: try text(message.refusal, "refusal"), values: [:])
            for (name, value) in try each(message.values, message.n_values, value) { response.values[name] = value }
            return response
        }
    }
}

private func wire(_ slot: SlotValue, _ arena: inout Arena) -> Kefu__Actions__V1__Argument {
    var message: Kefu__Actions__V1__Argument = initial(kefu__actions__v1__argument__init)
    message.name = arena.text(slot.name)
    message.value = arena.text(slot.value)
    message.normalized = arena.text(slot.normalized)
    return message
}

private func argument(_ message: Kefu__Actions__V1__Argument) throws(ConversationError) -> SlotValue {
    SlotValue(
        name: try text(message.name, "argument.name"), value: try text(message.value, "argument.value"),
        normalized: try text(message.normalized, "argument.normalized"))
}

private func wire(_ entry: (key: String, value: String), _ arena: inout Arena) -> Kefu__Actions__V1__Value {
    var message: Kefu__Actions__V1__Value = initial(kefu__actions__v1__value__init)
    message.name = arena.text(entry.key)
    message.value = arena.text(entry.value)
    return message
}

private func value(_ message: Kefu__Actions__V1__Value) throws(ConversationError) -> (String, String) {
    (try text(message.name, "value.name"), try text(message.value, "value.value"))
}
