import Configuration
public import Logging
import SystemPackage

/// What a program was told: a flag, else an environment variable, else a line of a YAML file, else the default.
///
/// The key `max-batch` is the flag `--max-batch`, the variable `KEFU_MAX_BATCH` and the line `max-batch: 32`.
public struct Settings: Sendable {
    private let reader: ConfigReader
    private let file: String?

    /// Settings from these sources.
    ///
    /// - Parameters:
    ///   - flags: The flags that were given, by key.
    ///   - file: The path of a YAML file of `key: value` lines; nil: none.
    ///   - environment: The environment variables.
    /// - Throws: ``SettingsError`` where the file cannot be read or is not YAML.
    public init(flags: [String: String?], file: String?, environment: [String: String]) async throws(SettingsError) {
        var lines: FileProvider<YAMLSnapshot>?
        if let file {
            do {
                lines = try await FileProvider(filePath: FilePath(file))
            } catch {
                throw SettingsError(
                    "the settings file \(file) cannot be read: \(error); lines such as 'listen: 127.0.0.1:50051' are expected")
            }
        }
        self.init(flags: flags, environment: environment, lines: lines, of: file)
    }

    /// Settings from these sources, of which the file was read.
    init(flags: [String: String?], environment: [String: String], lines: (any ConfigProvider)?, of file: String?) {
        var flagValues: [AbsoluteConfigKey: ConfigValue] = [:]
        for case (let key, let value?) in flags { flagValues[[key]] = ConfigValue(.string(value), isSecret: false) }
        var providers: [any ConfigProvider] = [
            InMemoryProvider(name: "flags", values: flagValues),
            EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "kefu"),
        ]
        if let lines { providers.append(lines) }
        self.reader = ConfigReader(providers: providers)
        self.file = file
    }

    /// The text of a setting; nil where it is not set.
    public func string(_ key: String) -> String? { reader.string(forKey: ConfigKey([key])) }

    /// The text of a setting, or its default.
    public func string(_ key: String, default value: String) -> String { string(key) ?? value }

    /// A whole number in a range.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func int(_ key: String, default value: Int, in range: ClosedRange<Int>) throws(SettingsError) -> Int {
        guard let text = string(key) else { return value }
        guard let number = Int(text), range.contains(number) else {
            throw wrong(key, text, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A number in a range; nil where it is not set.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func number(_ key: String, in range: ClosedRange<Double>) throws(SettingsError) -> Double? {
        guard let text = string(key) else { return nil }
        guard let number = Double(text), range.contains(number) else {
            throw wrong(key, text, "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A time in milliseconds, up to one hour.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func milliseconds(_ key: String, default value: Duration) throws(SettingsError) -> Duration {
        guard let text = string(key) else { return value }
        guard let number = Int(text), (0...3_600_000).contains(number) else {
            throw wrong(key, text, "a whole number of milliseconds from 0 to 3600000")
        }
        return .milliseconds(number)
    }

    /// One of a few words.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func choice<T>(_ key: String, default value: T, _ choices: [(String, T)]) throws(SettingsError) -> T {
        guard let text = string(key) else { return value }
        guard let choice = choices.first(where: { $0.0 == text }) else {
            throw wrong(key, text, "one of \(choices.map(\.0).joined(separator: ", "))")
        }
        return choice.1
    }

    /// Yes or no: `true` or `false`; by default no.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func flag(_ key: String) throws(SettingsError) -> Bool { try choice(key, default: false, [("true", true), ("false", false)]) }

    /// The level of detail of the logs: `log-level`, by default `info`.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func logLevel() throws(SettingsError) -> Logger.Level {
        try choice("log-level", default: .info, Logger.Level.allCases.map { ($0.rawValue, $0) })
    }

    /// After how long clients connect anew: `connection-age-ms`; nil, the default and 0, for never.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func connectionAge() throws(SettingsError) -> Duration? {
        let age = try milliseconds("connection-age-ms", default: .zero)
        return age > .zero ? age : nil
    }

    /// How lines of the log are written: `log-format`, by default `text`.
    ///
    /// - Throws: ``SettingsError`` where what was set is something else.
    public func logFormat() throws(SettingsError) -> Program.LogFormat {
        try choice("log-format", default: .text, Program.LogFormat.allCases.map { ($0.rawValue, $0) })
    }

    private func wrong(_ key: String, _ text: String, _ expected: String) -> SettingsError {
        let variable = "KEFU_" + key.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
        let place = file.map { ", or '\(key)' in \($0)" } ?? ""
        return SettingsError("--\(key) (or \(variable)\(place)) is '\(text)'; \(expected) is expected")
    }
}

/// What is wrong with the settings of a program, and what was expected.
public struct SettingsError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What was wrong, and what was expected.
    public let description: String

    /// An error by its message.
    public init(_ description: String) { self.description = description }
}
