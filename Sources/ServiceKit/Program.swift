public import Conversation
import Foundation
public import Logging
import RPCServices
public import ServiceLifecycle
import UnixSignals

/// What the two programs have in common.
public enum Program {
    /// The version of both programs.
    public static let version = "0.1.0-dev"

    /// How lines of the log are written.
    public enum LogFormat: String, Sendable, CaseIterable {
        /// For people.
        case text
        /// One JSON object a line.
        case json
    }

    /// Sends logs to standard error, each line with the trace that it belongs to, and gives the program's logger.
    public static func logger(_ label: String, level: Logger.Level, format: LogFormat = .text) -> Logger {
        LoggingSystem.bootstrap(
            { label, provider in
                switch format {
                case .text: StreamLogHandler.standardError(label: label, metadataProvider: provider)
                case .json: JSONLogHandler(label: label, metadataProvider: provider)
                }
            }, metadataProvider: .trace)
        var logger = Logger(label: label)
        logger.logLevel = level
        return logger
    }

    /// Prints the first line of standard output: where the program listens.
    public static func announce(_ addresses: [(name: String, address: String)]) {
        print("listening " + addresses.map { "\($0.name)=\($0.address)" }.joined(separator: " "))
        fflush(nil)
    }

    /// Runs services until one of them ends or the process gets SIGTERM or SIGINT; then shuts them down in reverse order.
    public static func run(_ services: [any Service], grace: Duration, logger: Logger) async throws {
        var configuration = ServiceGroupConfiguration(
            services: services.map {
                .init(
                    service: $0, successTerminationBehavior: .gracefullyShutdownGroup, failureTerminationBehavior: .gracefullyShutdownGroup)
            }, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        configuration.maximumGracefulShutdownDuration = grace + .seconds(5)
        try await ServiceGroup(configuration: configuration).run()
    }

    /// The environment variables of the process.
    public static var environment: [String: String] { ProcessInfo.processInfo.environment }

    /// The time of day.
    public static func now() -> Timestamp {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Timestamp(milliseconds: Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000)
    }

    /// A name that does not repeat: 128 random bits in hexadecimal.
    public static func newID() -> String {
        var random = SystemRandomNumberGenerator()
        return (0..<2).map { _ in
            let digits = String(random.next(), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    /// Replaces the port 0 of `listen` by the port that was bound.
    public static func bound(_ listen: String, port: Int) -> String {
        guard port != 0, let colon = listen.lastIndex(of: ":") else { return listen }
        return "\(listen[..<colon]):\(port)"
    }
}

extension Logger.MetadataProvider {
    /// The trace and the span that a task works for.
    static let trace = Logger.MetadataProvider {
        guard let context = TraceContext.current else { return [:] }
        return ["trace_id": "\(context.traceID)", "span_id": "\(context.spanID.hexadecimal)"]
    }
}
