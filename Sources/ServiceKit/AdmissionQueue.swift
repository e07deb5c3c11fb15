import DequeModule

/// Who may begin, who waits, and who is refused, as a value: no clock, no lock, no task.
///
/// As many are under way as the ``ConcurrencyLimit`` says. Those who come beyond it wait, first come first served within a class, conversations under way before
/// new ones; a bounded number, and only those who can expect to begin in time by the pace at which work ends. The others are refused at once, with the time
/// after which trying again makes sense.
public struct AdmissionQueue: Sendable {
    /// What a queue can be told.
    public struct Configuration: Sendable, Hashable {
        /// How the limit is learnt.
        public var limit = ConcurrencyLimit.Configuration()
        /// The most that may wait.
        public var waiting = 16_384
        /// The longest that anyone waits.
        public var patience: Duration = .seconds(5)
        /// The share of the limit that new conversations may fill; the rest is kept for those under way.
        public var newcomers = 0.8

        /// The defaults.
        public init() {}
    }

    /// Which of two goes first.
    public enum Standing: Int, Sendable, Hashable, CaseIterable {
        /// Part of a conversation that has begun.
        case underWay
        /// The first message of a conversation.
        case new
    }

    /// What is said to one who comes.
    public enum Answer: Sendable, Hashable {
        /// It begins.
        case admitted
        /// It waits: ``leave(at:)`` or ``expire(at:)`` name it later. Where there was no place left, the new conversation that came last gave up its own.
        case waiting(displacing: UInt64?)
        /// There is too much; trying again makes sense after this time.
        case refused(retryAfter: Duration)
    }

    /// What became of those who waited.
    public struct Change: Sendable, Hashable {
        /// They begin.
        public var admitted: [UInt64] = []
        /// They are refused.
        public var refused: [UInt64] = []

        /// A change by its parts.
        public init(admitted: [UInt64] = [], refused: [UInt64] = []) {
            self.admitted = admitted
            self.refused = refused
        }
    }

    /// Of the places that come free while both wait, every eighth goes to a new conversation, so that none starves.
    private static let newcomerEvery = 8

    private struct Ticket: Sendable {
        let id: UInt64
        let until: ContinuousClock.Instant
    }

    private let configuration: Configuration
    private var limit: ConcurrencyLimit
    private var lines: [Deque<Ticket>]
    /// Waiting no more, and still in a line.
    private var gone: Set<UInt64> = []
    private var pace = Pace()
    /// How many of those under way began since the last newcomer did.
    private var sinceNewcomer = 0
    /// How many are under way.
    public private(set) var inFlight = 0

    /// A queue with nobody in it.
    public init(_ configuration: Configuration = Configuration()) {
        self.configuration = configuration
        limit = ConcurrencyLimit(configuration.limit)
        lines = Array(repeating: [], count: Standing.allCases.count)
    }

    /// How many wait.
    public var waiting: Int { lines.reduce(0) { $0 + $1.count } - gone.count }

    /// How many may be under way at once.
    public var currentLimit: Int { limit.current }

    /// Lets someone begin at once where nobody waits and there is room.
    public mutating func admit(_ standing: Standing) -> Bool {
        guard waiting == 0, inFlight < room(for: standing) else { return false }
        inFlight += 1
        return true
    }

    /// Someone comes.
    ///
    /// - Parameters:
    ///   - id: A number that nobody else here has.
    ///   - deadline: When it must have been done.
    public mutating func arrive(
        _ id: UInt64, _ standing: Standing, at now: ContinuousClock.Instant, until deadline: ContinuousClock.Instant
    )
        -> Answer
    {
        if admit(standing) { return .admitted }
        let ahead = standing == .underWay ? lines[Standing.underWay.rawValue].count : waiting
        let expected = pace.duration(of: ahead + 1)
        guard expected <= configuration.patience, now + expected < deadline, waiting < configuration.waiting || standing == .underWay else {
            return .refused(retryAfter: retryAfter)
        }
        var displaced: UInt64?
        if waiting >= configuration.waiting {
            displaced = lastNewcomer()
            guard displaced != nil else { return .refused(retryAfter: retryAfter) }
        }
        lines[standing.rawValue].append(Ticket(id: id, until: min(now + configuration.patience, deadline)))
        return .waiting(displacing: displaced)
    }

