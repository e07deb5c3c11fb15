import Conversation
import Foundation
import Testing
import TestSupport

@testable import Understanding

@Suite(.timeLimit(.minutes(1))) struct KeptAnswers {
    let model = fakeModel()
    let engine: RecognitionEngine
    let made: TestBundle

    init() throws {
        made = try TestBundle()
        engine = RecognitionEngine(bundle: try made.load(), workers: [model], configuration: .init(cacheBytes: 100_000))
    }

    @Test func theSameTokensAreComputedOnce() async throws {
        let first = try await engine.recognize(Utterance("退两百块"), topK: 1)
        #expect(first.route == .model && first.intents.count == 1)
        // Other white space and full-width forms are the same tokens; the slot is where this text has it, as this text writes it.
        let second = try await engine.recognize(Utterance("  退 两　百块"), topK: 2)
        #expect(second.route == .cache && second.timing == Timing() && second.model == "shop@3")
        #expect(second.intents.count == 2 && second.intents.first == first.intents.first)
        #expect(first.slots.map(\.range) == [1..<4] && first.slots.map(\.value.value) == ["两百块"])
        #expect(second.slots.map(\.range) == [4..<8] && second.slots.map(\.value.value) == ["两　百块"])
        #expect(second.slots.map(\.value.normalized) == first.slots.map(\.value.normalized))
        #expect(try await engine.recognize(Utterance("退两百")).route == .model)
        #expect(model.batches.count == 2)
    }

    @Test func withoutBytesNothingIsKept() async throws {
        let engine = RecognitionEngine(bundle: try made.load(), workers: [model])
        for _ in 0..<2 { #expect(try await engine.recognize(Utterance("改")).route == .model) }
        #expect(model.batches.count == 2)
    }

    @Test func callersAtTheSameTimeShareAComputation() async throws {
        model.pause()
        let callers = (0..<20).map { _ in Task { try await engine.recognize(Utterance("改")) } }
        await model.begun(1)
        while engine.keptWaiting < 20 { await Task.yield() }
        model.resume()
        for caller in callers {
            let recognition = try await caller.value
            #expect(recognition.route == .model && recognition.intents.first?.name == "address_change")
        }
        #expect(model.batches.map(\.rows) == [1])
    }

    @Test func theFirstCallerMayLeave() async throws {
        model.pause()
        let first = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let second = Task { try await engine.recognize(Utterance("改")) }
        while engine.keptWaiting < 2 { await Task.yield() }
        first.cancel()
        await #expect(throws: ConversationError(.cancelled, "the caller no longer waits")) { try await first.value }
        model.resume()
        #expect(try await second.value.intents.first?.name == "address_change")
        #expect(model.batches.count == 1)
    }

    @Test func whatNobodyWaitsForIsNotComputed() async throws {
        model.pause()
        let busy = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let callers = (0..<3).map { _ in Task { try await engine.recognize(Utterance("退")) } }
        while engine.keptWaiting < 4 || engine.waiting < 1 { await Task.yield() }
        for caller in callers { caller.cancel() }
        for caller in callers { await #expect(throws: ConversationError.self) { try await caller.value } }
        model.resume()
        _ = try await busy.value
        await engine.drain()
        #expect(model.batches.count == 1)
    }

    @Test func aFailureIsToldToAllAndNotKept() async throws {
        struct Broken: Error {}
        model.pause()
        model.set(.throwing(Broken()))
        let callers = (0..<5).map { _ in Task { try await engine.recognize(Utterance("改")) } }
        await model.begun(1)
        while engine.keptWaiting < 5 { await Task.yield() }
        model.resume()
        for caller in callers {
            let error = await #expect(throws: ConversationError.self) { try await caller.value }
            #expect(error?.code == .internalError)
        }
        #expect(model.batches.count == 1)
        model.set(nil)
        #expect(try await engine.recognize(Utterance("改")).route == .model)
    }

    @Test func callersWithMoreTimeOutliveTheFirst() async throws {
        model.pause()
        let busy = Task { try await engine.recognize(Utterance("改")) }
        await model.begun(1)
        let soon = Task { try await engine.recognize(Utterance("退"), deadline: .now + .milliseconds(100)) }
        while engine.keptWaiting < 2 { await Task.yield() }
        let late = (0..<3).map { _ in Task { try await engine.recognize(Utterance("退"), deadline: .now + .seconds(50)) } }
        while engine.keptWaiting < 5 { await Task.yield() }
        let expired = await #expect(throws: ConversationError.self) { try await soon.value }
        #expect(expired?.code == .deadlineExceeded)
        model.resume()
        _ = try await busy.value
        for caller in late { #expect(try await caller.value.intents.first?.name == "refund_request") }
        #expect(model.batches.count == 2)
    }

    @Test func aMoreUrgentCallerDoesNotWaitForALessUrgentOne() {
        typealias Urgency = AnswerCache<Int, Int>.Urgency
        let now = ContinuousClock.now
        let (soon, later) = (now + .seconds(1), now + .seconds(2))
        let cases: [(Urgency, Urgency, Bool)] = [
            (.init(priority: .standard, deadline: soon), .init(priority: .standard, deadline: soon), true),
            (.init(priority: .standard, deadline: soon), .init(priority: .standard, deadline: later), true),
            (.init(priority: .standard, deadline: later), .init(priority: .standard, deadline: soon), false),
            (.init(priority: .interactive, deadline: soon), .init(priority: .background, deadline: nil), true),
            (.init(priority: .background, deadline: soon), .init(priority: .interactive, deadline: later), false),
            (.init(priority: .standard, deadline: nil), .init(priority: .standard, deadline: nil), true),
            (.init(priority: .standard, deadline: nil), .init(priority: .standard, deadline: later), false),
        ]
        for (flight, caller, joins) in cases { #expect(flight.isAtLeast(caller) == joins) }
    }

    @Test func bytesAreBounded() async throws {
        let cache = AnswerCache<Int, Int>(bytes: 1000) { _, cost in cost }
        var random = Seeded(state: 7)
        for _ in 0..<500 {
            let cost = Int.random(in: 1...300, using: &random)
            let key = Int.random(in: 0..<50, using: &random)
            let answer = try await cache.answer(for: key, urgency: .init(priority: .standard)) { cost }
            #expect(answer.wasKept || answer.value == cost)
            #expect(cache.bytes <= 1000)
        }
        #expect(cache.bytes > 500)
    }
}
