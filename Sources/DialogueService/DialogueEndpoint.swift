import Conversation
public import RPC
import RPCServices
public import ServiceKit
import Wire

/// `kefu.dialogue.v1.Dialogue` over a turn taker that is watched. A class, since each open stream captures it.
public final class DialogueEndpoint: Sendable {
    /// The full name of the service.
    public static let name = "kefu.dialogue.v1.Dialogue"

    /// What an endpoint allows.
    public struct Configuration: Sendable {
        /// How long a turn may take where the client sets no deadline, and at the most where it does.
        public var turnTimeout: Duration = .seconds(10)
        /// How many messages of one `Converse` stream may be waiting or under way.
        public var messagesPerStream = 64
        /// How often a `Converse` stream looks for what agents said to its customers that were handed to a person.
        public var deskInterval: Duration = .milliseconds(500)

        /// The defaults.
        public init() {}
    }

    private let turns: ObservedTurns
    private let streams: StreamRegistry
    private let desk: HandOffDesk?
    private let configuration: Configuration

    /// An endpoint over a turn taker.
    ///
    /// - Parameters:
    ///   - streams: Where open streams are kept, so that they can be ended.
    ///   - desk: The desk whose agents' words streams bring; nil: there is none.
    public init(
        turns: ObservedTurns, streams: StreamRegistry = StreamRegistry(), desk: HandOffDesk? = nil,
        configuration: Configuration = Configuration()
    ) {
        self.turns = turns
        self.streams = streams
        self.desk = desk
        self.configuration = configuration
    }

    /// The service, to be given to a server.
    public var service: Service {
        Service(
            Self.name,
            [
                .unary("Reply") { [self] request, context in
                    try await status { () throws(ConversationError) in
                        let message = DialogueCodec.replyRequest(decoding: request).message
                        return DialogueCodec.replyResponse(
                            try await turns.reply(to: message, deadline: deadline(context), parent: TraceContext(context.metadata)))
                    }
                },
                .streaming("Converse") { [self] requests, responses, context in
                    turns.metrics.converseStreams.add(1)
                    defer { turns.metrics.converseStreams.add(-1) }
                    try await streams.during(requests) { note in
                        let watch = DeskWatch(desk: desk, interval: configuration.deskInterval, responses: responses)
                        try await watch.during {
                            try await answerSideBySide(
                                requests, responses, limit: configuration.messagesPerStream,
                                decode: {
                                    note(1)
                                    return DialogueCodec.replyRequest(decoding: $0)
                                }, lane: { $0.uid },
                                respond: {
                                    defer { note(-1) }
                                    return await self.converse($0, watch, context)
                                })
                        }
                    }
                },
                .unary("GetSession") { [self] request, context in
                    try await status { () throws(ConversationError) in
                        let uid = try DialogueCodec.getSessionRequest(decoding: request)
                        return DialogueCodec.session(try await turns.session(of: uid, deadline: deadline(context)))
                    }
                },
                .unary("EndSession") { [self] request, context in
                    try await status { () throws(ConversationError) in
                        let uid = try DialogueCodec.endSessionRequest(decoding: request)
                        return DialogueCodec.endSessionResponse(existed: try await turns.end(uid, deadline: deadline(context)))
                    }
                },
            ])
    }

    /// Answers one message of a stream. Its deadline is the turn's own: a stream's deadline says how long the stream may live.
    private func converse(_ incoming: DialogueCodec.Incoming, _ watch: DeskWatch, _ context: ServerContext) async -> [UInt8] {
        do throws(ConversationError) {
            let reply = try await turns.reply(
                to: incoming.message, deadline: deadline(context), parent: TraceContext(context.metadata))
            watch.note(reply)
            return DialogueCodec.replyResponse(reply)
        } catch {
            return DialogueCodec.replyResponse(
                uid: incoming.uid, seq: incoming.seq, failure: error, code: RPCError.Code(error.code).rawValue)
        }
    }

    private func deadline(_ context: ServerContext) -> ContinuousClock.Instant {
        let own = ContinuousClock.now + configuration.turnTimeout
        return context.deadline.map { min($0, own) } ?? own
    }

    private func status<R>(_ body: () async throws(ConversationError) -> R) async throws(RPCError) -> R {
        do throws(ConversationError) {
            return try await body()
        } catch {
            throw RPCError(error)
        }
    }
}
