public import Conversation
import Synchronization

/// The versions of a domain side by side: the current one, and earlier ones with which dialogues under way began.
public final class DomainCatalog: Sendable {
    /// How many versions are kept. A dialogue whose version is gone goes on with the current one, as far as that knows its flows.
    public static let limit = 8

    /// Newest last; never empty.
    private let versions: Mutex<[Domain]>

    /// A catalogue of one version.
    public init(_ domain: Domain) { versions = Mutex([domain]) }

    /// The version with which new flows begin.
    public var current: Domain { versions.withLock { $0[$0.count - 1] } }

    /// The version that decides the next turn of a session: the one with which its flows began, until they have ended.
    public func domain(for session: Session) -> Domain {
        versions.withLock { versions in
            let newest = versions[versions.count - 1]
            guard !session.flows.isEmpty, session.domainVersion != newest.version else { return newest }
            return versions.last { $0.version == session.domainVersion } ?? newest
        }
    }

    /// Makes a version the current one; the oldest goes where there are more than ``limit``.
    public func add(_ domain: Domain) {
        versions.withLock { versions in
            versions.removeAll { $0.version == domain.version }
            versions.append(domain)
            if versions.count > Self.limit { versions.removeFirst(versions.count - Self.limit) }
        }
    }
}
