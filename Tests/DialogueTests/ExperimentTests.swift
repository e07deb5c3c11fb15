import Conversation
import Foundation
import Testing

@testable import Dialogue

@Suite struct ExperimentTests {
    private func experiment(_ text: String) throws(DomainError) -> Experiment {
        let url = FileManager.default.temporaryDirectory.appending(path: "kefu-experiment-\(UUID().uuidString).yaml")
        try? Data(text.utf8).write(to: url)
        defer { try? FileManager.default.removeItem(at: url) }
        return try Experiment.load(file: url.path)
    }

    /// What is wrong with a file, without its path.
    private func faults(_ text: String) -> [String] {
        do throws(DomainError) {
            _ = try experiment(text)
            return []
        } catch {
            return error.diagnostics.map { "\($0.line):\($0.column): \($0.message)" }
        }
    }

    private static let whole = """
        name: test
        salt: '2026-11-30'
        control: old
        variants:
          old:
            model: ecommerce
          new:
            share: 12.5
            model: ecommerce-light@2
            domain: domains/other
            chitchat: false
            shadow: {model: ecommerce, share: 5}
          third:
            share: 0.0001
        """

    @Test func readsAFile() throws {
        let experiment = try experiment(Self.whole)
        #expect((experiment.name, experiment.salt, experiment.control) == ("test", "2026-11-30", 0))
        #expect(experiment.variants.map(\.name) == ["old", "new", "third"])
        #expect(experiment.variants.map(\.share) == [874_999, 125_000, 1])
        let new = experiment.variants[1]
        #expect(new.model == (try ModelSelector("ecommerce-light@2")) && new.chitchat == false)
        #expect(new.shadow == Experiment.Shadow(model: try ModelSelector("ecommerce"), share: 50_000))
        let temporary = FileManager.default.temporaryDirectory.standardizedFileURL.path
        #expect(new.domain == temporary + (temporary.hasSuffix("/") ? "" : "/") + "domains/other")
        #expect(experiment.variants[2].model == nil && experiment.variants[2].domain == nil && experiment.variants[2].chitchat == nil)
    }

    /// The remainder is the control's, and lies behind all others: a share that grows takes from the control alone, if it is the last of them.
    @Test func rangesFollowTheFile() throws {
        let experiment = try experiment(Self.whole)
        let edges = [0, 124_999, 125_000, 125_001, 999_999].map { experiment.variants[experiment.variant(ofBucket: $0)].name }
        #expect(edges == ["new", "new", "third", "old", "old"])
        let fixed = try self.experiment("{name: t, salt: s, control: a, variants: {a: {share: 30}, b: {share: 0}, c: {share: 70}}}")
        #expect([0, 299_999, 300_000, 999_999].map { fixed.variants[fixed.variant(ofBucket: $0)].name } == ["a", "a", "c", "c"])
        #expect(Experiment.bucket(draw: 0) == 0 && Experiment.bucket(draw: .max) == 999_999 && Experiment.bucket(draw: 1 << 63) == 500_000)
    }

    static let wrong: [(old: String, new: String, fault: String)] = [
        ("name: test\n", "", "1:1: the file has no 'name'"),
        ("name: test", "nmae: test", "1:1: unknown key 'nmae'; did you mean 'name'?"),
        (
            "name: test", "name: a test",
            "1:7: a name has 1 to 64 letters, digits, '-', '_' and '.', and this is 'a test'"
        ),
        ("control: old", "control: odl", "3:10: unknown variant 'odl'; one of 'new', 'old', 'third' was expected"),
        (
            "share: 12.5", "share: 12.50001",
            "8:12: 'variants.new.share' must be a percentage from 0 to 100 with at most 4 decimals, such as 12.5, and is '12.50001'"
        ),
        ("share: 12.5", "share: 100", "5:3: the shares add up to 100.0001; at most 100 was expected"),
        (
            "share: 0.0001", "chitchat: true",
            "13:3: the variant 'third' has no 'share'; only the control 'old' may take what is left"
        ),
        (
            "    model: ecommerce\n", "    share: 80\n",
            "5:3: the shares add up to 92.5001; 100 was expected, or no share at the control, which then takes what is left"
        ),
        (
            "model: ecommerce-light@2", "model: '@2'",
            "9:12: 'variants.new.model': model is \"@2\"; \"name\" or \"name@version\" is expected"
        ),
        ("chitchat: false", "chitchat: maybe", "11:15: 'variants.new.chitchat' must be true or false, and is 'maybe'"),
        ("{model: ecommerce, share: 5}", "{share: 5}", "12:13: 'variants.new.shadow' has no 'model'"),
        ("  third:\n    share: 0.0001", "  new:\n    share: 1", "'new' appears more than once in this mapping; a key may appear once"),
    ]

    @Test(arguments: wrong) func saysWhatIsWrongAndWhere(_ wrong: (old: String, new: String, fault: String)) throws {
        #expect(Self.whole.contains(wrong.old))
        let found = faults(Self.whole.replacing(wrong.old, with: wrong.new, maxReplacements: 1))
        #expect(found.contains { $0.hasSuffix(wrong.fault) }, "\(found)")
    }

    @Test func saysThatAFileIsNotThere() {
        do throws(DomainError) {
            _ = try Experiment.load(file: "/nowhere/x.yaml")
            Issue.record("there is no such file")
        } catch {
            #expect(error.description == "/nowhere/x.yaml:1:1: the file cannot be read; the YAML file of an experiment was expected")
        }
    }
}

@Suite struct DomainsSideBySideTests {
    private let uid: UserID
    private let (first, second): (Domain, Domain)