    /// Takes the new conversation that came last out of its line.
    private mutating func lastNewcomer() -> UInt64? {
        while let ticket = lines[Standing.new.rawValue].popLast() {
            if gone.remove(ticket.id) == nil { return ticket.id }
        }
        return nil
    }

    /// One who was admitted is done.
    public mutating func leave(at now: ContinuousClock.Instant) -> Change {
        inFlight -= 1
        pace.ended(at: now, busy: waiting > 0)
        return advance(at: now)
    }

    /// Learns from one piece of the work that the limit is there for.
    public mutating func sample(_ outcome: ConcurrencyLimit.Outcome, began: ContinuousClock.Instant, ended: ContinuousClock.Instant) {
        limit.sample(outcome, began: began, ended: ended, inFlight: inFlight)
    }

    /// One who waited no longer does.
    public mutating func abandon(_ id: UInt64) { gone.insert(id) }

    /// Refuses those who waited too long.
    public mutating func expire(at now: ContinuousClock.Instant) -> Change { advance(at: now) }

    /// When the first of those who wait has waited too long; nil: nobody waits.
    public var nextExpiry: ContinuousClock.Instant? {
        // Not by a key path: one through an optional copies over itself in the standard library (Address Sanitizer).
        lines.compactMap { $0.first?.until }.min()
    }

    /// When trying again makes sense: when those who wait now have begun.
    public var retryAfter: Duration {
        min(max(pace.duration(of: waiting + 1), .milliseconds(100)), configuration.patience)
    }

    private func room(for standing: Standing) -> Int {
        switch standing {
        case .underWay: limit.current
        case .new: max(1, Int(Double(limit.current) * configuration.newcomers))
        }
    }

    private mutating func advance(at now: ContinuousClock.Instant) -> Change {
        var change = Change()
        for standing in Standing.allCases { dropFinished(standing, at: now, &change) }
        while let standing = next() {
            let ticket = lines[standing.rawValue].removeFirst()
            inFlight += 1
            sinceNewcomer = standing == .new ? 0 : sinceNewcomer + 1
            change.admitted.append(ticket.id)
            dropFinished(standing, at: now, &change)
        }
        return change
    }

    /// Which line's first begins now; nil: none.
    private func next() -> Standing? {
        let hasNewcomer = !lines[Standing.new.rawValue].isEmpty
        if lines[Standing.underWay.rawValue].isEmpty { return hasNewcomer && inFlight < room(for: .new) ? .new : nil }
        guard inFlight < room(for: .underWay) else { return nil }
        return hasNewcomer && sinceNewcomer >= Self.newcomerEvery - 1 ? .new : .underWay
    }

    /// Takes those from the head of a line who left it or waited too long.
    private mutating func dropFinished(_ standing: Standing, at now: ContinuousClock.Instant, _ change: inout Change) {
        while let ticket = lines[standing.rawValue].first {
            if gone.remove(ticket.id) == nil {
                guard ticket.until <= now else { return }
                change.refused.append(ticket.id)
            }
            lines[standing.rawValue].removeFirst()
        }
    }
}

/// How long one piece of work after another takes while there is always more: an exponential average over the last 64 or so.
struct Pace: Sendable, Hashable {
    private static let weight = 1.0 / 64
    private var last: ContinuousClock.Instant?
    /// Seconds between two ends; nil: not known yet.
    private var interval: Double?

    /// One piece of work ended.
    ///
    /// - Parameter busy: Whether more waits: only then the time until the next end tells of the pace.
    mutating func ended(at now: ContinuousClock.Instant, busy: Bool) {
        defer { last = busy ? now : nil }
        guard let last else { return }
        let (seconds, attoseconds) = last.duration(to: now).components
        let sample = Double(seconds) + Double(attoseconds) * 1e-18
        interval = interval.map { $0 + (sample - $0) * Self.weight } ?? sample
    }

    /// How long so many take; zero where the pace is not known.
    func duration(of count: Int) -> Duration { .seconds((interval ?? 0) * Double(count)) }
}
