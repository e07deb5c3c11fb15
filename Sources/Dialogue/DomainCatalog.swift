public import Conversation
import Synchronization

/// The versions of a domain side by side: the current one, and earlier ones with which dialogues under way began.
public final class DomainCatalog: Sendable {
    /// How many versions are kept. A dialogue whose version is gone goes on with the current one, as far as that knows its flows.
    public static let limit = 8

    /// The versions of catalogues that are side by side.
    private final class Shelf: Sendable {
        /// Of each catalogue, newest last; none is empty.
        let rows: Mutex<[[Domain]]>

        init(_ domains: [Domain]) { rows = Mutex(domains.map { [$0] }) }
    }

    private let shelf: Shelf
    /// Its own place on the shelf.
    private let row: Int

    /// A catalogue of one version.
    public convenience init(_ domain: Domain) { self.init(Shelf([domain]), row: 0) }

    private init(_ shelf: Shelf, row: Int) {
        self.shelf = shelf
        self.row = row
    }

    /// A catalogue for each of several domains, between which users may be moved: with each new flows begin by its own versions, and a dialogue under way
    /// finds the version that it began with, whichever it is of.
    public static func sideBySide(_ domains: [Domain]) -> [DomainCatalog] {
        let shelf = Shelf(domains)
        return domains.indices.map { DomainCatalog(shelf, row: $0) }
    }

    /// The version with which new flows begin.
    public var current: Domain { shelf.rows.withLock { $0[row][$0[row].count - 1] } }

    /// The version that decides the next turn of a session: the one with which its flows began, until they have ended.
    public func domain(for session: Session) -> Domain {
        session.flows.isEmpty ? current : domain(version: session.domainVersion)
    }

    /// A version by its name; the current one where it is not there any more.
    public func domain(version: String) -> Domain {
        shelf.rows.withLock { rows in
            let newest = rows[row][rows[row].count - 1]
            if newest.version == version { return newest }
            for versions in [rows[row]] + rows {
                if let found = versions.last(where: { $0.version == version }) { return found }
            }
            return newest
        }
    }

    /// Makes a version the current one; the oldest goes where there are more than ``limit``.
    public func add(_ domain: Domain) {
        shelf.rows.withLock { rows in
            rows[row].removeAll { $0.version == domain.version }
            rows[row].append(domain)
            if rows[row].count > Self.limit { rows[row].removeFirst(rows[row].count - Self.limit) }
        }
    }
}
