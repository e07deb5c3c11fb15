import CProtos
import Conversation
import ProtobufC

/// Reads the message in `bytes`.
///
/// - Throws: ``ConversationError`` with code `.invalidArgument` where `bytes` are not such a message; what `body` throws.
func reading<M, R>(
    _ name: String, _ bytes: [UInt8],
    unpack: (UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?) -> UnsafeMutablePointer<M>?,
    free: (UnsafeMutablePointer<M>?, UnsafeMutablePointer<ProtobufCAllocator>?) -> Void,
    _ body: (M) throws(ConversationError) -> R
) throws(ConversationError) -> R {
    guard let value = try withUnpacked(bytes, unpack: unpack, free: free, body) else {
        throw ConversationError(.invalidArgument, "the request is not a \(name) in protobuf's wire format")
    }
    return value
}

/// The text of a string field.
///
/// - Throws: ``ConversationError`` with code `.invalidArgument` where it is not UTF-8, or has U+0000 in it.
func text(_ data: ProtobufCBinaryData, _ field: String) throws(ConversationError) -> String {
    guard let start = data.data, data.len > 0 else { return "" }
    return try text(UnsafeBufferPointer(start: start, count: data.len), field)
}

/// The text in `bytes`, by the same rules.
func text(_ bytes: some Collection<UInt8>, _ field: String) throws(ConversationError) -> String {
    guard let string = String(validating: bytes, as: UTF8.self) else {
        throw ConversationError(.invalidArgument, "\(field) is not valid UTF-8")
    }
    guard !bytes.contains(0) else {
        throw ConversationError(.invalidArgument, "\(field) has the character U+0000 in it, which is not text")
    }
    return string
}

/// A confidence that can be compared, and written as JSON.
func finite(_ confidence: Float, _ field: String) throws(ConversationError) -> Float {
    guard confidence.isFinite else {
        throw ConversationError(.internalError, "\(field) is \(confidence); a number from 0 to 1 is expected")
    }
    return confidence
}

/// The texts of a repeated string field.
func texts(_ data: UnsafeMutablePointer<ProtobufCBinaryData>?, _ count: Int, _ field: String) throws(ConversationError) -> [String] {
    var strings: [String] = []
    guard let data else { return strings }
    strings.reserveCapacity(count)
    for index in 0..<count { strings.append(try text(data[index], field)) }
    return strings
}

/// The values of a repeated field of message type.
func each<M, R>(
    _ messages: UnsafeMutablePointer<UnsafeMutablePointer<M>?>?, _ count: Int, _ convert: (M) throws(ConversationError) -> R
) throws(ConversationError) -> [R] {
    var values: [R] = []
    guard let messages else { return values }
    values.reserveCapacity(count)
    for index in 0..<count {
        if let message = messages[index] { values.append(try convert(message.pointee)) }
    }
    return values
}
