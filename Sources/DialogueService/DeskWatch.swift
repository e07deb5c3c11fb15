import Conversation
import RPC
import Synchronization
import Wire

/// Brings what agents say to the customers of one `Converse` stream, while any of them is with a person.
///
/// It looks from time to time, once a customer, and only at customers whose last reply on this stream said that they were handed off. What it brought stays in
/// the session until a reply brings it, because a stream may break before it is read.
final class DeskWatch: Sendable {
    private let desk: HandOffDesk?
    private let interval: Duration
    /// Whom to look for, and the ids of what this stream has brought already.
    private let watched = Mutex<[UserID: Set<String>]>([:])
    private let begun: AsyncStream<Void>
    private let begin: AsyncStream<Void>.Continuation

    init(desk: HandOffDesk?, interval: Duration) {
        self.desk = desk
        self.interval = interval
        (begun, begin) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// A reply went to the stream.
    func note(_ reply: Reply) {
        guard desk != nil else { return }
        let isNew = watched.withLock { watched in
            guard reply.session.handedOff else {
                watched[reply.uid] = nil
                return false
            }
            let isNew = watched[reply.uid] == nil
            watched[reply.uid, default: []].formUnion(reply.agentMessages.map(\.id))
            return isNew
        }
        if isNew { begin.yield() }
    }

    /// Looks while `body` runs.
    func during(_ responses: ResponseWriter, _ body: () async throws -> Void) async throws {
        guard let desk else { return try await body() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.look(desk, responses) }
            defer { group.cancelAll() }
            try await body()
        }
    }

    private func look(_ desk: HandOffDesk, _ responses: ResponseWriter) async {
        for await _ in begun {
            while !Task.isCancelled {
                let uids = watched.withLock { Array($0.keys) }
                if uids.isEmpty { break }
                for uid in uids {
                    guard await bring(uid, desk, responses) else { return }
                }
                try? await Task.sleep(for: interval)
            }
        }
    }

    /// - Returns: Whether the stream still takes responses.
    private func bring(_ uid: UserID, _ desk: HandOffDesk, _ responses: ResponseWriter) async -> Bool {
        let unseen: [AgentMessage]
        do throws(ConversationError) {
            guard let found = try await desk.unseen(uid, deadline: .now + .seconds(1)) else {
                watched.withLock { $0[uid] = nil }
                return true
            }
            unseen = found
        } catch {
            // A Redis that is away is looked at again later.
            return true
        }
        let new = watched.withLock { watched -> [AgentMessage] in
            guard let known = watched[uid] else { return [] }
            let new = unseen.filter { !known.contains($0.id) }
            // What is no longer unseen will not come again.
            watched[uid] = Set(unseen.map(\.id))
            return new
        }
        if new.isEmpty { return true }
        return (try? await responses.write(DialogueCodec.replyResponse(uid: uid, agentMessages: new))) != nil
    }
}
