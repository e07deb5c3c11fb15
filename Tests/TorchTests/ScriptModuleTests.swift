import Foundation
import Testing

@testable import Torch

@Suite("Loaded modules")
struct ScriptModuleTests {
    @Test("the cases were read")
    func casesAreThere() {
        #expect(
            Fixture.cases.count == 6 && Fixture.wideCases.count == 6 && Fixture.tilesCases.count == 6 && Fixture.encoderCases.count == 6)
    }

    @Test("outputs equal those of Python, whatever the file stores", arguments: Fixture.forms, Fixture.cases)
    func equalsPython(name: String, expected: Fixture.Case) throws {
        let module = try ScriptModule(path: Fixture.path(name))
        let outputs = try module.forward(
            inputIDs: expected.inputIDs, attentionMask: expected.attentionMask, rows: expected.rows, length: expected.length)
        #expect(outputs.map(\.shape) == [[expected.rows, 5], [expected.rows, expected.length, 4]])
        #expect(largestDifference(outputs[0].values, expected.intent) < 1e-4)
        #expect(largestDifference(outputs[1].values, expected.slots) < 1e-4)
    }

    @Test("what is rewritten for the CPU gives the same", arguments: [("wide.pt", Fixture.wideCases), ("tiles.pt", Fixture.tilesCases)])
    func rewrittenEqualsPython(name: String, cases: [Fixture.Case]) throws {
        let module = try ScriptModule(path: Fixture.path(name))
        for expected in cases {
            let outputs = try module.forward(
                inputIDs: expected.inputIDs, attentionMask: expected.attentionMask, rows: expected.rows, length: expected.length)
            #expect(outputs.map(\.shape) == [[expected.rows, 5], [expected.rows, expected.length, 4]])
            #expect(largestDifference(outputs[0].values, expected.intent) < 1e-4, "\(expected)")
            #expect(largestDifference(outputs[1].values, expected.slots) < 1e-4, "\(expected)")
        }
    }

    @Test("a row of a batch gives what it gives alone")
    func rowsAreIndependent() throws {
        let module = try ScriptModule(path: Fixture.path("bert-gru-traced.pt"))
        let batch = Fixture.cases[4]
        let together = try module.forward(
            inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
        for row in 0..<batch.rows {
            let range = row * batch.length..<(row + 1) * batch.length
            let alone = try module.forward(
                inputIDs: Array(batch.inputIDs[range]), attentionMask: Array(batch.attentionMask[range]), rows: 1, length: batch.length)
            #expect(largestDifference(alone[0].values, Array(together[0].values[row * 5..<(row + 1) * 5])) < 1e-5)
        }
    }

    @Test("bytes count converted tensors once each", arguments: Fixture.forms)
    func parameterBytes(name: String) throws {
        // 4 bytes each of: embeddings, layer, GRU, heads, and one 16 x 16 weight with two biases that two linear layers share.
        let embeddings = 50 * 16 + 64 * 16
        let layer = 4 * (16 * 16 + 16) + (32 * 16 + 32) + (16 * 32 + 16) + 4 * 16
        let gru = 2 * (24 * 16 + 24 * 8 + 24 + 24)
        let heads = (5 * 16 + 5) + (4 * 16 + 4)
        let shared = 16 * 16 + 16 + 16
        let module = try ScriptModule(path: Fixture.path(name))
        #expect(module.parameterBytes == 4 * (embeddings + layer + gru + heads + shared))
    }

    @Test("float16 is for GPUs")
    func float16() {
        #expect(!Precision.float16.isSupportedOnCPU)
        #expect(
            code { () throws(TorchError) in _ = try ScriptModule(path: Fixture.path(Fixture.forms[0]), precision: .float16) }
                == .deviceUnavailable)
    }

    @Test("the share of GPU memory is checked, and refused where there is no CUDA", arguments: [0, -1, 1.5, .nan])
    func shareOfGPUMemory(share: Double) {
        #expect(code { () throws(TorchError) in try TorchRuntime.limitGPUMemory(share: share) } == .invalidArgument)
        // In a libtorch with CUDA this would hold for the whole process.
        do throws(TorchError) {
            try TorchRuntime.check(device: "cuda", precision: .float32)
        } catch  where error.message.contains("built without CUDA") {
            #expect(code { () throws(TorchError) in try TorchRuntime.limitGPUMemory(share: 0.5) } == .deviceUnavailable)
        } catch {
            #expect(error.code == .deviceUnavailable)
        }
    }

    @Test("bfloat16 computes where the CPU can, and is refused where it cannot")
    func bfloat16() throws {
        let path = Fixture.path("wide.pt")
        guard Precision.bfloat16.isSupportedOnCPU else {
            #expect(code { () throws(TorchError) in _ = try ScriptModule(path: path, precision: .bfloat16) } == .deviceUnavailable)
            return
        }
        let exact = try ScriptModule(path: path)
        let module = try ScriptModule(path: path, precision: .bfloat16)
        // The weights of the linear layer and of the GRU's input take 2 bytes instead of 4; the heads are too narrow to be worth it.
        #expect(module.parameterBytes == exact.parameterBytes - 2 * (32 * 64 + 64 * 72))
        let batch = Fixture.wideCases[3]
        let outputs = try module.forward(
            inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
        #expect(outputs.map(\.shape) == [[3, 5], [3, 17, 4]])
        let difference = largestDifference(outputs[0].values, batch.intent)
        #expect(difference > 0 && difference < 0.1)
        // What is not rewritten stays as it is.
        let narrow = try ScriptModule(path: Fixture.path("bert-gru-scripted-float16.pt"), precision: .bfloat16)
        let case3 = Fixture.cases[3]
        let same = try narrow.forward(
            inputIDs: case3.inputIDs, attentionMask: case3.attentionMask, rows: case3.rows, length: case3.length)
        #expect(largestDifference(same[0].values, case3.intent) < 1e-4)
    }

    @Test("tiles of bfloat16 give each row what float32 gives it, but for the rounding", .enabled(if: Precision.bfloat16.isSupportedOnCPU))
    func tiles() throws {
        let exact = try ScriptModule(path: Fixture.path("tiles.pt"))
        let module = try ScriptModule(path: Fixture.path("tiles.pt"), precision: .bfloat16)
        #expect(module.parameterBytes == exact.parameterBytes - 2 * (96 * 160 + 160 * 96 + 96 * 96 + 144 * 96))
        for expected in Fixture.tilesCases {
            let outputs = try module.forward(
                inputIDs: expected.inputIDs, attentionMask: expected.attentionMask, rows: expected.rows, length: expected.length)
            for (output, values) in zip(outputs, [expected.intent, expected.slots]) {
                let difference = largestDifference(output.values, values)
                #expect(difference > 0 && difference < 0.02, "\(expected)")
            }
        }
    }

    @Test(
        "layers of an encoder and GRUs both ways are an operator each, and give what libtorch gives",
        arguments: [Precision.float32, .bfloat16])
    func encoder(precision: Precision) throws {
        guard precision == .float32 || precision.isSupportedOnCPU else { return }
        let module = try ScriptModule(path: Fixture.path("encoder.pt"), precision: precision)
        // Only a processor that multiplies tiles has them by layers; what computes in bfloat16 without it, by operators of libtorch.
        let layers = module.operatorCount("kefu::encoder_layer")
        #expect(precision == .float32 ? layers == 0 : [0, 3].contains(layers))
        #expect(module.operatorCount("kefu::bidirectional_gru") == 2 && module.operatorCount("aten::gru") == 0)
        #expect(module.operatorCount("kefu::add_norm") == (layers == 3 ? 3 : 9))
        for expected in Fixture.encoderCases {
            let outputs = try module.forward(
                inputIDs: expected.inputIDs, attentionMask: expected.attentionMask, rows: expected.rows, length: expected.length)
            for (output, values) in zip(outputs, [expected.intent, expected.slots]) {
                let difference = largestDifference(output.values, values)
                #expect(difference > 0 && difference < (precision == .float32 ? 1e-5 : 0.03), "\(expected)")
            }
        }
    }

    @Test("the shipped models are computed by operators of ours", arguments: ["ecommerce/4", "ecommerce-light/3"])
    func shipped(name: String) throws {
        let path = URL(filePath: #filePath).appending(path: "../../../Deploy/models/\(name)/model.pt").standardized.path
        let module = try ScriptModule(path: path, precision: Precision.bfloat16.isSupportedOnCPU ? .bfloat16 : .float32)
        #expect(module.operatorCount("kefu::bidirectional_gru") == 1)
        #expect(module.operatorCount("aten::layer_norm") == 0)
        let layers = name == "ecommerce/4" ? 6 : 2
        #expect(
            module.operatorCount("kefu::encoder_layer") == layers || module.operatorCount("kefu::add_norm") == 2 * layers + 1)
    }

    @Test("what cannot be frozen is computed in the precision that was asked for", .enabled(if: Precision.bfloat16.isSupportedOnCPU))
    func unfrozen() throws {
        let exact = try ScriptModule(path: Fixture.path("swaps-parts.pt"))
        let module = try ScriptModule(path: Fixture.path("swaps-parts.pt"), precision: .bfloat16)
        #expect(exact.parameterBytes == 4 * 2 * 128 && module.parameterBytes == 2 * 2 * 128)
        let left = try exact.forward(inputIDs: [3, 5], attentionMask: [1, 1], rows: 1, length: 2)
        let right = try module.forward(inputIDs: [3, 5], attentionMask: [1, 1], rows: 1, length: 2)
        let difference = largestDifference(left[1].values, right[1].values)
        #expect(difference > 0 && difference < 0.1)
    }

    @Test("inputs of any rank go in, and the caller's arrays stay as they are")
    func inputsStay() throws {
        let identity = try ScriptModule(path: Fixture.path("identity.pt"), signature: Signature(inputs: 2, outputRanks: [3, 4]))
        let cube = try IntegerTensor(shape: [1, 2, 3], values: [1, -2, 3, 4, 5, 1 << 20])
        #expect(try identity.forward([cube, cube])[0] == identity.forward([cube, cube])[0])
        #expect(try identity.forward([cube, cube])[0].values == [1, -2, 3, 4, 5, 1_048_576])

        let writer = try ScriptModule(path: Fixture.path("writes-inputs.pt"))
        let ids: [Int64] = [1, 2, 3, 4]
        let mask: [Int64] = [1, 1, 1, 0]
        let outputs = try writer.forward(inputIDs: ids, attentionMask: mask, rows: 2, length: 2)
        #expect(outputs[0].values == [2, 3, 4, 5] && outputs[1].values == [7, 1, 7, 0])
        #expect(ids == [1, 2, 3, 4] && mask == [1, 1, 1, 0])
    }

    @Test(
        "memory does not grow over 2,000 forward passes and 50 loads",
        .disabled(
            if: getenv("ASAN_OPTIONS") != nil || getenv("TSAN_OPTIONS") != nil,
            "a sanitizer keeps what was freed, and grows by itself; Leak Sanitizer looks at the passes of the other tests"))
    func memoryIsStable() async {
        // In a process of its own: other tests allocate too.
        await #expect(processExitsWith: .success) {
            let batch = (ids: [Int64](repeating: 7, count: 8 * 32), mask: [Int64](repeating: 1, count: 8 * 32))
            func run(_ count: Int) throws {
                let module = try ScriptModule(path: Fixture.path("bert-gru-traced-float16.pt"))
                for _ in 0..<count { _ = try module.forward(inputIDs: batch.ids, attentionMask: batch.mask, rows: 8, length: 32) }
            }
            try run(300)
            for _ in 0..<10 { try run(1) }
            let before = try #require(TorchRuntime.residentBytes)
            try run(2000)
            for _ in 0..<50 { try run(1) }
            let after = try #require(TorchRuntime.residentBytes)
            #expect(after - before < 4 << 20, "\(before) bytes before, \(after) after")
        }
    }

    /// That it starts the program anew where nothing is set is tested on the intent server: a test process would run all its tests again.
    @Test("what the environment says about waiting stands")
    func passiveWaiting() async {
        await #expect(processExitsWith: .success) {
            setenv("OMP_WAIT_POLICY", "active", 1)
            try TorchRuntime.restartToWaitPassively()
            #expect(!TorchRuntime.waitsPassively)
        }
    }

    @Test("threads can be counted and set")
    func threads() async {
        await #expect(processExitsWith: .success) {
            #expect(TorchRuntime.version.hasPrefix("2."))
            #expect(TorchRuntime.intraOpThreads >= 1 && TorchRuntime.interOpThreads >= 1)
            #expect(code { () throws(TorchError) in try TorchRuntime.setIntraOpThreads(0) } == .invalidArgument)
            #expect(code { () throws(TorchError) in try TorchRuntime.setInterOpThreads(100_000) } == .invalidArgument)
            try TorchRuntime.setIntraOpThreads(3)
            #expect(TorchRuntime.intraOpThreads == 3)
            try TorchRuntime.setInterOpThreads(2)
            #expect(TorchRuntime.interOpThreads == 2)
            #expect(code { () throws(TorchError) in try TorchRuntime.setInterOpThreads(3) } == .failed)
        }
    }
}
