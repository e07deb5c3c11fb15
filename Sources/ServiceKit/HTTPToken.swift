import Foundation
import HTTPTypes
import Hummingbird

/// The secret that callers of a program's HTTP side must name as `Authorization: Bearer …`.
public struct HTTPToken: Sendable {
    private let bytes: [UInt8]

    /// A secret of printable ASCII without spaces.
    ///
    /// - Parameter source: Where it came from, for the error.
    /// - Throws: ``SettingsError`` where it is empty, shorter than 16 characters, or has others.
    public init(_ secret: String, from source: String) throws(SettingsError) {
        let bytes = Array(secret.utf8)
        guard bytes.count >= 16, bytes.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw SettingsError("\(source) is not a bearer token: 16 or more printable ASCII characters without spaces are expected")
        }
        self.bytes = bytes
    }

    /// The secret of the settings: the file that `http-token-file` names, or `KEFU_HTTP_TOKEN`. No flag takes the secret itself, since every user of a
    /// machine can read command lines.
    ///
    /// - Returns: nil where there is none.
    /// - Throws: ``SettingsError`` where there is one that cannot be read or used.
    public init?(_ settings: Settings) throws(SettingsError) {
        if let path = settings.string("http-token-file") {
            guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
                throw SettingsError("--http-token-file \(path) cannot be read; a file that holds a bearer token is expected")
            }
            try self.init(text.trimmingCharacters(in: .whitespacesAndNewlines), from: "what \(path) holds")
        } else if let secret = settings.string("http-token") {
            try self.init(secret, from: "KEFU_HTTP_TOKEN")
        } else {
            return nil
        }
    }

    /// Whether a request names the secret. Takes the same time for every wrong one of a length.
    func admits(_ authorization: String?) -> Bool {
        guard let authorization, authorization.prefix(7).lowercased() == "bearer " else { return false }
        let given = Array(authorization.utf8.dropFirst(7))
        guard given.count == bytes.count else { return false }
        return zip(given, bytes).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

/// Lets only requests through that name the secret.
struct HTTPTokenGuard<Context: RequestContext>: RouterMiddleware {
    let token: HTTPToken

    func handle(_ request: Request, context: Context, next: (Request, Context) async throws -> Response) async throws -> Response {
        if token.admits(request.headers[.authorization]) { return try await next(request, context) }
        return HTTPProblem(
            .unauthorized, code: "UNAUTHENTICATED", "this server expects the header 'Authorization: Bearer TOKEN' with its token",
            headers: [.wwwAuthenticate: "Bearer"]
        ).response
    }
}
