import DialogueService
import Logging
import RPC
import RPCServices
import ServiceKit

/// The HTTP side of the orchestrator: probes, metrics, turns by JSON, and the inspector where it is asked for.
struct HTTPSide {
    let settings: Settings
    let turns: ObservedTurns
    let health: Health
    let registry: MetricsRegistry
    let turnTimeout: Duration
    let queue: CompletionQueue
    let logger: Logger

    /// The server and where it was told to listen; nil where it is not asked for.
    ///
    /// - Throws: ``SettingsError`` where a setting is at fault.
    func server() throws(SettingsError) -> (listen: String, server: StandardHTTPServer)? {
        let wantsInspector = try settings.flag("inspector")
        guard let listen = settings.string("http") else {
            if wantsInspector { throw SettingsError("--inspector is a page of the HTTP side; --http HOST:PORT is expected with it") }
            return nil
        }
        let isLoopback = StandardHTTPServer.isLoopback(listen.host)
        let chat = ChatEndpoint(turns: turns, health: health, timeout: turnTimeout, queue: queue)
        let inspector = wantsInspector ? try inspector(chat, listen, isLoopback: isLoopback) : nil
        let server = try StandardHTTPServer(
            listen: listen, health: health, metrics: registry, logger: logger, token: try HTTPToken(settings),
            publicRoutes: { router in
                ChatEndpoint.addDescription(to: router)
                inspector?.addPage(to: router)
            },
            routes: { router in
                chat.addRoutes(to: router)
                inspector?.addRoutes(to: router)
            })
        return (listen, server)
    }

    private func inspector(_ chat: ChatEndpoint, _ listen: String, isLoopback: Bool) throws(SettingsError) -> InspectorEndpoint {
        let isAllowed = try settings.flag("inspector-anywhere")
        guard isLoopback || isAllowed else {
            throw SettingsError(
                "--inspector shows what customers say, and --http \(listen) can be reached from elsewhere; a loopback address such as "
                    + "127.0.0.1:8080 is expected, or --inspector-anywhere")
        }
        return try InspectorEndpoint(
            chat: chat, understandingMetrics: settings.string("understanding-metrics"), isLoopback: isLoopback)
    }
}

extension String {
    /// HOST of HOST:PORT, without the brackets of an IPv6 address.
    fileprivate var host: String {
        let host = lastIndex(of: ":").map { self[..<$0] } ?? self[...]
        return String(host.first == "[" && host.last == "]" ? host.dropFirst().dropLast() : host)
    }
}
