import RPC

extension ServerContext {
    /// When an answer must be ready to be of use; nil where the caller sets no deadline.
    ///
    /// The caller's clock began before the call came in, and the answer has a way back. Both together are taken to be a thirty-second part of the time that
    /// is left: what is computed up to the very deadline is computed in vain (18 and 36 rows in two runs of an overload with a second to answer, on 2 cores).
    func answerDeadline(at now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        deadline.map { now + now.duration(to: $0) * 31 / 32 }
    }
}
