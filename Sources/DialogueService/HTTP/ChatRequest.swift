import Conversation
import Foundation

/// The body of `POST /api/chat`: `{"uid": "u1", "query": "我要改地址", "seq": 1}`. Fields of other names are left alone.
struct ChatRequest: Decodable {
    private static let expected = #"a JSON object such as {"uid": "u1", "query": "我要改地址", "seq": 1}"#

    private var uid: String
    private var query: String
    /// 0, null or absent: the server numbers the message.
    private var seq: UInt64?

    private enum CodingKeys: String, CodingKey {
        case uid, query, seq
    }

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        uid = try fields.decode(String.self, forKey: .uid)
        query = try fields.decode(String.self, forKey: .query)
        do {
            seq = try fields.decodeIfPresent(UInt64.self, forKey: .seq)
        } catch {
            // The decoder does not say which number does not fit.
            throw DecodingError.dataCorrupted(DecodingError.Context(codingPath: [CodingKeys.seq], debugDescription: "\(error)"))
        }
    }

    /// The message in a body.
    ///
    /// - Throws: ``ConversationError`` of `.invalidArgument` that names the field which is at fault, and what was expected.
    static func message(in body: Data) throws(ConversationError) -> Message {
        // In other encodings the depth would be counted wrongly.
        guard String(validating: body, as: UTF8.self) != nil, !body.contains(0), !isNested(body, deeperThan: 64) else {
            throw ConversationError(.invalidArgument, "the body is not JSON in UTF-8 of at most 64 levels; \(expected) is expected")
        }
        let request: ChatRequest
        do {
            request = try JSONDecoder().decode(ChatRequest.self, from: body)
        } catch let error as DecodingError {
            throw ConversationError(.invalidArgument, fault(error))
        } catch {
            throw ConversationError(.invalidArgument, "the body is not JSON; \(expected) is expected")
        }
        for (name, text) in [("uid", request.uid), ("query", request.query)] where text.utf8.contains(0) {
            throw ConversationError(.invalidArgument, "\(name) has the character U+0000; text without it is expected")
        }
        return Message(
            uid: try UserID(request.uid), query: try Utterance(request.query), seq: request.seq == 0 ? nil : request.seq)
    }

    /// Whether arrays and objects stand in each other too deep. Foundation allows 512 levels, and traps where the text ends with the bracket that is one too many.
    private static func isNested(_ body: Data, deeperThan limit: Int) -> Bool {
        var depth = 0
        var isText = false
        var isEscaped = false
        for byte in body {
            if isEscaped {
                isEscaped = false
                continue
            }
            switch byte {
            case UInt8(ascii: "\\") where isText: isEscaped = true
            case UInt8(ascii: "\""): isText.toggle()
            case UInt8(ascii: "["), UInt8(ascii: "{"): depth += isText ? 0 : 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= isText ? 0 : 1
            default: break
            }
            if depth > limit { return true }
        }
        return false
    }

    private static func fault(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, _): "\(key.stringValue) is missing; \(form(of: key.stringValue)) is expected"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            if let name = context.codingPath.first?.stringValue {
                "\(name) is not \(form(of: name))"
            } else {
                "the body is not what was expected: \(expected)"
            }
        @unknown default: "the body is not what was expected: \(expected)"
        }
    }

    private static func form(of field: String) -> String {
        switch field {
        case "uid": "a string of 1 to \(UserID.byteLimit) bytes of UTF-8"
        case "query": "a string of 1 to \(Utterance.scalarLimit) Unicode scalars"
        default: "a whole number from 0 to \(UInt64.max)"
        }
    }
}
