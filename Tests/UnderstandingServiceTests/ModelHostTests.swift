import Conversation
import Foundation
import Logging
import Testing
import TestSupport
import Understanding
import UnderstandingService

@Suite(.timeLimit(.minutes(1))) struct Serving {
    @Test func servesTheHighestVersionOfEveryModel() async throws {
        let made = try TestBundle()
        try made.add("shop", 10)
        try made.add("light", 1)
        let fixture = try HostFixture(made)
        #expect(fixture.states == [])
        #expect(await fixture.failure() == .notFound)
        try await fixture.host.load()
        #expect(fixture.states == ["light@1 ready *", "shop@10 ready"])
        #expect(try await fixture.answering() == "light@1")
        #expect(try await fixture.answering("shop") == "shop@10")
        #expect(try await fixture.answering("shop@10") == "shop@10")
        for absent in ["shop@3", "nothing", "shop@x"] { #expect(await fixture.failure(absent) == .notFound) }
        let light = try #require(fixture.host.descriptions.first)
        #expect(light.intents == TestBundle.intents && light.slotLabels == TestBundle.labels && light.memoryBytes == 100)
        #expect(light.sha256 == TestBundle.sha256("a model") && light.device == "cpu")
        await fixture.host.drain()
        #expect(fixture.fakes.freed.sorted() == ["light@1", "shop@10"])
        #expect(await fixture.failure("shop") == .unavailable)
        #expect(fixture.states == [])
    }

    @Test func moreVersionsThanOneAndAPinnedDefault() async throws {
        let made = try TestBundle()
        for version in [1, 2, 4] { try made.add("shop", version) }
        let fixture = try HostFixture(made) {
            $0.versions = .latest(2)
            $0.defaultModel = try ModelSelector("shop@1")
        }
        try await fixture.host.load()
        #expect(fixture.states == ["shop@1 ready *", "shop@3 ready", "shop@4 ready"])
        #expect(try await fixture.answering() == "shop@1")
        #expect(try await fixture.answering("shop") == "shop@4")
        #expect(try await fixture.answering("shop@3") == "shop@3")
        #expect(await fixture.failure("shop@2") == .notFound)
        // A newer one does not move what is pinned.
        try made.add("shop", 5)
        await fixture.host.reload()
        #expect(fixture.states == ["shop@1 ready *", "shop@4 ready", "shop@5 ready"])
        #expect(fixture.fakes.freed == ["shop@3"])
    }

    @Test func whatTheStartRefuses() async throws {
        let made = try TestBundle()
        func refusal(_ change: (inout ModelHost.Configuration) throws -> Void) -> String? {
            do {
                _ = try HostFixture(made, change)
                return nil
            } catch {
                return "\(error)".replacingOccurrences(of: made.root.path, with: "DIR")
            }
        }
        #expect(
            refusal { $0.defaultModel = try ModelSelector("other") }
                == "NOT_FOUND: the default model other is not in DIR, which has shop")
        #expect(
            refusal { $0.cascades = [try Cascade("name=auto,light=small,heavy=shop,threshold=1")] }
                == "NOT_FOUND: the light model of the cascade auto small is not in DIR, which has shop")
        #expect(
            refusal { $0.cascades = [try Cascade("name=shop,light=a,heavy=b,threshold=1")] }
                == "INVALID_ARGUMENT: the cascade shop has the name of a model in DIR; another is expected")
        let pinned = try HostFixture(made) { $0.defaultModel = try ModelSelector("shop@7") }
        let error = await #expect(throws: ConversationError.self) { try await pinned.host.load() }
        #expect(error == ConversationError(.notFound, "there is no model \"shop@7\"; there is shop@3"))
        await pinned.host.drain()
        try made.write("other", to: "model.pt")
        let broken = try HostFixture(made)
        let refused = await #expect(throws: BundleError.self) { try await broken.host.load() }
        #expect(refused?.field == "files.model.pt.bytes")
        #expect(throws: BundleError.self) {
            try made.drop("shop")
            _ = try HostFixture(made)
        }
    }

    @Test func aBrokenModelBesideTheDefaultIsToldAndTheOthersServe() async throws {
        let made = try TestBundle()
        try made.add("light", 1) { $0["max_length"] = 0 }
        let fixture = try HostFixture(made) { $0.defaultModel = try ModelSelector("shop") }
        try await fixture.host.load()
        #expect(fixture.states == ["light@1 failed", "shop@3 ready *"])
        #expect(await fixture.failure("light") == .unavailable)
        let line = try #require(fixture.lines.lines(.error).first)
        #expect(line.contains("light/1/manifest.json: max_length: is 0; 3 to 4096 is expected"))
    }

    @Test func threadsAreAtMostTheCores() {
        #expect(throws: Never.self) { try ModelLoader.checkThreads(workers: 2, threads: 4, cores: 8) }
        let error = #expect(throws: ConversationError.self) { try ModelLoader.checkThreads(workers: 3, threads: 2, cores: 4) }
        #expect(
            error?.message == "3 workers of 2 threads are 6 threads; at most 4 are expected, one a core of this machine")
    }

    @Test func aCascadeIsAModelOfItsOwn() async throws {
        let made = try TestBundle()
        // A light model whose temperature makes it unsure, and one that is sure.
        try made.add("unsure", 1) { $0["temperature"] = 50.0 }
        try made.add("sure", 1) { $0["temperature"] = 0.1 }
        let fixture = try HostFixture(made) {
            $0.cascades = [
                try Cascade("name=auto,light=sure,heavy=shop,threshold=0.9"),
                try Cascade("name=slow,light=unsure,heavy=shop@3,threshold=0.9"),
            ]
            $0.defaultModel = try ModelSelector("auto")
        }
        try await fixture.host.load()
        #expect(
            fixture.states == ["shop@3 ready", "sure@1 ready", "unsure@1 ready", "auto@ ready *", "slow@ ready"])
        #expect(fixture.host.descriptions.suffix(2).allSatisfy { $0.intents == TestBundle.intents && $0.memoryBytes == 0 })
        let text = try Utterance("改")
        let quick = try await fixture.host.recognize(RecognitionRequest(utterance: text))
        #expect(quick.model == "sure@1" && quick.route == .light)
        let slow = try await fixture.host.recognize(RecognitionRequest(utterance: text, model: ModelSelector("slow")))
        #expect(slow.model == "shop@3" && slow.route == .heavy)
        let plain = try await fixture.host.recognize(RecognitionRequest(utterance: text, model: ModelSelector("shop")))
        #expect(plain.route == .model)
        #expect(await fixture.failure("auto@1") == .notFound)
        #expect(try fixture.host.description(of: nil).name == "auto")
        #expect(try fixture.host.description(of: ModelSelector("shop")).version == "3")
        #expect(throws: ConversationError.self) { try fixture.host.description(of: ModelSelector("shop@4")) }
        // Where its light model goes, the heavy one answers.
        try made.drop("sure")
        await fixture.host.reload()
        #expect(try await fixture.host.recognize(RecognitionRequest(utterance: text)).route == .heavy)
        // Where its heavy model goes, it cannot be counted on.
        try made.drop("shop")
        await fixture.host.reload()
        #expect(fixture.states == ["unsure@1 ready", "auto@ failed *", "slow@ failed"])
        #expect(await fixture.failure() == .notFound)
    }
}
