import Conversation
import Foundation
import HTTPTypes
public import Hummingbird
import NIOCore
public import RPC
public import RPCServices
import ServiceKit

/// `POST /api/chat`: a turn by HTTP and JSON, on the same way and exactly once by the same seq as one by gRPC; and `/openapi.yaml`, which describes it.
public struct ChatEndpoint: Sendable {
    /// The most bytes a body may have: what the longest message takes with every character escaped, and room to spare.
    static let bodyLimit = 16 << 10

    private let turns: ObservedTurns
    private let health: Health
    private let timeout: Duration
    private let queue: CompletionQueue

    /// An endpoint over a turn taker that is watched.
    ///
    /// - Parameters:
    ///   - health: While the server as a whole does not serve, messages are refused.
    ///   - timeout: How long a turn may take.
    ///   - queue: Where the turns run: they cost least beside the calls that they make.
    public init(turns: ObservedTurns, health: Health, timeout: Duration, queue: CompletionQueue) {
        self.turns = turns
        self.health = health
        self.timeout = timeout
        self.queue = queue
    }

    /// Adds the description of the interface, for all to read.
    public static func addDescription(to router: Router<BasicRequestContext>) {
        let description = ByteBuffer(bytes: PackageResources.openapi_yaml)
        router.get("openapi.yaml") { _, _ in
            Response(status: .ok, headers: [.contentType: "application/yaml"], body: ResponseBody(byteBuffer: description))
        }
    }

    /// Adds the route.
    public func addRoutes(to router: Router<BasicRequestContext>) {
        router.add(middleware: OnlyPost(path: "/api/chat"))
        router.post("api/chat") { request, _ in await answer(request) }
    }

    private func answer(_ request: Request) async -> Response {
        do throws(HTTPProblem) {
            let body = try await body(of: request)
            return try json(ReplyDocument(try await reply(to: body, parent: TraceContext(request.headers))))
        } catch {
            return error.response
        }
    }

    /// The body of a request that may be a message.
    func body(of request: Request) async throws(HTTPProblem) -> Data {
        guard health.status() == .serving else {
            throw HTTPProblem(ConversationError(.unavailable, "this server is shutting down; send the same message again, to another one"))
        }
        let type = request.headers[.contentType]?.split(separator: ";").first?.trimmingCharacters(in: .whitespaces).lowercased()
        guard type == "application/json" else {
            throw HTTPProblem(
                .unsupportedMediaType, code: "INVALID_ARGUMENT",
                "the body is \(type.map { "of type '\($0)'" } ?? "without a Content-Type"); 'Content-Type: application/json' is expected")
        }
        do {
            return Data(try await request.body.collect(upTo: Self.bodyLimit).readableBytesView)
        } catch is NIOTooManyBytesError {
            throw HTTPProblem(
                .contentTooLarge, code: "INVALID_ARGUMENT", "the body has more than \(Self.bodyLimit) bytes; no valid message has so many")
        } catch {
            throw HTTPProblem(.badRequest, code: "INVALID_ARGUMENT", "the body did not come in full")
        }
    }

    /// The reply to the message in a body.
    func reply(to body: Data, parent: TraceContext?) async throws(HTTPProblem) -> Reply {
        let deadline = ContinuousClock.now + timeout
        let message = Result { () throws(ConversationError) in try ChatRequest.message(in: body) }
        let turn = await withTaskExecutorPreference(queue) { await result(of: message, deadline, parent) }
        do throws(ConversationError) {
            return try turn.get()
        } catch {
            throw HTTPProblem(error)
        }
    }

    private func result(
        of message: Result<Message, ConversationError>, _ deadline: ContinuousClock.Instant, _ parent: TraceContext?
    ) async -> Result<Reply, ConversationError> {
        do throws(ConversationError) {
            return .success(try await turns.reply(to: message, deadline: deadline, parent: parent))
        } catch {
            return .failure(error)
        }
    }

    /// A document as a response.
    func json(_ document: some Encodable) throws(HTTPProblem) -> Response {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            let body = try encoder.encode(document)
            return Response(
                status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
        } catch {
            throw HTTPProblem(.internalServerError, code: "INTERNAL", "the reply cannot be written as JSON")
        }
    }
}

/// Tells of the one method that a path knows.
private struct OnlyPost<Context: RequestContext>: RouterMiddleware {
    let path: String

    func handle(_ request: Request, context: Context, next: (Request, Context) async throws -> Response) async throws -> Response {
        guard request.uri.path == path, request.method != .post else { return try await next(request, context) }
        return HTTPProblem(
            .methodNotAllowed, code: "UNIMPLEMENTED", "\(path) does not know \(request.method); POST is expected", headers: [.allow: "POST"]
        ).response
    }
}

extension TraceContext {
    /// The context that came with a request; nil: none did.
    fileprivate init?(_ headers: HTTPFields) {
        guard let name = HTTPField.Name("traceparent"), let traceparent = headers[name] else { return nil }
        self.init(traceparent: traceparent, tracestate: HTTPField.Name("tracestate").flatMap { headers[$0] } ?? "")
    }
}
