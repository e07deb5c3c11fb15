import Batching
import Conversation
import Foundation
import Testing
import TestSupport
import Understanding

@Suite struct Recognizing {
    /// The slots of a text, as `name=value@range`, with their standard form where it differs.
    func slots(_ text: String, maximumLength: Int = 32) async throws -> [String] {
        let made = try TestBundle { $0["max_length"] = maximumLength }
        let engine = RecognitionEngine(bundle: try made.load(), workers: [fakeModel()])
        return try await engine.recognize(Utterance(text)).slots.map { slot in
            let standard = slot.value.normalized == slot.value.value ? "" : "→\(slot.value.normalized)"
            return "\(slot.value.name)=\(slot.value.value)\(standard)@\(slot.range)"
        }
    }

    @Test(arguments: [
        ("我要改地址", []),
        ("退两百块", ["amount=两百块→200元@1..<4"]),
        ("单号", ["order_id=单号@0..<2"]),
        // I- comes after its own slot alone: the labels that agree with each other win over those that do not.
        ("百块我", ["amount=百块→百元@0..<2"]), ("单百号", ["order_id=单百号@0..<3"]), ("我百", []), ("百", []),
        ("单我我号", ["order_id=单@0..<1"]),
        // B- begins one, whatever is before it.
        ("单单号", ["order_id=单@0..<1", "order_id=单号@1..<3"]), ("两两", ["amount=两→2@0..<1", "amount=两→2@1..<2"]),
        // X is never chosen for a word.
        ("单的号", ["order_id=单的号@0..<3"]), ("的", []),
        // Further pieces belong to their word, whatever their label.
        ("sf12我", ["order_id=sf12→SF12@0..<4"]), ("我sf1单", ["order_id=sf1→SF1@1..<4", "order_id=单@4..<5"]),
        // Values are as written, gaps within a span included; ranges count scalars.
        ("👍🏻，ＳＦ１２", ["order_id=ＳＦ１２→SF12@3..<7"]), ("两　百 块", ["amount=两　百 块→200元@0..<5"]),
        ("e\u{301}单\u{200D}号", ["order_id=单\u{200D}号→单号@2..<5"]),
    ])
    func slotsOf(_ text: String, _ expected: [String]) async throws { #expect(try await slots(text) == expected) }

    @Test func aTextThatIsTooLongIsCutAtItsEnd() async throws {
        #expect(try await slots("我两百块", maximumLength: 5) == ["amount=两百→200@1..<3"])
    }

    @Test func intentsByFallingCalibratedConfidence() async throws {
        for temperature in [1.0, 2.0] {
            let made = try TestBundle { $0["temperature"] = temperature }
            let engine = RecognitionEngine(bundle: try made.load(), workers: [fakeModel()])
            let recognition = try await engine.recognize(Utterance("退款"), topK: 2)
            let power = exp(Double(FakeForwardPass.chosen) / temperature)
            #expect(recognition.intents.map(\.name) == ["refund_request", "address_change"])
            #expect(abs(Double(recognition.intents[0].confidence) - power / (power + 2)) < 1e-6)
            #expect(abs(Double(recognition.intents[1].confidence) - 1 / (power + 2)) < 1e-6)
            #expect(recognition.model == "shop@3")
            #expect(recognition.route == .model)
            #expect(recognition.timing.batchSize == 1)
            #expect(recognition.timing.paddedLength == 4)
            #expect(try await engine.recognize(Utterance("我"), topK: 99).intents.count == 3)
            #expect(try await engine.recognize(Utterance("我"), topK: 0).intents.map(\.name) == ["chitchat"])
        }
    }

    @Test func confidenceOfASlotIsTheLeastAlongItsSpan() async throws {
        let engine = RecognitionEngine(bundle: try TestBundle().load(), workers: [fakeModel()])
        let recognition = try await engine.recognize(Utterance("我两百"))
        let slot = try #require(recognition.slots.first)
        let power = exp(Double(FakeForwardPass.chosen))
        // X has no part in it: five labels are left.
        #expect(abs(Double(slot.confidence) - power / (power + 4)) < 1e-6)
        // Words outside slots count for the labels of the whole; no words, no doubt.
        #expect(try abs(Double(#require(recognition.labelConfidence)) - power / (power + 4)) < 1e-6)
        #expect(try await engine.recognize(Utterance("\u{200D}")).labelConfidence == 1)
    }

    @Test func rowsArePaddedWithZeros() async throws {
        let model = fakeModel()
        let engine = RecognitionEngine(bundle: try TestBundle().load(), workers: [model], configuration: .init(paddingShare: 1))
        model.pause()
        let first = Task { try await engine.recognize(Utterance("我")) }
        await model.begun(1)
        let others = ["我要", "改"].map { text in Task { try await engine.recognize(Utterance(text)) } }
        while engine.waiting < 2 { await Task.yield() }
        model.resume()
        _ = try await first.value
        for other in others { #expect(try await other.value.timing.batchSize == 2) }
        let batch = model.batches[1]
        #expect(batch.rows == 2)
        #expect(batch.length == 4)
        let short: [Int64] = [2, 6, 3, 0]
        let row = batch.inputIDs.prefix(4).elementsEqual(short) ? 0 : 1
        #expect(Array(batch.inputIDs[row * 4..<row * 4 + 4]) == short)
        #expect(Array(batch.attentionMask[row * 4..<row * 4 + 4]) == [1, 1, 1, 0])
    }

    @Test func aTextOfNothingButFormatCharactersIsStillAnswered() async throws {
        let engine = RecognitionEngine(bundle: try TestBundle().load(), workers: [fakeModel()])
        let recognition = try await engine.recognize(Utterance("\u{200B}\u{FEFF} "))
        #expect(recognition.intents.first?.name == "chitchat")
        #expect(recognition.slots.isEmpty)
    }
}

@Suite struct UnderLoadAndFailure {
    let bundle: ModelBundle
    let model = fakeModel()

    init() throws { bundle = try TestBundle().load() }

    func failure(_ body: () async throws -> Recognition) async -> ConversationError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? ConversationError
        }
    }

