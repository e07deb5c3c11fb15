import Foundation
public import Logging

/// Writes each line of a log as one JSON object: `time`, `level`, `logger`, `message`, and the line's metadata, of which `trace_id` and `span_id` name the
/// request that the line is about.
public struct JSONLogHandler: LogHandler {
    private let label: String
    private let write: @Sendable (String) -> Void
    /// What is written from.
    public var logLevel: Logger.Level = .info
    /// What every line says.
    public var metadata: Logger.Metadata = [:]
    /// What a line says by where it is written.
    public var metadataProvider: Logger.MetadataProvider?

    /// A handler.
    ///
    /// - Parameter write: Takes a line with its end; by default standard error does.
    public init(
        label: String, metadataProvider: Logger.MetadataProvider? = nil, write: @escaping @Sendable (String) -> Void = Self.toStandardError
    ) {
        self.label = label
        self.metadataProvider = metadataProvider
        self.write = write
    }

    /// One write a line, so that lines of several threads do not mix.
    public static let toStandardError: @Sendable (String) -> Void = { line in
        var line = line
        line.withUTF8 { bytes in _ = Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }

    /// One value that every line says.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes a line.
    public func log(event: LogEvent) {
        var fields = metadata
        if let provided = metadataProvider?.get() { fields.merge(provided) { $1 } }
        if let own = event.metadata { fields.merge(own) { $1 } }
        var document = fields.mapValues(\.plain)
        document["time"] = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        document["level"] = event.level.rawValue
        document["logger"] = label
        document["message"] = event.message.description
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        guard let line = try? JSONSerialization.data(withJSONObject: document, options: options) else { return }
        write(String(decoding: line, as: UTF8.self) + "\n")
    }
}

extension Logger.MetadataValue {
    /// As JSONSerialization takes it.
    fileprivate var plain: Any {
        switch self {
        case .string(let text): text
        case .stringConvertible(let value): value.description
        case .dictionary(let values): values.mapValues(\.plain)
        case .array(let values): values.map(\.plain)
        }
    }
}
