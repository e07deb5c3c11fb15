import CProtos
import Conversation

/// A tensor that `inference.GRPCInferenceService/ModelInfer` gives; the raw value is its name. Each has a row per utterance.
public enum InferenceOutput: String, Sendable, Hashable, CaseIterable {
    case intent
    case confidence
    case slotCount = "slot_count"
    case slotName = "slot_name"
    case slotValue = "slot_value"
    case slotNormalized = "slot_normalized"
    case slotStart = "slot_start"
    case slotEnd = "slot_end"
    case slotConfidence = "slot_confidence"
    case model
    case route

    /// The protocol's name of the elements' type.
    public var datatype: String {
        switch self {
        case .intent, .slotName, .slotValue, .slotNormalized, .model, .route: "BYTES"
        case .confidence, .slotConfidence: "FP32"
        case .slotCount, .slotStart, .slotEnd: "INT32"
        }
    }

    /// Whether it has one element a row, and not a line of them.
    var isColumn: Bool { self == .slotCount || self == .model || self == .route }
}

/// Recognitions as tensors: a row an utterance, lines filled up to the longest with empty text or 0.
struct InferenceTable {
    private let recognitions: [Recognition]
    private let intents: Int
    private let slots: Int

    init(_ recognitions: [Recognition]) {
        self.recognitions = recognitions
        intents = recognitions.map(\.intents.count).max() ?? 0
        slots = recognitions.map(\.slots.count).max() ?? 0
    }

    /// The tensor's shape.
    func shape(_ output: InferenceOutput) -> [Int64] {
        guard !output.isColumn else { return [Int64(recognitions.count)] }
        let width = output == .intent || output == .confidence ? intents : slots
        return [Int64(recognitions.count), Int64(width)]
    }

    /// The tensor's elements, row by row: numbers little-endian, texts each behind their length.
    func raw(_ output: InferenceOutput) -> [UInt8] {
        var data = RawTensor()
        for recognition in recognitions {
            switch output {
            case .intent: recognition.intents.padded(to: intents) { data.append($0?.name ?? "") }
            case .confidence: recognition.intents.padded(to: intents) { data.append($0?.confidence ?? 0) }
            case .slotCount: data.append(Int32(clamping: recognition.slots.count))
            case .slotName: recognition.slots.padded(to: slots) { data.append($0?.value.name ?? "") }
            case .slotValue: recognition.slots.padded(to: slots) { data.append($0?.value.value ?? "") }
            case .slotNormalized: recognition.slots.padded(to: slots) { data.append($0?.value.normalized ?? "") }
            case .slotStart: recognition.slots.padded(to: slots) { data.append(Int32(clamping: $0?.range.lowerBound ?? 0)) }
            case .slotEnd: recognition.slots.padded(to: slots) { data.append(Int32(clamping: $0?.range.upperBound ?? 0)) }
            case .slotConfidence: recognition.slots.padded(to: slots) { data.append($0?.confidence ?? 0) }
            case .model: data.append(recognition.model)
            case .route: data.append(recognition.route.name)
            }
        }
        return data.bytes
    }
}

extension Array {
    /// Hands over each element, and then nil up to `count` times in all.
    fileprivate func padded(to count: Int, _ body: (Element?) -> Void) {
        for element in self { body(element) }
        for _ in self.count..<Swift.max(count, self.count) { body(nil) }
    }
}

extension Route {
    fileprivate var name: String {
        switch self {
        case .model: "model"
        case .light: "light"
        case .heavy: "heavy"
        case .cache: "cache"
        }
    }
}

/// The raw form of a tensor under construction.
private struct RawTensor {
    var bytes: [UInt8] = []

    mutating func append(_ value: Int32) { append(UInt32(bitPattern: value)) }

    mutating func append(_ value: Float) { append(value.bitPattern) }

    mutating func append(_ text: String) {
        append(UInt32(clamping: text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }

    private mutating func append(_ word: UInt32) { Swift.withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) } }
}

/// Splits a raw BYTES tensor into its elements, which point into `data`.
///
/// - Throws: ``ConversationError`` with code `.invalidArgument` where it does not have just `count` elements.
func elements(_ data: ProtobufCBinaryData, count: Int, _ tensor: String) throws(ConversationError) -> [ProtobufCBinaryData] {
    let prefix = 4
    let bytes = UnsafeMutableBufferPointer(start: data.data, count: data.data == nil ? 0 : data.len)
    var elements: [ProtobufCBinaryData] = []
    elements.reserveCapacity(count)
    var position = 0
    while position < bytes.count {
        guard elements.count < count else {
            throw ConversationError(
                .invalidArgument, "the raw contents of \(tensor) go on after element \(count); its shape says \(count) elements")
        }
        guard bytes.count - position >= prefix else {
            throw ConversationError(
                .invalidArgument,
                "the raw contents of \(tensor) end with \(bytes.count - position) bytes; the length of element \(elements.count) takes \(prefix)"
            )
        }
        let length = (0..<prefix).reduce(0) { $0 | Int(bytes[position + $1]) << (8 * $1) }
        position += prefix
        guard bytes.count - position >= length else {
            throw ConversationError(
                .invalidArgument,
                "element \(elements.count) of \(tensor) says that it has \(length) bytes; \(bytes.count - position) are left")
        }
        elements.append(ProtobufCBinaryData(len: length, data: bytes.baseAddress.map { $0 + position }))
        position += length
    }
    guard elements.count == count else {
        throw ConversationError(
            .invalidArgument, "the raw contents of \(tensor) have \(elements.count) elements; its shape says \(count)")
    }
    return elements
}
