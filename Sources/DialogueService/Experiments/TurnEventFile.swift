import Dispatch
public import Logging
public import ServiceKit

extension TurnEventSink {
    /// Events as lines of a file.
    ///
    /// - Parameters:
    ///   - bytes: How large the file may become before it is renamed and a new one begun.
    ///   - files: How many files there are at the most: the file, and older ones with `.1`, `.2` and so on behind the name, `.1` the newest.
    /// - Throws: ``SettingsError`` where the file cannot be written, or another process writes it.
    public static func file(
        _ path: String, bytes: Int, files: Int, format: TurnEventFormat, counters: MetricFamily<Counter>, logger: Logger
    ) throws(SettingsError) -> TurnEventSink {
        let writer: FileWriter
        do throws(FileError) {
            writer = FileWriter(try RotatingFile(path, maximumBytes: bytes, files: files))
        } catch {
            throw SettingsError("--events: \(error); a file that this process alone writes is expected")
        }
        return TurnEventSink("file", counters: counters, logger: logger) { records in
            await writer.write(records, format)
        }
    }
}

/// Writes to a file on a thread that may wait for the disk.
private final class FileWriter: @unchecked Sendable {
    // Invariant: `file` is touched on `queue` only, which does one thing after another.
    private let file: RotatingFile
    private let queue = DispatchQueue(label: "kefu.events")

    init(_ file: RotatingFile) { self.file = file }

    func write(_ records: [TurnRecord], _ format: TurnEventFormat) async -> TurnEventWriting {
        await withCheckedContinuation { continuation in
            queue.async {
                var result = TurnEventWriting(written: 0)
                for record in records {
                    do throws(FileError) {
                        try self.file.append(format.line(record))
                        result.written += 1
                    } catch {
                        result.failure = error.description
                    }
                }
                continuation.resume(returning: result)
            }
        }
    }
}
