import Foundation
import Hummingbird
import Logging
import RPCServices
import ServiceKit
import ServiceLifecycle
import Synchronization
import Testing

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

@Suite(.timeLimit(.minutes(1))) struct StandardHTTPServerTests {
    private var logger: Logger {
        var logger = Logger(label: "http-tests")
        logger.logLevel = .error
        return logger
    }

    /// Serves while `body` runs, and then shuts down gracefully.
    private func withServer(
        health: Health = Health(services: []), metrics: MetricsRegistry = MetricsRegistry(),
        routes: (Router<BasicRequestContext>) -> Void = { _ in }, _ body: (_ port: Int) async throws -> Void
    ) async throws {
        let server = try StandardHTTPServer(listen: "127.0.0.1:0", health: health, metrics: metrics, logger: logger, routes: routes)
        let group = ServiceGroup(services: [server], logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let port = try await server.boundPort
            #expect(try await server.boundPort == port)
            try await body(port)
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    private func get(_ path: String, _ port: Int) async throws -> (status: Int, type: String?, text: String) {
        let url = try #require(URL(string: "http://127.0.0.1:\(port)\(path)"))
        let (data, response) = try await URLSession(configuration: .ephemeral).data(from: url)
        let http = try #require(response as? HTTPURLResponse)
        return (http.statusCode, http.value(forHTTPHeaderField: "Content-Type"), String(decoding: data, as: UTF8.self))
    }

    @Test func metricsHealthAndVersionAreServed() async throws {
        let health = Health(services: [])
        let metrics = MetricsRegistry()
        metrics.counters("shop_requests_total", "Requests.")().increment()
        try await withServer(health: health, metrics: metrics) { port in
            let text = try await get("/metrics", port)
            #expect(text.status == 200 && text.type == "text/plain; version=0.0.4; charset=utf-8")
            #expect(text.text.contains("shop_requests_total 1\n"))
            #expect(try await get("/healthz", port).status == 200)
            #expect(try await get("/readyz", port).status == 503)
            health.set(.serving)
            #expect(try await get("/readyz", port).status == 200)
            health.drain()
            #expect(try await get("/readyz", port).status == 503)
            #expect(try await get("/version", port).text == Program.version + "\n")
            #expect(try await get("/nothing", port).status == 404)
        }
    }

    @Test func aServiceAddsRoutes() async throws {
        try await withServer(routes: { router in
            _ = router.get("api/:name") { _, context in context.parameters.get("name") ?? "" }
        }) { port in
            let (added, standard) = (try await get("/api/chat", port), try await get("/healthz", port))
            #expect(added.text == "chat" && standard.status == 200)
        }
    }

    @Test func anAddressThatIsTakenIsToldOf() async throws {
        try await withServer { port in
            let second = try StandardHTTPServer(
                listen: "127.0.0.1:\(port)", health: Health(services: []), metrics: MetricsRegistry(), logger: logger)
            let running = Task { try await second.run() }
            await #expect(throws: (any Error).self) { try await second.boundPort }
            let error = await #expect(throws: SettingsError.self) { try await running.value }
            #expect(error?.description.contains("127.0.0.1:\(port)") == true)
        }
    }

    @Test(arguments: ["", "9090", "localhost", "localhost:", ":9090", "localhost:65536", "localhost:-1"])
    func anAddressThatIsNoneIsRefused(_ listen: String) {
        #expect(throws: SettingsError.self) {
            try StandardHTTPServer(listen: listen, health: Health(services: []), metrics: MetricsRegistry(), logger: logger)
        }
    }
}

@Suite struct HTTPAccessTests {
    @Test(arguments: ["127.0.0.1", "127.8.9.10", "localhost", "LocalHost", "::1"]) func theseAreThisMachine(_ host: String) {
        #expect(StandardHTTPServer.isLoopback(host))
    }

    @Test(arguments: ["", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "127.0.0.1.example.com", "localhost.example.com"])
    func theseMayNotBe(_ host: String) {
        #expect(!StandardHTTPServer.isLoopback(host))
    }

    @Test(arguments: ["", "short", "with a space in it", "umlaut-ä-umlaut-ä-umlaut"]) func theseAreNoTokens(_ secret: String) {
        let error = #expect(throws: SettingsError.self) { try HTTPToken(secret, from: "the test's file") }
        #expect(error?.description.contains("the test's file") == true && !(error?.description.contains("umlaut") ?? true))
    }
}
