import Conversation
import RPC
import Synchronization
import Wire

/// Brings what agents say to the customers of one `Converse` stream, while any of them is with a person.
///
/// It looks from time to time, once a customer, and only at customers whose last reply on this stream said that they were handed off. What it brought stays in
/// the session until a reply brings it, because a stream may break before it is read.
final class DeskWatch: Sendable {
    private struct State {
        /// Whom to look for, and the ids of what this stream has brought already.
        var watched: [UserID: Set<String>] = [:]
        /// Looks while there is somebody to look for: a stream of customers that no person serves has no task for it.
        var looking: Task<Void, Never>?
        var isOver = false
    }

    private let desk: HandOffDesk?
    private let interval: Duration
    private let responses: ResponseWriter
    private let state = Mutex(State())

    init(desk: HandOffDesk?, interval: Duration, responses: ResponseWriter) {
        self.desk = desk
        self.interval = interval
        self.responses = responses
    }

    /// A reply went to the stream.
    func note(_ reply: Reply) {
        guard let desk else { return }
        state.withLock { state in
            guard reply.session.handedOff else {
                state.watched[reply.uid] = nil
                return
            }
            state.watched[reply.uid, default: []].formUnion(reply.agentMessages.map(\.id))
            // It is no part of the turn that began it.
            if state.looking == nil, !state.isOver { state.looking = Task.detached { await self.look(desk) } }
        }
    }

    /// Looks while `body` runs.
    func during(_ body: () async throws -> Void) async throws {
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        let looking = state.withLock { state in
            state.isOver = true
            return state.looking
        }
        looking?.cancel()
        await looking?.value
        try result.get()
    }

    private func look(_ desk: HandOffDesk) async {
        while let uids = toLookAt() {
            for uid in uids {
                guard await bring(uid, desk) else { return }
            }
            try? await Task.sleep(for: interval)
        }
    }

    /// Whom to look for now; nil: nobody, and the task ends.
    private func toLookAt() -> [UserID]? {
        state.withLock { state in
            if !state.isOver, !state.watched.isEmpty { return Array(state.watched.keys) }
            state.looking = nil
            return nil
        }
    }

    /// - Returns: Whether the stream still takes responses.
    private func bring(_ uid: UserID, _ desk: HandOffDesk) async -> Bool {
        let unseen: [AgentMessage]
        do throws(ConversationError) {
            guard let found = try await desk.unseen(uid, deadline: .now + .seconds(1)) else {
                state.withLock { $0.watched[uid] = nil }
                return true
            }
            unseen = found
        } catch {
            // A Redis that is away is looked at again later.
            return true
        }
        let new = state.withLock { state -> [AgentMessage] in
            guard let known = state.watched[uid] else { return [] }
            let new = unseen.filter { !known.contains($0.id) }
            // What is no longer unseen will not come again.
            state.watched[uid] = Set(unseen.map(\.id))
            return new
        }
        if new.isEmpty { return true }
        return (try? await responses.write(DialogueCodec.replyResponse(uid: uid, agentMessages: new))) != nil
    }
}
