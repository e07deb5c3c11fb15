public import Conversation
import Synchronization

/// Keeps sessions in this process: the embedded default. Nothing outlives the process, and no other process sees it.
public final class MemoryStore: SessionStore {
    private struct Entry {
        var session: Session
        var version: SessionVersion
        var replies: [Int: Reply]
        var recent: [String]
        var expiresAt: Timestamp
    }

    private let entries = Mutex<[UserID: Entry]>([:])
    private let now: @Sendable () -> Timestamp
    /// A commit that meets this many entries sweeps out those that have expired.
    private let sweepAt = Mutex(1024)

    /// A store without sessions.
    ///
    /// - Parameter now: The clock by which sessions expire.
    public init(now: @escaping @Sendable () -> Timestamp) {
        self.now = now
    }

    /// The session of a user, and the version to commit against.
    public func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        entries.withLock { live(uid, in: &$0).map(Self.loaded) }
    }

    /// The reply kept at a position of the ring of answered seqs.
    public func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> Reply?
    {
        entries.withLock { live(uid, in: &$0)?.replies[position] }.flatMap { $0.seq == seq ? $0 : nil }
    }

    /// Keeps a session and a reply in one step.
    public func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?)
        async throws(ConversationError) -> CommitResult
    {
        let now = now()
        return entries.withLock { entries in
            let stored = live(commit.session.uid, in: &entries)
            guard stored?.version == expected else {
                return .conflict(stored.map(Self.loaded))
            }
            var replies = stored?.replies ?? [:]
            if let reply = commit.reply { replies[commit.position] = reply }
            let version = SessionVersion(sessionID: commit.session.id, number: (stored?.version.number ?? 0) + 1, commit: "")
            entries[commit.session.uid] = Entry(
                session: commit.session, version: version, replies: replies, recent: commit.recent,
                expiresAt: now.advanced(by: commit.session.timeToLive))
            sweep(&entries, now)
            return .committed(version)
        }
    }

    /// The time that is left to the session of a user.
    public func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        let now = now()
        return entries.withLock { live(uid, in: &$0).map { .milliseconds($0.expiresAt.milliseconds - now.milliseconds) } }
    }

    /// Drops a session.
    public func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        entries.withLock { entries in
            defer { entries[uid] = nil }
            return live(uid, in: &entries) != nil
        }
    }

    private static func loaded(_ entry: Entry) -> VersionedSession {
        VersionedSession(session: entry.session, version: entry.version, recent: entry.recent)
    }

    private func live(_ uid: UserID, in entries: inout [UserID: Entry]) -> Entry? {
        guard let entry = entries[uid] else { return nil }
        guard entry.expiresAt > now() else {
            entries[uid] = nil
            return nil
        }
        return entry
    }

    /// Expired entries of users who never came back go whenever the store has doubled, so the cost per commit stays flat.
    private func sweep(_ entries: inout [UserID: Entry], _ now: Timestamp) {
        sweepAt.withLock { threshold in
            guard entries.count >= threshold else { return }
            entries = entries.filter { $0.value.expiresAt > now }
            threshold = max(1024, entries.count * 2)
        }
    }
}
