import Foundation
import Testing
import Torch

/// The files of `Resources/`, which `generate.py` there writes.
enum Fixture {
    /// One thread a forward pass, from the first path on: the machine that runs the tests may be busy, and OpenMP's teams spin.
    private static let oneThread: Bool = code { () throws(TorchError) in try TorchRuntime.setIntraOpThreads(1) } == nil

    /// The path of a file.
    static func path(_ name: String) -> String {
        #expect(oneThread)
        return Bundle.module.bundleURL.appendingPathComponent("Resources").appendingPathComponent(name).path
    }

    /// Inputs, and what Python's torch gives for them with `bert-gru-*.pt`.
    struct Case: Decodable, Sendable, CustomTestStringConvertible {
        var rows: Int
        var length: Int
        var inputIDs: [Int64]
        var attentionMask: [Int64]
        var intent: [Float]
        var slots: [Float]

        var testDescription: String { "\(rows) x \(length)" }
    }

    /// All cases.
    static let cases = read("expected.json")

    /// The same inputs, and what Python's torch gives for them with `wide.pt`.
    static let wideCases = read("expected-wide.json")

    /// The same inputs, and what Python's torch gives for them with `tiles.pt`.
    static let tilesCases = read("expected-tiles.json")

    /// The same inputs, and what Python's torch gives for them with `encoder.pt`.
    static let encoderCases = read("expected-encoder.json")

    private static func read(_ name: String) -> [Case] {
        guard let data = FileManager.default.contents(atPath: path(name)) else { return [] }
        return (try? JSONDecoder().decode([Case].self, from: data)) ?? []
    }

    /// The paths of one model in its four forms: scripted and traced, stored as float32 and as float16.
    static let forms = ["bert-gru-scripted.pt", "bert-gru-scripted-float16.pt", "bert-gru-traced.pt", "bert-gru-traced-float16.pt"]
}

/// The largest difference of two lists of numbers; infinite where they are not of one length, or where a number is not finite.
func largestDifference(_ left: [Float], _ right: [Float]) -> Float {
    guard left.count == right.count else { return .infinity }
    return zip(left, right).reduce(0) { largest, pair in
        let difference = abs(pair.0 - pair.1)
        return difference.isFinite ? max(largest, difference) : .infinity
    }
}

/// The code of the error that `body` throws; nil where it throws none.
func code(_ body: () throws(TorchError) -> Void) -> TorchError.Code? {
    do throws(TorchError) {
        try body()
        return nil
    } catch {
        return error.code
    }
}

/// Names of the threads of this process.
func threadNames() -> [String] {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    return tasks.compactMap { task in
        (try? String(contentsOfFile: "/proc/self/task/\(task)/comm", encoding: .utf8))?.trimmingCharacters(in: .newlines)
    }
}
