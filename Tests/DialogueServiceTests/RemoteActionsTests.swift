import Conversation
import Dialogue
import DialogueService
import Logging
import RPC
import Testing
import Wire

@Suite(.timeLimit(.minutes(1))) struct RemoteActionsTests {
    private let call = ActionCall(
        name: "order.refund", flow: "refund_request",
        arguments: [SlotValue(name: "order_id", value: "２０２４", normalized: "2024")], idempotencyKey: "u:s:3")

    private func perform(
        times: Int = 1, _ configure: (inout RemoteActions.Configuration) -> Void = { _ in },
        _ answer: @escaping @Sendable (Int) async throws -> ActionResponse
    ) async throws -> (results: [ActionResult], requests: [ActionRequest]) {
        let log = Log<ActionRequest>()
        let uid = try UserID("u")
        var configuration = RemoteActions.Configuration()
        configuration.pause = .milliseconds(1)
        configure(&configuration)
        let results = try await withPeer("kefu.actions.v1.Actions", "Perform") { bytes in
            ActionsCodec.performResponse(try await answer(log.add(try ActionsCodec.performRequest(decoding: bytes))))
        } _: { channel in
            let actions = RemoteActions(
                channel: channel, configuration: configuration, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            var results: [ActionResult] = []
            for _ in 0..<times { results.append(await actions.perform(call, uid: uid, now: Timestamp(milliseconds: 5), deadline: nil)) }
            return results
        }
        return (results, log.all)
    }

    @Test func aResultBringsItsValues() async throws {
        let (results, requests) = try await perform { _ in ActionResponse(refusal: "", values: ["refund_amount": "8.00 元"]) }
        #expect(results == [ActionResult(code: "ok", values: ["refund_amount": "8.00 元"])])
        let expected = ActionRequest(
            name: "order.refund", flow: "refund_request", uid: try UserID("u"), idempotencyKey: "u:s:3", arguments: call.arguments,
            now: Timestamp(milliseconds: 5))
        #expect(requests == [expected])
    }

    @Test func aRefusalIsTheResultsCode() async throws {
        let (results, _) = try await perform { _ in ActionResponse(refusal: "already_refunded", values: [:]) }
        #expect(results == [ActionResult(code: "already_refunded")])
    }

    @Test(arguments: [RPCError.Code.unavailable, .resourceExhausted, .aborted])
    func whatMayHaveFailedIsSentAgainWithTheSameKey(_ code: RPCError.Code) async throws {
        let (results, requests) = try await perform { number in
            if number < 2 { throw RPCError(code, "not now") }
            return ActionResponse(refusal: "", values: [:])
        }
        #expect(results == [ActionResult(code: "ok")])
        #expect(requests.map(\.idempotencyKey) == ["u:s:3", "u:s:3", "u:s:3"])
    }

    @Test(arguments: [RPCError.Code.invalidArgument, .unimplemented, .permissionDenied, .internalError])
    func whatCannotHelpIsNotSentAgain(_ code: RPCError.Code) async throws {
        let (results, requests) = try await perform { _ in throw RPCError(code, "no") }
        #expect(results == [.unavailable] && requests.count == 1)
    }

    @Test func anAnswerThatIsLateIsAskedForAgain() async throws {
        let (results, requests) = try await perform({ $0.attemptTimeout = .milliseconds(300) }) { number in
            // The first call hangs until its client gives it up.
            if number == 0 { try await Task.sleep(for: .seconds(60)) }
            return ActionResponse(refusal: "", values: [:])
        }
        #expect(results == [ActionResult(code: "ok")] && requests.count == 2)
    }

    @Test func theTimeOfAnActionIsBounded() async throws {
        let began = ContinuousClock.now
        let (results, _) = try await perform({
            $0.timeout = .milliseconds(300)
            $0.attemptTimeout = .milliseconds(100)
        }) { _ in
            try await Task.sleep(for: .seconds(60))
            return ActionResponse(refusal: "", values: [:])
        }
        #expect(results == [.unavailable])
        #expect(ContinuousClock.now - began < .seconds(5))
    }

    @Test func aBackendThatFailsIsLeftAlone() async throws {
        let (results, requests) = try await perform(
            times: 10,
            {
                $0.breaker.failures = 3
                $0.breaker.pause = .seconds(600)
            }
        ) { _ in throw RPCError(.internalError, "broken") }
        #expect(results == Array(repeating: .unavailable, count: 10))
        #expect(requests.count == 3)
    }

    @Test func aBackendThatRefusesIsThere() async throws {
        let (_, requests) = try await perform(times: 6, { $0.breaker.failures = 3 }) { _ in throw RPCError(.invalidArgument, "no") }
        #expect(requests.count == 6)
    }
}
