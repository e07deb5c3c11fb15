import Conversation
public import RPC
import ServiceKit
import Wire

/// `kefu.handoff.v1.HandOff` over a desk.
public struct HandOffEndpoint: Sendable {
    /// The full name of the service.
    public static let name = "kefu.handoff.v1.HandOff"

    private let desk: HandOffDesk
    private let timeout: Duration

    /// An endpoint over a desk.
    ///
    /// - Parameter timeout: How long a call may take where the client sets no deadline, and at the most where it does.
    public init(desk: HandOffDesk, timeout: Duration = .seconds(10)) {
        self.desk = desk
        self.timeout = timeout
    }

    /// The service, to be given to a server.
    public var service: Service {
        Service(
            Self.name,
            [
                unary("ListWaiting") { desk, request, deadline throws(ConversationError) in
                    let limit = try HandOffCodec.listWaitingRequest(decoding: request)
                    let (conversations, more) = try await desk.waiting(limit: limit, deadline: deadline)
                    return HandOffCodec.listWaitingResponse(conversations, more: more)
                },
                unary("Claim") { desk, request, deadline throws(ConversationError) in
                    let (uid, agent, span) = try HandOffCodec.claimRequest(decoding: request)
                    let lease = try await desk.claim(uid, agent: agent, for: span, deadline: deadline)
                    return HandOffCodec.claimResponse(
                        lease: lease.token, until: lease.until, conversation: try await Self.read(uid, desk, deadline))
                },
                unary("Answer") { desk, request, deadline throws(ConversationError) in
                    let (uid, lease, text, number) = try HandOffCodec.answerRequest(decoding: request)
                    let (renewed, wasSaid) = try await desk.say(text, to: uid, lease: lease, number: number, deadline: deadline)
                    return HandOffCodec.answerResponse(until: renewed.until, wasSaid: wasSaid)
                },
                unary("Renew") { desk, request, deadline throws(ConversationError) in
                    let (uid, lease) = try HandOffCodec.renewRequest(decoding: request)
                    let renewed = try await desk.renew(uid, lease: lease, deadline: deadline)
                    return HandOffCodec.renewResponse(until: renewed.until, conversation: try await Self.read(uid, desk, deadline))
                },
                unary("GiveBack") { desk, request, deadline throws(ConversationError) in
                    let (uid, lease, endsFlows) = try HandOffCodec.giveBackRequest(decoding: request)
                    try await desk.giveBack(uid, lease: lease, endingFlows: endsFlows, deadline: deadline)
                    return HandOffCodec.giveBackResponse()
                },
            ])
    }

    private static func read(_ uid: UserID, _ desk: HandOffDesk, _ deadline: ContinuousClock.Instant) async throws(ConversationError)
        -> HandedOffConversation
    {
        guard let conversation = try await desk.read(uid, masked: false, deadline) else {
            throw ConversationError(.notFound, "the session of uid \"\(uid.string)\" has just ended")
        }
        return conversation
    }

    private func unary(
        _ name: String,
        _ body: @escaping @Sendable (HandOffDesk, [UInt8], ContinuousClock.Instant) async throws(ConversationError) -> [UInt8]
    ) -> Method {
        let (desk, timeout) = (desk, timeout)
        return .unary(name) { request, context in
            let own = ContinuousClock.now + timeout
            do throws(ConversationError) {
                return try await body(desk, request, context.deadline.map { min($0, own) } ?? own)
            } catch {
                throw RPCError(error)
            }
        }
    }
}
