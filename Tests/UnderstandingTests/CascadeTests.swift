import Conversation
import Synchronization
import Testing
import Understanding

@Suite struct CascadeTests {
    let cascade: Cascade
    let forgiving: Cascade

    init() throws {
        cascade = try Cascade("name=auto,light=small,heavy=shop@3,threshold=0.9")
        forgiving = try Cascade("name=auto,light=small,heavy=shop@3,threshold=0.9,fallback=light")
    }

    private func recognition(_ model: String, _ confidence: Float, labels: Float? = 1, route: Route = .model) -> Recognition {
        Recognition(
            intents: [Intent(name: "chitchat", confidence: confidence)], labelConfidence: labels, model: model, route: route,
            timing: Timing(queue: .milliseconds(1), compute: .milliseconds(2), batchSize: 3, paddedLength: 8))
    }

    /// What a cascade makes of two results, and which models it asked.
    private func run(
        _ cascade: Cascade, light: Result<Recognition, ConversationError>, heavy: Result<Recognition, ConversationError>
    ) async -> (result: Result<Recognition, ConversationError>, asked: [String]) {
        let asked = Mutex<[String]>([])
        do throws(ConversationError) {
            let recognition = try await cascade.recognize { selector throws(ConversationError) in
                asked.withLock { $0.append(selector.description) }
                return try (selector.name == "small" ? light : heavy).get()
            }
            return (.success(recognition), asked.withLock { $0 })
        } catch {
            return (.failure(error), asked.withLock { $0 })
        }
    }

    @Test func isReadFromItsParts() throws {
        #expect(cascade.name == "auto" && cascade.threshold == 0.9 && cascade.fallback == .fail)
        #expect(try cascade.light == ModelSelector("small"))
        #expect(try cascade.heavy == ModelSelector("shop@3"))
        #expect(forgiving.fallback == .light)
    }

    @Test(arguments: [
        ("light=a,heavy=b,threshold=0.9", "has no name"), ("name=x,heavy=b,threshold=0.9", "has no light"),
        ("name=x,light=a,threshold=0.9", "has no heavy"), ("name=x,light=a,heavy=b", "has no threshold"),
        ("name=x,light=a,heavy=b,threshold=1.1", "has the threshold \"1.1\" (0 to 1)"),
        ("name=x,light=a,heavy=b,threshold=nan", "has the threshold \"nan\" (0 to 1)"),
        ("name=x,light=a,heavy=b,threshold=0.9,labels=2", "has the labels \"2\" (0 to 1)"),
        ("name=x,light=a,heavy=b,threshold=0.9,fallback=yes", "has the fallback \"yes\" (fail or light)"),
        ("name=x,light=a,light=b,heavy=b,threshold=0.9", "names light twice"),
        ("name=x,light=a,heavy=a,threshold=0.9", "does not name two models"),
        ("name=a,light=a,heavy=b,threshold=0.9", "does not name two models"),
        (
            "name=x y,light=a,heavy=b,threshold=0.9",
            "has the name \"x y\" (1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.', not beginning with '.')"
        ),
        ("name=x,colour=red", "has the part \"colour=red\""), ("", "has the part \"\""),
    ])
    func isRefused(_ text: String, _ what: String) {
        let error = #expect(throws: ConversationError.self) { try Cascade(text) }
        #expect(error?.code == .invalidArgument)
        #expect(
            error?.message
                == "the cascade \"\(text)\" \(what); name=NAME,light=MODEL,heavy=MODEL,threshold=0.9 is expected, with labels=0.7 and fallback=light at will"
        )
    }

    @Test func aConfidentLightAnswerStands() async throws {
        let (result, asked) = await run(cascade, light: .success(recognition("small@1", 0.9)), heavy: .failure(.init(.internalError, "")))
        #expect(
            try result.get()
                == {
                    var expected = recognition("small@1", 0.9)
                    expected.route = .light
                    return expected
                }())
        #expect(asked == ["small"])
    }

    @Test func theHeavyModelAnswersWhereTheLightOneIsNotSure() async throws {
        let (result, asked) = await run(
            cascade, light: .success(recognition("small@1", 0.89)), heavy: .success(recognition("shop@3", 0.4)))
        let answer = try result.get()
        #expect(answer.model == "shop@3" && answer.route == .heavy && answer.intents[0].confidence == 0.4)
        // 1 ms + 2 ms of the light step came before the heavy one's own wait of 1 ms.
        #expect(answer.timing == Timing(queue: .milliseconds(4), compute: .milliseconds(2), batchSize: 3, paddedLength: 8))
        #expect(asked == ["small", "shop@3"])
    }

    @Test(arguments: [(Float?.some(0.7), Route.light), (0.69, .heavy), (nil, .heavy)])
    func theLabelsCountWhereAsked(_ labels: Float?, _ route: Route) async throws {
        let strict = try Cascade("name=auto,light=small,heavy=shop@3,threshold=0.9,labels=0.7")
        #expect(strict.labels == 0.7 && cascade.labels == 0)
        let light = recognition("small@1", 0.95, labels: labels)
        #expect(try await run(strict, light: .success(light), heavy: .success(recognition("shop@3", 0.4))).result.get().route == route)
        #expect(try await run(cascade, light: .success(light), heavy: .success(light)).result.get().route == .light)
    }

    @Test func whatWasKeptSaysSo() async throws {
        let (result, _) = await run(
            cascade, light: .success(recognition("small@1", 0.95, route: .cache)), heavy: .failure(.init(.internalError, "")))
        #expect(try result.get().route == .cache)
    }

    @Test(arguments: [ConversationError.Code.unavailable, .notFound, .internalError])
    func aLightModelThatIsNotThereIsPassedOver(_ code: ConversationError.Code) async throws {
        let (result, asked) = await run(cascade, light: .failure(.init(code, "")), heavy: .success(recognition("shop@3", 0.4)))
        #expect(try result.get().route == .heavy)
        #expect(asked == ["small", "shop@3"])
    }

    @Test(arguments: [ConversationError.Code.resourceExhausted, .deadlineExceeded, .cancelled])
    func aLightModelThatIsBusyFailsTheRequest(_ code: ConversationError.Code) async throws {
        let (result, asked) = await run(forgiving, light: .failure(.init(code, "x")), heavy: .success(recognition("shop@3", 0.4)))
        #expect(result == .failure(.init(code, "x")))
        #expect(asked == ["small"])
    }

    @Test func aHeavyModelThatCannotAnswerFailsTheRequestUnlessToldOtherwise() async throws {
        let busy = ConversationError(.resourceExhausted, "busy", retryAfter: .milliseconds(5))
        let light = recognition("small@1", 0.3)
        #expect(await run(cascade, light: .success(light), heavy: .failure(busy)).result == .failure(busy))
        let given = try await run(forgiving, light: .success(light), heavy: .failure(busy)).result.get()
        #expect(given.route == .light && given.model == "small@1")
        let left = ConversationError(.cancelled, "")
        #expect(await run(forgiving, light: .success(light), heavy: .failure(left)).result == .failure(left))
        let none = ConversationError(.unavailable, "")
        #expect(await run(forgiving, light: .failure(none), heavy: .failure(busy)).result == .failure(busy))
    }
}
