/// How long to wait before the next attempt to connect: it doubles from attempt to attempt, within bounds, and part of it is random
/// so that many clients do not come back at the same moment.
public struct Backoff: Sendable, Hashable {
    /// The longest wait after the first failure.
    public var initial: Duration
    /// The longest wait at all.
    public var maximum: Duration

    /// Waits from `initial` up to `maximum`.
    public init(initial: Duration = .milliseconds(20), maximum: Duration = .seconds(2)) {
        self.initial = initial
        self.maximum = maximum
    }

    /// The wait after a number of failures in a row (at least 1).
    ///
    /// - Parameter random: A number from 0 to 1. The wait is from a half to the whole of the step, in proportion.
    func delay(failures: Int, random: Double) -> Duration {
        let doublings = min(max(failures - 1, 0), 30)
        let step = min(initial * (1 << doublings), maximum)
        return step / 2 + step / 2 * random
    }
}