    init() throws {
        uid = try UserID("u")
        let folder = FileManager.default.temporaryDirectory.appending(path: "kefu-domain-\(UUID().uuidString)")
        try FileManager.default.copyItem(atPath: shippedDomain, toPath: folder.path)
        defer { try? FileManager.default.removeItem(at: folder) }
        first = try Domain.load(directory: folder.path)
        let file = folder.appending(path: "domain.yaml")
        try String(contentsOf: file, encoding: .utf8).appending("\n# another version\n").write(to: file, atomically: true, encoding: .utf8)
        second = try Domain.load(directory: folder.path)
    }

    /// A dialogue that is moved to another variant keeps the version that it began with until its flow has ended.
    @Test func aDialogueFindsItsVersionInTheOtherCatalogue() {
        let catalogues = DomainCatalog.sideBySide([first, second])
        #expect(first.version != second.version && catalogues.map(\.current.version) == [first.version, second.version])
        var session = Session(uid: uid, id: "s", startedAt: Timestamp(milliseconds: 0), timeToLive: .seconds(60))
        session.domainVersion = first.version
        #expect(catalogues[1].domain(for: session).version == second.version)
        session.flows = [FlowInProgress(name: "refund_request")]
        #expect(catalogues[1].domain(for: session).version == first.version)
        session.domainVersion = "gone"
        #expect(catalogues[1].domain(for: session).version == second.version)
        catalogues[0].add(second)
        #expect(catalogues.map(\.current.version) == [second.version, second.version])
        session.domainVersion = first.version
        #expect(catalogues[1].domain(for: session).version == first.version)
    }
}

/// What a turn tells of its flows, and what of a message may be written down.
@Suite struct TakenTurnTests {
    private let domain: Domain
    private let uid: UserID

    init() throws {
        domain = try Domain.load(directory: shippedDomain)
        uid = try UserID("u")
    }

    private struct Scripted: Recognizer {
        func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
            let parts = utterance.text.split(separator: "|")
            return Recognition(intents: [Intent(name: String(parts[0]), confidence: 0.95)], model: "scripted@1", route: .light)
        }
    }

    private func turns(_ variant: String = "") -> TurnTaker {
        let store = MemoryStore(now: { Timestamp(milliseconds: 0) })
        return TurnTaker(
            domains: DomainCatalog(domain), store: store, recognizer: Scripted(),
            environment: TurnEnvironment(now: { Timestamp(milliseconds: 0) }, newSessionID: { "s1" }), variant: variant)
    }

    private func take(_ text: String, _ seq: UInt64, _ turns: TurnTaker) async throws -> TakenTurn {
        try await turns.take(Message(uid: uid, query: try Utterance(text), seq: seq), deadline: nil)
    }

    @Test func tellsOfFlowsVariantAndRecognition() async throws {
        let turns = turns("new")
        let first = try await take("refund_request|我要退款", 1, turns)
        #expect(first.begunFlows == ["refund_request"] && first.completedFlows.isEmpty && first.sessionID == "s1")
        #expect(first.reply.recognition?.variant == "new" && first.recognition?.route == .light && first.domainVersion == domain.version)
        let second = try await take("inform|202411110001", 2, turns)
        #expect(second.begunFlows.isEmpty && second.completedFlows.isEmpty)
        let third = try await take("affirm|好的", 3, turns)
        #expect(third.completedFlows == ["refund_request"])
        let again = try await take("affirm|好的", 3, turns)
        #expect(again.reply.replayed && again.recognition == nil && again.completedFlows.isEmpty && again.sessionID == "s1")
        #expect(again.reply.recognition?.variant == "new")
    }

    @Test func aFlowThatIsCancelledOrInterruptedIsNotCompletedAndNotBegunTwice() async throws {
        let turns = turns()
        #expect(try await take("refund_request|我要退款", 1, turns).begunFlows == ["refund_request"])
        #expect(try await take("order_status|查一下订单到哪了", 2, turns).begunFlows == ["order_status"])
        // Back to the flow that was suspended.
        #expect(try await take("refund_request|还是退款", 3, turns).begunFlows.isEmpty)
        let cancelled = try await take("deny|都算了", 4, turns)
        #expect(cancelled.reply.session.flow == nil && cancelled.completedFlows.isEmpty)
    }

    @Test func masksWhatIsSensitive() {
        func masked(_ text: String, _ found: [(String, Range<Int>)] = [], known: [(String, String)] = []) -> String {
            domain.masked(
                text,
                recognized: found.map {
                    RecognizedSlot(value: SlotValue(name: $0.0, value: "", normalized: ""), range: $0.1, confidence: 0.9)
                }, known: known.map { SlotValue(name: $0.0, value: $0.1, normalized: $0.1) })
        }
        #expect(masked("我的电话是13800138000，谢谢") == "我的电话是138***00，谢谢")
        #expect(masked("１３８ ００１３ ８０００") == "１３８***００")
        #expect(masked("寄给张三丰", [("recipient", 2..<5)]) == "寄给张***")
        #expect(masked("我是张三，张三收", known: [("recipient", "张三")]) == "我是张***，张***收")
        #expect(masked("订单202411110001", [("order_id", 2..<14)]) == "订单202411110001")
        #expect(masked("地址浙江省杭州市西湖区", [("address", 2..<11)], known: [("address", "杭州市西湖区")]).hasPrefix("地址浙江省***"))
        #expect(masked("改地址", [("address", 1..<99)]) == "改地***")
        #expect(masked("你好") == "你好")
    }
}
