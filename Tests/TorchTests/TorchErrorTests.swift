import Foundation
import Testing
import Torch

@Suite("Errors are values")
struct TorchErrorTests {
    @Test(
        "a file that is no model is refused with its path",
        arguments: [
            ("missing.pt", TorchError.Code.fileNotFound, "No such file"), ("", .fileNotFound, "directory"),
            ("empty.pt", .notTorchScript, "empty"),
            ("text.pt", .notTorchScript, "not a zip file"), ("truncated.pt", .notTorchScript, "not a TorchScript archive"),
        ])
    func notAModel(name: String, expected: TorchError.Code, words: String) {
        let error = #expect(throws: TorchError.self) { _ = try ScriptModule(path: Fixture.path(name)) }
        #expect(error?.code == expected)
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
        #expect(error?.message.contains("Resources") == true)
    }

    @Test("an archive that is cut anywhere is refused")
    func cut() throws {
        let whole = try Data(contentsOf: URL(fileURLWithPath: Fixture.path("identity.pt")))
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("torch-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("model.pt")
        for length in stride(from: 1, to: whole.count, by: 97) {
            try whole.prefix(length).write(to: file)
            #expect(code { () throws(TorchError) in _ = try ScriptModule(path: file.path) } == .notTorchScript, "cut to \(length) bytes")
        }
    }

    @Test(
        "a model with another signature is refused",
        arguments: [("one-output.pt", "return 2 tensor(s)"), ("one-input.pt", "take 2 tensor(s)")])
    func wrongSignature(name: String, words: String) {
        let error = #expect(throws: TorchError.self) { _ = try ScriptModule(path: Fixture.path(name)) }
        #expect(error?.code == .wrongSignature)
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
    }

    @Test("a model with other outputs than promised is refused when it runs", arguments: ["wrong-rank.pt", "integer-output.pt"])
    func wrongOutputs(name: String) throws {
        let module = try ScriptModule(path: Fixture.path(name))
        let error = #expect(throws: TorchError.self) {
            _ = try module.forward(inputIDs: [1, 2], attentionMask: [1, 1], rows: 1, length: 2)
        }
        #expect(error?.code == .wrongSignature)
    }

    @Test(
        "devices that are not there are refused",
        arguments: [("tpu", "is no device"), ("meta", "not supported"), ("cuda:99", "not available"), ("", "is no device")])
    func devices(name: String, words: String) {
        let error = #expect(throws: TorchError.self) { _ = try ScriptModule(path: Fixture.path("identity.pt"), device: name) }
        #expect(error?.code == .deviceUnavailable)
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
        let checked = #expect(throws: TorchError.self) { try TorchRuntime.check(device: name, precision: .float32) }
        #expect(checked?.code == error?.code && checked?.message == error?.message)
    }

    @Test("a device is checked without a model")
    func deviceCheck() throws {
        try TorchRuntime.check(device: "cpu", precision: .float32)
        let error = #expect(throws: TorchError.self) { try TorchRuntime.check(device: "cpu", precision: .float16) }
        #expect(error?.code == .deviceUnavailable)
        #expect(error?.message.contains("float16 is for GPUs") == true)
    }

    @Test("a pass that finds no memory says so, and the next one works")
    func outOfMemory() throws {
        let module = try ScriptModule(path: Fixture.path("hungry.pt"))
        for _ in 0..<2 {
            let error = #expect(throws: TorchError.self) {
                _ = try module.forward(inputIDs: [13, 13], attentionMask: [1, 1], rows: 2, length: 1)
            }
            #expect(error?.code == .outOfMemory)
            #expect(error?.message.contains("can't allocate memory") == true, "\(String(describing: error))")
            #expect(try module.forward(inputIDs: [13, 2], attentionMask: [1, 1], rows: 2, length: 1)[0].values == [13, 2])
        }
    }

    @Test("shapes are checked before libtorch sees them")
    func shapes() throws {
        let module = try ScriptModule(path: Fixture.path("identity.pt"))
        for (rows, length, count) in [(0, 4, 0), (4, 0, 0), (2, 2, 3), (-1, -4, 4), (Int.max, 3, 3), (1, 1, 0)] {
            let values = [Int64](repeating: 1, count: count)
            let found = code { () throws(TorchError) in
                _ = try module.forward(inputIDs: values, attentionMask: values, rows: rows, length: length)
            }
            #expect(found == .badShape, "\(rows) x \(length)")
        }
        let single = try IntegerTensor(shape: [1, 1], values: [1])
        #expect(code { () throws(TorchError) in _ = try module.forward([single]) } == .badShape)
        #expect(code { () throws(TorchError) in _ = try IntegerTensor(shape: [], values: [1]) } == .badShape)
        #expect(code { () throws(TorchError) in _ = try IntegerTensor(shape: [Int](repeating: 1, count: 9), values: [1]) } == .badShape)
    }

    @Test("what a model raises comes back, and the model goes on", arguments: ["bert-gru-scripted.pt", "bert-gru-traced-float16.pt"])
    func idsOutOfRange(name: String) throws {
        let module = try ScriptModule(path: Fixture.path(name))
        for id in [Int64(50), -1, .max, .min] {
            let error = #expect(throws: TorchError.self) {
                _ = try module.forward(inputIDs: [1, id], attentionMask: [1, 1], rows: 1, length: 2)
            }
            #expect(error?.code == .modelFailed)
            #expect(error?.message.contains("index out of range") == true, "\(String(describing: error))")
        }
        let long = [Int64](repeating: 1, count: 65)
        #expect(
            code { () throws(TorchError) in _ = try module.forward(inputIDs: long, attentionMask: long, rows: 1, length: 65) }
                == .modelFailed)
        #expect(try module.forward(inputIDs: [1, 49], attentionMask: [1, 1], rows: 1, length: 2).count == 2)
    }

    @Test("an exception in TorchScript is an error with its text")
    func raises() throws {
        let module = try ScriptModule(path: Fixture.path("raises.pt"))
        let error = #expect(throws: TorchError.self) { _ = try module.forward(inputIDs: [13], attentionMask: [1], rows: 1, length: 1) }
        #expect(error?.code == .modelFailed)
        #expect(error?.message.contains("thirteen is not welcome") == true, "\(String(describing: error))")
        #expect(error?.cause?.contains("Traceback") == true)
        #expect(try module.forward(inputIDs: [12], attentionMask: [1], rows: 1, length: 1)[0].values == [12])
    }
}
