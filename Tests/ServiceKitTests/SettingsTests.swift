import Foundation
import ServiceKit
import Testing

@Suite struct SettingsTests {
    private func file(_ text: String) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "kefu-settings-\(UUID().uuidString).yaml").path(
            percentEncoded: false)
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    @Test func aFlagStandsAboveAVariableAboveTheFile() async throws {
        let path = try file("listen: from-file\nredis: from-file\nbatch-size: 7\nqueue: '9'\n")
        defer { try? FileManager.default.removeItem(atPath: path) }
        let settings = try await Settings(
            flags: ["listen": "from-flag", "redis": nil], file: path,
            environment: ["KEFU_LISTEN": "from-variable", "KEFU_REDIS": "from-variable", "KEFU_GRACE_MS": "250"])
        #expect(settings.string("listen") == "from-flag")
        #expect(settings.string("redis") == "from-variable")
        #expect(try settings.int("batch-size", default: 1, in: 1...10) == 7)
        #expect(try settings.int("queue", default: 1, in: 1...10) == 9)
        #expect(try settings.milliseconds("grace-ms", default: .seconds(1)) == .milliseconds(250))
        #expect(settings.string("models", default: "here") == "here")
        #expect(try settings.int("workers", default: 3, in: 1...10) == 3)
    }

    @Test(arguments: [("0", "1 to 10"), ("11", "1 to 10"), ("x", "1 to 10"), ("", "1 to 10")])
    func aWrongNumberIsNamed(_ text: String, _ expected: String) async throws {
        let settings = try await Settings(flags: [:], file: nil, environment: ["KEFU_BATCH_SIZE": text])
        #expect {
            try settings.int("batch-size", default: 1, in: 1...10)
        } throws: { error in
            let description = "\(error)"
            return description.contains("KEFU_BATCH_SIZE") && description.contains("'\(text)'") && description.contains(expected)
        }
    }

    @Test func wrongWordsAndTimesAreNamed() async throws {
        let settings = try await Settings(flags: ["log-level": "loud", "grace-ms": "-1"], file: nil, environment: [:])
        #expect { try settings.logLevel() } throws: { "\($0)".contains("loud") && "\($0)".contains("warning") }
        #expect { try settings.milliseconds("grace-ms", default: .zero) } throws: { "\($0)".contains("-1") }
    }

    @Test func aFileThatIsNotThereOrNotYAMLIsNamed() async throws {
        await #expect {
            _ = try await Settings(flags: [:], file: "/no/such.yaml", environment: [:])
        } throws: { "\($0)".contains("/no/such.yaml") }
        let path = try file("listen: [")
        defer { try? FileManager.default.removeItem(atPath: path) }
        await #expect { _ = try await Settings(flags: [:], file: path, environment: [:]) } throws: { "\($0)".contains(path) }
    }
}
