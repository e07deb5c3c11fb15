import CProtos
import Conversation

/// The parameters of a `ModelInferRequest`: an integer, or a string of one.
struct InferenceParameters {
    private(set) var priority = Priority.interactive
    private(set) var timeout: Duration?
    private(set) var topK = RecognitionRequest.defaultTopK

    /// - Throws: ``ConversationError`` with code `.invalidArgument` where a parameter is not known, or its value is not one of it.
    init(
        _ entries: UnsafeMutablePointer<UnsafeMutablePointer<Inference__InferParameterEntry>?>?, _ count: Int
    ) throws(ConversationError) {
        guard let entries else { return }
        for index in 0..<count {
            guard let entry = entries[index]?.pointee else { continue }
            let name = try text(entry.key, "the name of a parameter")
            switch name {
            case "priority": priority = try Self.priority(entry.value)
            case "timeout":
                let microseconds = try Self.integer(entry.value, name, "a number of microseconds")
                timeout = microseconds == 0 ? nil : .microseconds(microseconds)
            case "top_k":
                let number = try Self.integer(entry.value, name, "a number of intents")
                topK = number == 0 ? RecognitionRequest.defaultTopK : Int(number)
            default:
                throw ConversationError(.invalidArgument, "there is no parameter \"\(name)\"; there is priority, timeout, top_k")
            }
        }
    }

    private static func priority(_ parameter: UnsafeMutablePointer<Inference__InferParameter>?) throws(ConversationError) -> Priority {
        let expected = "1 or INTERACTIVE, 2 or STANDARD, 3 or BACKGROUND, or 0"
        if let parameter = parameter?.pointee, parameter.parameter_choice_case == INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM
        {
            switch try text(parameter.string_param, "the parameter priority").uppercased() {
            case "INTERACTIVE": return .interactive
            case "STANDARD": return .standard
            case "BACKGROUND": return .background
            default: break
            }
        }
        switch try integer(parameter, "priority", expected) {
        case 0, 1: return .interactive
        case 2: return .standard
        case 3: return .background
        case let number: throw ConversationError(.invalidArgument, "the parameter priority is \(number); \(expected) is expected")
        }
    }

    /// An integer from 0; what is greater than the greatest counts as that.
    private static func integer(
        _ parameter: UnsafeMutablePointer<Inference__InferParameter>?, _ name: String, _ expected: String
    ) throws(ConversationError) -> Int64 {
        let (number, given): (Int64?, String)
        switch parameter?.pointee.parameter_choice_case {
        case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM?:
            number = parameter?.pointee.int64_param
            given = "\(number ?? 0)"
        case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM?:
            number = parameter.map { Int64(clamping: $0.pointee.uint64_param) }
            given = "\(number ?? 0)"
        case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM?:
            let string = try parameter.map { pointer throws(ConversationError) in
                try text(pointer.pointee.string_param, "the parameter \(name)")
            }
            number = string.flatMap { Int64($0) }
            given = "\"\(string ?? "")\""
        case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM?: (number, given) = (nil, "a bool")
        case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_DOUBLE_PARAM?: (number, given) = (nil, "a double")
        default: (number, given) = (nil, "without a value")
        }
        guard let number, number >= 0 else {
            throw ConversationError(.invalidArgument, "the parameter \(name) is \(given); \(expected) is expected, an integer from 0")
        }
        return number
    }
}

/// Tensors have no parameters here: neither shared memory nor classification.
///
/// - Throws: ``ConversationError`` with code `.invalidArgument` where there is one.
func refuseParameters(
    _ entries: UnsafeMutablePointer<UnsafeMutablePointer<Inference__InferParameterEntry>?>?, _ count: Int, of tensor: String
) throws(ConversationError) {
    guard count > 0, let entry = entries?[0]?.pointee else { return }
    let name = try text(entry.key, "the name of a parameter")
    throw ConversationError(.invalidArgument, "\(tensor) has the parameter \"\(name)\"; tensors have none here")
}