    @Test func manyCallersEachGetTheirOwn() async throws {
        let engine = RecognitionEngine(
            bundle: bundle, workers: [model, model, model], configuration: .init(batchSize: 8, waiting: 4000, work: .seconds(3600)))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<2000 {
                group.addTask {
                    let filler = String(repeating: "我", count: number % 17)
                    let (text, intent) = [("改", "address_change"), ("退两百", "refund_request"), ("单号", "chitchat")][number % 3]
                    let recognition = try await engine.recognize(Utterance(filler + text))
                    #expect(recognition.intents.first?.name == intent)
                    #expect(
                        recognition.slots.map(\.range.lowerBound) == (number % 3 == 0 ? [] : [filler.count + (number % 3 == 1 ? 1 : 0)]))
                    #expect((1...8).contains(recognition.timing.batchSize))
                }
            }
            try await group.waitForAll()
        }
        await engine.drain()
        #expect(model.batches.map(\.rows).reduce(0, +) == 2000)
    }

    @Test func aDeadlineThatHasPassedIsNotComputed() async throws {
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        let past = await failure { try await engine.recognize(Utterance("我"), deadline: .now) }
        #expect(past?.code == .deadlineExceeded)
        model.pause()
        let first = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let late = await failure { try await engine.recognize(Utterance("我"), deadline: .now + .milliseconds(20)) }
        #expect(late?.code == .deadlineExceeded)
        model.resume()
        #expect(try await first.value.intents.first?.name == "address_change")
        await engine.drain()
        #expect(model.batches.count == 1)
    }

    @Test func aCallerThatLeavesIsNotComputed() async throws {
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        model.pause()
        let first = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let second = Task { try await engine.recognize(Utterance("我")) }
        while engine.waiting < 1 { await Task.yield() }
        second.cancel()
        #expect(await failure { try await second.value }?.code == .cancelled)
        model.resume()
        _ = try await first.value
        await engine.drain()
        #expect(model.batches.count == 1)
    }

    @Test func tooManyAreRefusedAtOnce() async throws {
        let engine = RecognitionEngine(bundle: bundle, workers: [model], configuration: .init(waiting: 1))
        model.pause()
        let first = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let second = Task { try await engine.recognize(Utterance("退")) }
        while engine.waiting < 1 { await Task.yield() }
        let refused = await failure { try await engine.recognize(Utterance("我")) }
        #expect(refused?.code == .resourceExhausted)
        #expect(refused?.message == "the model shop@3 has too much to do: 1 requests wait already")
        model.resume()
        #expect(try await first.value.intents.first?.name == "address_change")
        #expect(try await second.value.intents.first?.name == "refund_request")
    }

    @Test func aModelThatFailsIsToldToEachCallerAndTheNextBatchWorks() async throws {
        struct Broken: Error {}
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        model.pause()
        model.set(.throwing(Broken()))
        let first = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let others = (0..<5).map { _ in Task { try await engine.recognize(Utterance("我")) } }
        while engine.waiting < 5 { await Task.yield() }
        model.resume()
        for task in [first] + others {
            let error = await failure { try await task.value }
            #expect(error?.code == .internalError)
            #expect(error?.message == "the model shop@3 failed: Broken()")
        }
        let refusal = ConversationError(.resourceExhausted, "the device has no memory left")
        model.set(.throwing(refusal))
        #expect(await failure { try await engine.recognize(Utterance("改")) } == refusal)
        model.set(nil)
        #expect(try await engine.recognize(Utterance("改")).intents.first?.name == "address_change")
    }

    @Test func aBatchThatIsTooLargeIsSplitOnce() async throws {
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        for (limit, isAnswered) in [(1, true), (0, false)] {
            let before = model.batches.count
            model.set(nil)
            model.pause()
            let first = Task { try await engine.recognize(Utterance("改")) }
            await model.begun(before + 1)
            let others = (0..<2).map { _ in Task { try await engine.recognize(Utterance("我")) } }
            while engine.waiting < 2 { await Task.yield() }
            model.set(.throwingAbove(rows: limit, BatchTooLarge()))
            model.resume()
            for task in [first] + others {
                if isAnswered {
                    #expect(try await task.value.intents.first?.name != nil)
                } else {
                    let error = await failure { try await task.value }
                    #expect(error?.code == .resourceExhausted)
                    #expect(error?.message == "the model shop@3 has no memory: 1 rows of 3 do not fit into memory")
                }
            }
            #expect(model.batches[before...].map(\.rows) == [1, 2, 1, 1])
        }
    }

    @Test func whatIsNotANumberIsAnError() async throws {
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        model.set(.notANumber)
        let error = await failure { try await engine.recognize(Utterance("改")) }
        #expect(error == ConversationError(.internalError, "the model shop@3 gave a value that is not a finite number"))
    }

    @Test func outputsOfAWrongSizeAreAnError() async throws {
        let engine = RecognitionEngine(bundle: bundle, workers: [model])
        model.set(.wrongSize)
        let error = await failure { try await engine.recognize(Utterance("改")) }
        #expect(error?.code == .internalError)
        #expect(
            error?.message.hasSuffix("model.pt: slot_labels: the model gives 17 values for 3 rows; 6 a row are expected by manifest.json")
                == true)
        await #expect(throws: BundleError.self) { try await engine.warmUp([(rows: 1, length: 4)]) }
    }

    @Test func warmsEveryShapeOnEveryWorker() async throws {
        let other = fakeModel()
        let engine = RecognitionEngine(bundle: bundle, workers: [model, other])
        let times = try await engine.warmUp([(rows: 1, length: 8), (rows: 4, length: 16)])
        #expect(times.map { [$0.rows, $0.length] } == [[1, 8], [4, 16]])
        #expect(times.allSatisfy { $0.first > .zero && $0.median > .zero })
        for worker in [model, other] {
            // A quick shape is run four times.
            let shapes = worker.batches.map { [$0.rows, $0.length] }
            #expect(shapes.first == [1, 8] && shapes.last == [4, 16] && (2...8).contains(shapes.count))
            #expect(shapes.sorted { $0[0] < $1[0] } == shapes)
            #expect(worker.batches.allSatisfy { !$0.attentionMask.contains(0) })
        }
    }

    @Test func drainAnswersWhoWaitsAndStopRefusesThem() async throws {
        for stops in [false, true] {
            let model = fakeModel()
            let engine = RecognitionEngine(bundle: bundle, workers: [model])
            model.pause()
            let first = Task { try await engine.recognize(Utterance("改")) }
            await model.begun(1)
            let second = Task { try await engine.recognize(Utterance("退")) }
            while engine.waiting < 1 { await Task.yield() }
            if stops { engine.stop() }
            let drained = Task { await engine.drain() }
            if stops { #expect(await failure { try await second.value }?.code == .unavailable) }
            model.resume()
            await drained.value
            #expect(try await first.value.intents.first?.name == "address_change")
            if !stops { #expect(try await second.value.intents.first?.name == "refund_request") }
            #expect(await failure { try await engine.recognize(Utterance("我")) }?.code == .unavailable)
        }
    }
}
