import Conversation
import Foundation
import Logging
import Testing
import TestSupport
import Understanding
import UnderstandingService

@Suite(.timeLimit(.minutes(1))) struct Reloading {
    @Test func aNewVersionTakesOverAndTheOldOneDrains() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        // A request of the old version is under way.
        let old = fixture.fakes.model("shop@3")
        let before = old.batches.count
        old.pause()
        let first = Task { try await fixture.answering() }
        await old.begun(before + 1)
        // While the new one is loaded, the old one answers; the new one is not to be had yet.
        try fixture.made.add("shop", 4)
        fixture.fakes.hold()
        let reload = Task { await fixture.host.reload() }
        await fixture.fakes.holding()
        #expect(fixture.states == ["shop@3 ready *", "shop@4 loading"])
        #expect(await fixture.failure("shop@4") == .unavailable)
        let second = Task { try await fixture.answering() }
        fixture.fakes.model("shop@4").pause()
        fixture.fakes.letGo()
        await fixture.fakes.model("shop@4").begun(1)
        #expect(fixture.states == ["shop@3 ready *", "shop@4 warming"])
        fixture.fakes.model("shop@4").resume()
        // The new one answers while the old one still owes its answers.
        while fixture.states != ["shop@3 draining", "shop@4 ready *"] { await Task.yield() }
        #expect(try await fixture.answering() == "shop@4")
        #expect(await fixture.failure("shop@3") == .unavailable)
        #expect(fixture.fakes.freed == [])
        old.resume()
        #expect(try await first.value == "shop@3")
        #expect(try await second.value == "shop@3")
        await reload.value
        #expect(fixture.fakes.freed == ["shop@3"])
        #expect(fixture.states == ["shop@4 ready *"])
        #expect(await fixture.failure("shop@3") == .notFound)
    }

    @Test func noRequestFailsWhileVersionsComeAndGo() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        let isOver = Flag()
        let answers = try await withThrowingTaskGroup(of: [String: Int].self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var answers: [String: Int] = [:]
                    while !isOver.isRaised {
                        let model = try await fixture.answering()
                        answers[model, default: 0] += 1
                    }
                    return answers
                }
            }
            for version in 4...23 {
                try fixture.made.add("shop", version)
                await fixture.host.reload()
                #expect(fixture.states == ["shop@\(version) ready *"])
                try fixture.made.drop("shop/\(version - 1)")
            }
            isOver.raise()
            return try await group.reduce(into: [:]) { $0.merge($1) { $0 + $1 } }
        }
        #expect(answers.count > 2 && answers.values.reduce(0, +) > 100)
        #expect(fixture.fakes.freed == (3...22).map { "shop@\($0)" })
    }

    @Test func aBrokenVersionIsRefusedOnceAndTheOldOneStays() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        try fixture.made.add("shop", 4) { $0["temperature"] = 0 }
        for _ in 0..<3 {
            await fixture.host.reload()
            #expect(try await fixture.answering() == "shop@3")
            #expect(fixture.states == ["shop@3 ready *", "shop@4 failed"])
        }
        let lines = fixture.lines.lines(.error)
        #expect(lines.count == 1)
        #expect(lines.first?.contains("shop/4/manifest.json: temperature: is 0.0; 0.01 to 100 is expected") == true)
        #expect(await fixture.failure("shop@4") == .unavailable)
        // Its files change: it is tried again, and may be refused again.
        try Data("{".utf8).write(to: fixture.made.root.appendingPathComponent("shop/4/manifest.json"))
        await fixture.host.reload()
        #expect(fixture.lines.lines(.error).count == 2)
        try fixture.made.drop("shop/4")
        try fixture.made.add("shop", 4)
        await fixture.host.reload()
        #expect(fixture.states == ["shop@4 ready *"])
        #expect(fixture.fakes.freed == ["shop@3"])
    }

    @Test func aVersionThatIsStillBeingCopiedIsTriedAgain() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        try fixture.made.add("shop", 4, model: "a whole model")
        let file = fixture.made.root.appendingPathComponent("shop/4/model.pt")
        try Data("a who".utf8).write(to: file)
        await fixture.host.reload()
        #expect(fixture.states == ["shop@3 ready *", "shop@4 failed"])
        #expect(fixture.lines.lines(.error).first?.contains("files.model.pt.bytes: the file has 5 bytes; 13 are expected") == true)
        try Data("a whole model".utf8).write(to: file)
        await fixture.host.reload()
        #expect(fixture.states == ["shop@4 ready *"])
    }

    @Test func aModelThatCannotBeLoadedOrGivesOtherOutputsIsRefused() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        fixture.fakes.refuse("shop@4")
        fixture.fakes.model("shop@5").set(.wrongSize)
        for version in [4, 5] { try fixture.made.add("shop", version) }
        await fixture.host.reload()
        #expect(fixture.states == ["shop@3 ready *", "shop@4 failed", "shop@5 failed"])
        #expect(fixture.fakes.loaded == ["shop@3", "shop@5", "shop@4"])
        // What had been loaded before it was found wanting is freed.
        #expect(fixture.fakes.freed == ["shop@5"])
        let lines = fixture.lines.lines(.error)
        #expect(lines.count == 2 && lines[0].contains("slot_labels") && lines[1].contains("this model is refused"))
        // Where the folder of the good one goes, it still serves: nothing else could answer.
        try fixture.made.drop("shop/3")
        await fixture.host.reload()
        #expect(fixture.states == ["shop@3 ready *", "shop@4 failed", "shop@5 failed"])
        #expect(try await fixture.answering() == "shop@3")
        // Where the whole model goes, that is a wish.
        try fixture.made.add("other", 1)
        try fixture.made.drop("shop")
        await fixture.host.reload()
        #expect(fixture.states == ["other@1 ready"])
        #expect(await fixture.failure() == .notFound)
        #expect(fixture.fakes.freed == ["shop@5", "shop@3"])
    }

    @Test func aLowerVersionStandsInForOneThatIsRefusedAtTheStart() async throws {
        let made = try TestBundle()
        try made.add("shop", 4) { $0["format"] = 2 }
        let fixture = try HostFixture(made)
        try await fixture.host.load()
        #expect(fixture.states == ["shop@3 ready *", "shop@4 failed"])
    }

    @Test func aVersionThatIsRemovedIsFreedAndOneThatReturnsIsLoaded() async throws {
        let made = try TestBundle()
        try made.add("light", 1)
        let fixture = try HostFixture(made)
        try await fixture.host.load()
        try made.drop("light")
        await fixture.host.reload()
        #expect(fixture.states == ["shop@3 ready"])
        // The default stays what it was at the start.
        #expect(await fixture.failure() == .notFound)
        try made.add("light", 1)
        await fixture.host.reload()
        #expect(fixture.states == ["light@1 ready *", "shop@3 ready"])
        #expect(fixture.fakes.loaded == ["light@1", "shop@3", "light@1"])
    }

    @Test func aFolderThatGoesAwayLeavesWhatIsServed() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        let elsewhere = fixture.made.root.appendingPathExtension("away")
        try FileManager.default.moveItem(at: fixture.made.root, to: elsewhere)
        for _ in 0..<3 { await fixture.host.reload() }
        #expect(try await fixture.answering() == "shop@3")
        #expect(fixture.lines.lines(.error).count == 1)
        try FileManager.default.moveItem(at: elsewhere, to: fixture.made.root)
        await fixture.host.reload()
        #expect(fixture.states == ["shop@3 ready *"])
        #expect(fixture.fakes.loaded == ["shop@3"])
    }

    @Test func filesOfAServedVersionThatChangeAreToldOnce() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        try fixture.made.write("other", to: "model.pt")
        for _ in 0..<3 { await fixture.host.reload() }
        #expect(try await fixture.answering() == "shop@3")
        #expect(fixture.lines.lines(.warning).count == 1)
        #expect(fixture.fakes.loaded == ["shop@3"])
    }

    @Test func reloadsAtTheSameTimeAreOne() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        try fixture.made.add("shop", 4)
        fixture.fakes.hold()
        let first = Task { await fixture.host.reload() }
        await fixture.fakes.holding()
        // What comes while one runs sees what changed since: one more reload, however many ask.
        try fixture.made.add("shop", 5)
        let others = (0..<10).map { _ in Task { await fixture.host.reload() } }
        fixture.fakes.letGo()
        await first.value
        for other in others { await other.value }
        await fixture.host.reload()
        #expect(fixture.fakes.loaded == ["shop@3", "shop@4", "shop@5"])
        #expect(fixture.fakes.freed == ["shop@3", "shop@4"])
    }

    @Test func drainingEndsALoadThatIsUnderWay() async throws {
        let fixture = try HostFixture()
        try await fixture.host.load()
        try fixture.made.add("shop", 4)
        fixture.fakes.hold()
        let reload = Task { await fixture.host.reload() }
        await fixture.fakes.holding()
        let drained = Task { await fixture.host.drain() }
        while await fixture.failure() == nil, !Task.isCancelled { fixture.fakes.letGo() }
        await drained.value
        await reload.value
        #expect(fixture.fakes.freed.sorted() == fixture.fakes.loaded.sorted())
        #expect(fixture.states == [])
        await fixture.host.reload()
        #expect(fixture.states == [])
    }
}
