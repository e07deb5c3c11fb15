public import Conversation
import Foundation
public import HTTPTypes
public import Hummingbird
import NIOCore

/// Why a request by HTTP was not answered: a problem document (RFC 9457), `application/problem+json`.
public struct HTTPProblem: Error, Sendable, Hashable {
    private struct Document: Encodable {
        var type = "about:blank"
        var title: String
        var status: Int
        var code: String
        var detail: String
    }

    /// The HTTP status.
    public var status: HTTPResponse.Status
    /// The name by which gRPC knows the kind of failure, such as `INVALID_ARGUMENT`.
    public var code: String
    /// What was wrong, and what was expected.
    public var detail: String
    /// Further fields of the response's head.
    public var headers: HTTPFields

    /// A problem by its parts.
    public init(_ status: HTTPResponse.Status, code: String, _ detail: String, headers: HTTPFields = [:]) {
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
    }

    /// What a failure of the contracts is in HTTP. Where trying again helps, `Retry-After` says when, in whole seconds.
    public init(_ error: ConversationError) {
        let status: HTTPResponse.Status =
            switch error.code {
            case .invalidArgument: .badRequest
            case .notFound: .notFound
            case .alreadyExists, .failedPrecondition, .aborted: .conflict
            case .resourceExhausted: .tooManyRequests
            case .deadlineExceeded: .gatewayTimeout
            // Nobody reads what a caller who left is told.
            case .unavailable, .cancelled: .serviceUnavailable
            default: .internalServerError
            }
        self.init(status, code: error.code.description, error.message)
        if status == .serviceUnavailable || status == .tooManyRequests {
            let wait = error.retryAfter.map { ($0 / .seconds(1)).rounded(.up) } ?? 1
            headers[.retryAfter] = "\(max(1, Int(wait)))"
        }
    }

    /// The problem as a response.
    public var response: Response {
        let document = Document(title: status.reasonPhrase, status: status.code, code: code, detail: detail)
        var headers = headers
        headers[.contentType] = "application/problem+json"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let body = (try? encoder.encode(document)) ?? Data()
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
}
