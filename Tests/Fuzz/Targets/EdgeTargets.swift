import Configuration
import Conversation
import Foundation

@testable import DialogueService
@testable import RPC
@testable import RPCServices
@testable import ServiceKit

extension FuzzTarget {
    static let edge: [FuzzTarget] = [chat, headers, callers, settings]

    /// The body of `POST /api/chat`, and the reply in JSON.
    private static let chat = FuzzTarget("chat", maximumLength: 1024) { input in
        do throws(ConversationError) {
            let message = try ChatRequest.message(in: Data(input))
            require(!message.query.text.utf8.contains(0) && !message.uid.string.utf8.contains(0), "a NUL came through")
            require(message.seq != 0, "seq 0 is no seq")
        } catch {
            require(error.code == .invalidArgument && !error.message.isEmpty, "\(error)")
        }
    }

    private static let token = try? HTTPToken("0123456789abcdef-token", from: "the fuzzer")

    /// What stands beside a request: `traceparent`, `tracestate`, `Authorization`, gRPC metadata.
    private static let headers = FuzzTarget("headers", maximumLength: 256) { input in
        var parts = Parts(input)
        switch parts.choice(3) {
        case 0:
            let lines = parts.text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let context = TraceContext(traceparent: lines[0], tracestate: lines.count > 1 ? lines[1] : "") else { return }
            require(context.spanID != 0 && context.traceID.high | context.traceID.low != 0, "an id of zeros")
            require(context.state.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "\(context.state) cannot be sent")
            require(TraceContext(traceparent: context.traceparent, tracestate: context.state) == context, "\(context) reads as another")
        case 1:
            let text = parts.text
            guard let token else { fatalError("the token is refused") }
            require(
                token.admits(text)
                    == (text.utf8.dropFirst(7).elementsEqual("0123456789abcdef-token".utf8) && text.prefix(7).lowercased() == "bearer "),
                text)
            _ = try? HTTPToken(text, from: "x")
        default:
            var metadata = Metadata()
            while true {
                let (key, value) = (parts.part(), parts.part())
                if key.isEmpty { break }
                value.withUnsafeBytes { metadata.appendReceived(String(decoding: key, as: UTF8.self), $0) }
            }
            let legal = metadata.legal
            require((try? legal.validate()) != nil, "what is legal is refused")
            require(((try? metadata.validate()) != nil) == (legal == metadata), "what is refused is legal")
            _ = TraceContext(metadata)
        }
    }

    /// `--tls-callers-file`, and a call against it.
    private static let callers = FuzzTarget("callers", maximumLength: 512) { input in
        let text = String(decoding: input, as: UTF8.self)
        guard let callers = try? AllowedCallers(text: text, source: "callers") else { return }
        require(!callers.permits([], to: "/a.B/C"), "nobody may call")
        for name in ["a", "", "*", "orchestrator.shop.example"] {
            let may = callers.permits([name], to: "/grpc.health.v1.Health/Check")
            require(!may || text.contains(name) || text.contains("*"), "\(name) is not in the list, and may call")
        }
        _ = try? callers.check(against: ["a.B"])
    }

    /// `--settings`, a YAML file: its lines as they are read of a file.
    private static let settings = FuzzTarget("settings", maximumLength: 512) { input in
        guard let lines = try? Lines(input) else { return }
        let settings = Settings(flags: [:], environment: [:], lines: lines, of: "settings.yaml")
        if let batch = try? settings.int("batch-size", default: 1, in: 1...64) { require((1...64).contains(batch), "\(batch)") }
        if let ratio = try? settings.number("trace-ratio", in: 0...1) { require((0...1).contains(ratio), "\(ratio)") }
        _ = try? settings.milliseconds("grace-ms", default: .zero)
        _ = try? settings.flag("inspector")
        _ = try? settings.logLevel()
        _ = settings.string("listen")
    }
}

/// What `FileProvider` makes of a file, without the file: an input would otherwise pay for the file system and for other threads.
private struct Lines: ConfigProvider {
    private let lines: YAMLSnapshot

    init(_ bytes: [UInt8]) throws { lines = try YAMLSnapshot(data: bytes.span.bytes, providerName: "lines", parsingOptions: .default) }

    var providerName: String { lines.providerName }

    func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult { try lines.value(forKey: key, type: type) }

    nonisolated(nonsending) func fetchValue(forKey key: AbsoluteConfigKey, type: ConfigType) async throws -> LookupResult {
        try value(forKey: key, type: type)
    }

    nonisolated(nonsending) func watchValue<Return: ~Copyable>(
        forKey key: AbsoluteConfigKey, type: ConfigType,
        updatesHandler:
            nonisolated(nonsending) (_ updates: ConfigUpdatesAsyncSequence<Result<LookupResult, any Error>, Never>) async throws -> Return
    ) async throws -> Return {
        try await watchValueFromValue(forKey: key, type: type, updatesHandler: updatesHandler)
    }

    nonisolated(nonsending) func watchSnapshot<Return: ~Copyable>(
        updatesHandler: nonisolated(nonsending) (_ updates: ConfigUpdatesAsyncSequence<any ConfigSnapshot, Never>) async throws -> Return
    ) async throws -> Return {
        try await watchSnapshotFromSnapshot(updatesHandler: updatesHandler)
    }

    func snapshot() -> any ConfigSnapshot { lines }
}
