import Conversation
import Foundation
import HTTPTypes
public import Hummingbird
import NIOCore
import RPCServices
public import ServiceKit

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// `/inspector`: a page to talk to the bot and see what it made of each message, where the time went, and how the services do.
///
/// It shows what customers said in full, so it is for developers: off unless asked for, and on a loopback address only unless that is asked for as well.
public struct InspectorEndpoint: Sendable {
    private static let metricsLimit = 4 << 20

    private let chat: ChatEndpoint
    private let understandingMetrics: URL?
    private let isLoopback: Bool

    /// An inspector.
    ///
    /// - Parameters:
    ///   - chat: Takes the turns.
    ///   - understandingMetrics: Where the intent server serves its metrics; nil: the page goes without.
    ///   - isLoopback: Whether only this machine reaches the page. Then the name by which it is called must be this machine's too: a page elsewhere whose name
    ///     is made to point here gets nothing.
    public init(chat: ChatEndpoint, understandingMetrics: String?, isLoopback: Bool) throws(SettingsError) {
        self.chat = chat
        self.isLoopback = isLoopback
        self.understandingMetrics = try understandingMetrics.map { text throws(SettingsError) in
            guard let url = URL(string: text), url.scheme == "http" || url.scheme == "https", url.host != nil else {
                throw SettingsError("--understanding-metrics is '\(text)'; a URL such as http://127.0.0.1:9090/metrics is expected")
            }
            return url
        }
    }

    /// Adds the page itself, which holds nothing of anybody.
    public func addPage(to router: Router<BasicRequestContext>) {
        let files: [(path: RouterPath, type: String, bytes: [UInt8])] = [
            ("inspector", "text/html; charset=utf-8", PackageResources.inspector_html),
            ("inspector/inspector.css", "text/css; charset=utf-8", PackageResources.inspector_css),
            ("inspector/inspector.js", "text/javascript; charset=utf-8", PackageResources.inspector_js),
        ]
        for file in files {
            let body = ByteBuffer(bytes: file.bytes)
            var headers = Self.headers
            headers[.contentType] = file.type
            router.get(file.path) { [headers] request, _ in
                if let refusal = refusal(of: request) { return refusal }
                return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
            }
        }
    }

    /// Adds what the page asks for.
    public func addRoutes(to router: Router<BasicRequestContext>) {
        router.post("inspector/api/turn") { request, _ in
            if let refusal = refusal(of: request) { return refusal }
            return await turn(request)
        }
        router.get("inspector/api/understanding-metrics") { request, _ in
            if let refusal = refusal(of: request) { return refusal }
            return await metrics()
        }
    }

    private func turn(_ request: Request) async -> Response {
        do throws(HTTPProblem) {
            let body = try await chat.body(of: request)
            let inspection = TurnInspection()
            let reply = try await TurnInspection.$current.withValue(inspection) { await answer(body) }.get()
            let duration = inspection.begun.duration(to: .now)
            return try chat.json(
                InspectedTurnDocument(reply: ReplyDocument(reply), inspection: InspectionDocument(inspection, took: duration)))
        } catch {
            return error.response
        }
    }

    private func answer(_ body: Data) async -> Result<Reply, HTTPProblem> {
        do throws(HTTPProblem) {
            return .success(try await chat.reply(to: body, parent: nil))
        } catch {
            return .failure(error)
        }
    }

    /// The intent server's metrics as they are.
    private func metrics() async -> Response {
        guard let understandingMetrics else {
            return HTTPProblem(.notFound, code: "NOT_FOUND", "--understanding-metrics names no address of the intent server's metrics")
                .response
        }
        do {
            let (data, response) = try await URLSession.shared.data(for: URLRequest(url: understandingMetrics, timeoutInterval: 2))
            let status = (response as? HTTPURLResponse)?.statusCode ?? 0
            guard status == 200, data.count <= Self.metricsLimit else {
                return HTTPProblem(
                    .badGateway, code: "UNAVAILABLE",
                    "\(understandingMetrics) answered \(status) with \(data.count) bytes; metrics are expected"
                ).response
            }
            return Response(
                status: .ok, headers: [.contentType: "text/plain; charset=utf-8"], body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
        } catch {
            return HTTPProblem(.badGateway, code: "UNAVAILABLE", "\(understandingMetrics) cannot be reached").response
        }
    }

    /// What is answered to a request that does not come from the page under its own name; nil: it does.
    private func refusal(of request: Request) -> Response? {
        guard isLoopback else { return nil }
        let host = request.head.authority ?? ""
        let name = host.hasPrefix("[") ? String(host.prefix { $0 != "]" }.dropFirst()) : String(host.prefix { $0 != ":" })
        if StandardHTTPServer.isLoopback(name) { return nil }
        return HTTPProblem(
            .forbidden, code: "PERMISSION_DENIED", "the inspector was called by the name '\(name)'; localhost or 127.0.0.1 is expected"
        ).response
    }

    /// The page may load its own files and talk to its own server, and nothing else; nobody may frame it.
    private static let headers: HTTPFields = {
        var headers: HTTPFields = [.cacheControl: "no-store", .xContentTypeOptions: "nosniff"]
        headers[.contentSecurityPolicy] =
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            + "frame-ancestors 'none'"
        if let name = HTTPField.Name("Referrer-Policy") { headers[name] = "no-referrer" }
        return headers
    }()
}
