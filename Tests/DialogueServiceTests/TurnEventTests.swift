import Conversation
import Dialogue
import Foundation
import Logging
import ServiceKit
import ServiceLifecycle
import Synchronization
import Testing

@testable import DialogueService

@Suite struct AssignmentTests {
    /// The values that Python computes: `int.from_bytes(hashlib.sha256(b"salt\0uid").digest()[:8], "big") * 10**6 >> 64`, and for HMAC
    /// `hmac.new(salt, uid, "sha256").hexdigest()[:32]`.
    @Test func areWhatAnybodyComputes() throws {
        let experiment = Experiment(
            name: "t", salt: "盐", variants: [Experiment.Variant(name: "a", share: Experiment.buckets)], control: 0, takesRemainder: false)
        #expect(experiment.bucket(of: try UserID("user-1")) == 574_867)
        #expect(experiment.bucket(of: try UserID("客户")) == 647_691)
        #expect(experiment.bucket(of: try UserID("user-1"), seq: 7) == 547_213)
        #expect(UserPseudonym(salt: "盐").name(of: try UserID("客户")) == "ff005fbd89bb85609521d53afa4c6a5f")
    }
}

private func scratch() -> String { FileManager.default.temporaryDirectory.appending(path: "kefu-events-\(UUID().uuidString)").path }

private func remove(_ path: String) {
    for name in [path] + (1...5).map({ "\(path).\($0)" }) { try? FileManager.default.removeItem(atPath: name) }
}

@Suite struct RotatingFileTests {
    private func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

    @Test func keepsSoManyFilesOfSoManyBytesAndWholeLines() throws {
        let path = scratch()
        defer { remove(path) }
        let file = try RotatingFile(path, maximumBytes: 20, files: 3)
        for number in 10..<35 { try file.append(Array("line \(number)\n".utf8)) }
        #expect(text(path) == "line 34\n")
        #expect(text(path + ".1") == "line 32\nline 33\n" && text(path + ".2") == "line 30\nline 31\n" && text(path + ".3") == nil)
        // A line that is longer than a file has one of its own.
        try file.append(Array((String(repeating: "x", count: 50) + "\n").utf8))
        #expect(text(path)?.count == 51 && text(path + ".1") == "line 34\n")
    }

    @Test func oneFileIsBegunAnew() throws {
        let path = scratch()
        defer { remove(path) }
        let file = try RotatingFile(path, maximumBytes: 8, files: 1)
        for word in ["a", "b", "c"] { try file.append(Array("line \(word)\n".utf8)) }
        #expect(text(path) == "line c\n" && text(path + ".1") == nil)
    }

    @Test func goesOnWhereAnotherStoppedAndClosesWhatItLeftOpen() throws {
        let path = scratch()
        defer { remove(path) }
        try Data("whole\ncut o".utf8).write(to: URL(filePath: path))
        try RotatingFile(path, maximumBytes: 100, files: 2).append(Array("next\n".utf8))
        #expect(text(path) == "whole\ncut o\nnext\n")
    }

    @Test func belongsToOneAtATime() throws {
        let path = scratch()
        defer { remove(path) }
        let file = try RotatingFile(path, maximumBytes: 100, files: 2)
        #expect { try RotatingFile(path, maximumBytes: 100, files: 2) } throws: { "\($0)".contains("another process has it") }
        try file.append(Array("a\n".utf8))
        #expect { try RotatingFile("/nowhere/x", maximumBytes: 100, files: 2) } throws: {
            "\($0)".hasPrefix("/nowhere/x: it cannot be opened")
        }
    }
}

@Suite struct TurnEventSinkTests {
    private let uid: UserID
    private let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    init() throws { uid = try UserID("user-1") }

    private func record(_ seq: UInt64) -> TurnRecord {
        let session = Session(uid: uid, id: "s", startedAt: Timestamp(milliseconds: 1), timeToLive: .seconds(60))
        let summary = RecognitionSummary(intent: Intent(name: "greeting", confidence: 0.96), slots: [], model: "m@1", variant: "new")
        let reply = Reply(
            uid: uid, seq: seq, text: "您好", source: .template, recognition: summary,
            session: SessionSnapshot(session, timeLeft: .seconds(60)))
        let turn = TakenTurn(
            reply: reply, sessionID: "s", recognition: Recognition(intents: [summary.intent], model: "m@1", route: .cache),
            begunFlows: ["f"],
            domainVersion: "v")
        return TurnRecord(
            turn: turn, query: "你好", variant: Experiment.Variant(name: "new", share: 1), at: Timestamp(milliseconds: 5),
            duration: .microseconds(1234))
    }

    private func format() -> TurnEventFormat { TurnEventFormat(experiment: "e", salt: "s") }

    @Test func aLineSaysWhatTheTurnWas() throws {
        let line = format().line(record(3))
        let text = String(decoding: line, as: UTF8.self)
        #expect(line.last == UInt8(ascii: "\n") && !text.contains("user-1") && !text.contains("你好"))
        let fields = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
        #expect(fields["id"] as? String == "s:3" && fields["variant"] as? String == "new" && fields["experiment"] as? String == "e")
        #expect(
            fields["duration_us"] as? Int == 1234 && fields["route"] as? String == "cache" && fields["flows_begun"] as? [String] == ["f"])
        #expect(text.contains("\"confidence\":0.96,") && fields["text"] == nil && fields["shadow"] == nil)
    }

    /// A writer that stands still costs events, and whoever adds them nothing.
    @Test func dropsWhatFindsTheQueueFull() async throws {
        let counters = TurnEventSink.counters(MetricsRegistry())
        let sizes = Log<Int>()
        let sink = TurnEventSink("test", counters: counters, logger: logger, capacity: 10) { records in
            sizes.add(records.count)
            return TurnEventWriting(written: records.count - 1, failure: "one is lost")
        }
        for seq in 1...25 { sink.add(record(UInt64(seq))) }
        #expect(counters("test", "dropped").value == 15)
        // What waits at the shutdown is written.
        let running = Task { await sink.run() }
        while sizes.all.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        running.cancel()
        await running.value
        #expect(sizes.all == [10] && counters("test", "written").value == 9 && counters("test", "failed").value == 1)
    }

    @Test func writesAFile() async throws {
        let path = scratch()
        defer { remove(path) }
        let counters = TurnEventSink.counters(MetricsRegistry())
        let sink = try TurnEventSink.file(path, bytes: 1 << 20, files: 2, format: format(), counters: counters, logger: logger)
        let running = Task { await sink.run() }
        for seq in 1...500 { sink.add(record(UInt64(seq))) }
        while counters("file", "written").value < 500 { try await Task.sleep(for: .milliseconds(5)) }
        running.cancel()
        await running.value
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 500 && lines[0].contains("\"seq\":1,") && lines[499].contains("\"seq\":500,"))
    }
}
