import Conversation
import Foundation
import Testing
import Tokenization
import Torch
import Understanding
import UnderstandingService

/// The shipped model on the real libtorch, held to what Python computed on the same file (`python -m kefu_training parity`).
@Suite(.timeLimit(.minutes(3))) struct ShippedModelTests {
    private struct Parity: Decodable {
        struct Case: Decodable {
            var text: String
            var ids: [Int64]
            var intent: [Float]
            var slots: [[Float]]
        }
        var bundle: String
        var model_sha256: String
        var tolerance: Float
        var cases: [Case]
    }

    private let parity: Parity
    private let bundle: ModelBundle

    init() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        parity = try JSONDecoder().decode(Parity.self, from: Data(contentsOf: root.appending(path: "Training/tests/resources/parity.json")))
        bundle = try ModelBundle(directory: root.appending(path: "Deploy/models/\(parity.bundle)").path(percentEncoded: false))
    }

    @Test func theCasesAreOfTheShippedFile() throws {
        #expect(bundle.manifest.files["model.pt"]?.sha256 == parity.model_sha256)
        #expect(parity.cases.count >= 40 && parity.tolerance <= 1e-4)
        let bytes = bundle.manifest.files.values.map(\.bytes).reduce(0, +)
        #expect(bytes <= 32_000_000, "a bundle has at most 32 MB")
        #expect(bundle.manifest.intents.count == 35 && bundle.manifest.slotLabels.names.count == 20)
    }

    @Test func tokensEqualThoseOfPython() throws {
        let tokenizer = Tokenizer(vocabulary: bundle.vocabulary, options: bundle.manifest.tokenization)
        for entry in parity.cases {
            #expect(tokenizer.encode(entry.text, maximumLength: bundle.manifest.maximumLength).ids == entry.ids, "\(entry.text)")
        }
    }

    @Test func logitsEqualThoseOfPythonAloneAndPadded() async throws {
        let instance = try await ModelInstance.load(path: bundle.modelPath)
        let pass = TorchForwardPass(instance: instance)
        for rows in [parity.cases.map { [$0] }, [Array(parity.cases.prefix(16))]].joined() {
            let length = try #require(rows.map(\.ids.count).max())
            let batch = TokenBatch(
                rows: rows.count, length: length,
                inputIDs: rows.flatMap { $0.ids + Array(repeating: 0, count: length - $0.ids.count) },
                attentionMask: rows.flatMap { Array(repeating: 1, count: $0.ids.count) + Array(repeating: 0, count: length - $0.ids.count) }
            )
            let logits = try await pass.forward(batch)
            try bundle.check(logits, of: batch)
            for (row, entry) in rows.enumerated() {
                let intents = logits.intent[row * 35..<(row + 1) * 35]
                #expect(zip(intents, entry.intent).allSatisfy { abs($0 - $1) <= parity.tolerance }, "\(entry.text)")
                let slots = logits.slots[row * length * 20..<(row * length + entry.ids.count) * 20]
                #expect(zip(slots, entry.slots.joined()).allSatisfy { abs($0 - $1) <= parity.tolerance }, "\(entry.text)")
            }
        }
        await instance.unload()
    }

    @Test func theEngineRecognisesOnRealParts() async throws {
        var instances: [ModelInstance] = []
        for _ in 0..<2 { instances.append(try await ModelInstance.load(path: bundle.modelPath)) }
        // However busy the machine is, nothing is refused.
        let engine = RecognitionEngine(
            bundle: bundle, workers: instances.map(TorchForwardPass.init), configuration: .init(work: .seconds(600)))
        try await engine.warmUp([(rows: 1, length: 8), (rows: 8, length: 16)])
        let recognition = try await engine.recognize(Utterance("我要改地址，订单号是２０２４１１１１０００１"), topK: 2)
        #expect(recognition.intents.first?.name == "address_change" && recognition.intents.count == 2)
        let slot = try #require(recognition.slots.first)
        #expect(slot.value == SlotValue(name: "order_id", value: "２０２４１１１１０００１", normalized: "202411110001"))
        #expect(slot.range == 10..<22)
        let confidences = try await withThrowingTaskGroup(of: Float.self) { group in
            for number in 0..<100 {
                group.addTask { try await engine.recognize(Utterance("第\(number)单怎么还不发货")).intents[0].confidence }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(confidences.count == 100 && confidences.allSatisfy { $0 > 0 && $0 <= 1 })
        await engine.drain()
        for instance in instances { await instance.unload() }
    }
}
