internal import DequeModule

extension BatchQueue {
    /// Why a request is not taken; nil: it is.
    func refusal(of request: Request, now: Duration) -> Refusal? {
        // Nothing waits where a worker is free, so no bound is reached.
        if freeWorkers.isEmpty {
            let bound = limits[request.priority]
            let work = work(request.priority) + rowTime(times.bucket(request.length))
            if waiting(request.priority) >= bound.waiting || work > bound.work {
                let ahead = prediction(of: request, now: now).start - now
                return .full(retryAfter: ahead > .zero ? ahead : nil)
            }
        }
        guard let deadline = request.deadline else { return nil }
        let finish = finish(of: request, now: now)
        guard finish > deadline else { return nil }
        // Alone and at once it would be late as well: waiting does not help.
        let alone = now + (times.ceiling(rows: 1, bucket: times.bucket(request.length)) ?? .zero)
        return .unreachable(retryAfter: alone > deadline ? nil : finish - deadline)
    }

    /// When a request that comes now should be done.
    ///
    /// What goes before it is what waits at higher levels and, at its own, what has an earlier deadline; lower classes are not counted.
    /// Those requests are cut into batches as
    /// ``BatchQueue`` would (neighbouring lengths together, ``Limits/efficiency`` applied, free places filled from behind), each takes its
    /// mean time, and the workers share them,
    /// beginning when each has done what it runs. Higher classes that keep coming take the share of the time that they took of late. The
    /// request itself is in the batch of those of its length that are left over; where other batches go before, that one will
    /// have filled up until then. It may take as long as ``ServiceTimes/ceiling(rows:length:)`` says. While nothing was measured, it is
    /// `now`.
    func finish(of request: Request, now: Duration) -> Duration {
        let prediction = prediction(of: request, now: now)
        return prediction.start + prediction.compute
    }

    /// When the batch of a request begins, and how long it takes at most.
    private func prediction(of request: Request, now: Duration) -> (start: Duration, compute: Duration) {
        let own = times.bucket(request.length)
        guard freeWorkers.isEmpty else { return (now, times.ceiling(rows: 1, bucket: own) ?? .zero) }

        let lengths = limits.lengthBuckets
        var ahead = Duration.zero
        var rest = 0
        var ownBucket = own
        /// Rows of neighbouring buckets that go together: how many are ahead, how many are not, and the buckets from the first to the last.
        var group = (ahead: 0, behind: 0, first: 0, last: 0)

        func close() {
            let limit = rowLimits[group.last]
            let left = group.ahead % limit
            if group.ahead >= limit { ahead += (times.estimate(rows: limit, bucket: group.last) ?? .zero) * (group.ahead / limit) }
            if (group.first...group.last).contains(own) {
                rest = left
                ownBucket = group.last
            } else if left > 0 {
                ahead += times.estimate(rows: min(limit, left + group.behind), bucket: group.last) ?? .zero
            }
        }

        let level = request.priority.rawValue + 1
        let entry = Line.Entry(key: request.deadline ?? Self.never, id: request.id)
        var isOpen = false
        for bucket in lengths.indices {
            var before = 0
            var all = 0
            for other in 0..<Self.levels {
                let line = lines[other * lengths.count + bucket]
                all += line.entries.count
                if other < level { before += line.entries.count } else if other == level { before += line.count(before: entry) }
            }
            guard before > 0 || bucket == own else { continue }
            // With lengths spread evenly from the first to the last of a batch, the share of padding is half of the spread.
            if isOpen, Double(lengths[group.first]) >= (1 - 2 * limits.paddingShare) * Double(lengths[bucket]) {
                group = (group.ahead + before, group.behind + all - before, group.first, bucket)
            } else {
                if isOpen { close() }
                group = (before, all - before, bucket, bucket)
                isOpen = true
            }
        }
        if isOpen { close() }
        // Of the time until then, the higher classes will take their share for requests that are still to come.
        let higher = shares.prefix(request.priority.rawValue).reduce(0, +)
        if higher > 0 { ahead = ahead * (1 / max(1 - higher, 0.05)) }
        let rows = ahead > .zero ? rowLimits[ownBucket] : rest + 1
        return (start(of: ahead, now: now), times.ceiling(rows: rows, bucket: ownBucket) ?? .zero)
    }

    /// When a worker is free for what comes after so much work: the workers fill up like vessels, the one that is free first being the
    /// deepest.
    private func start(of work: Duration, now: Duration) -> Duration {
        let free = workers.map { max(now, $0?.expectedEnd ?? now) }.sorted()
        var left = work
        for (index, end) in free.enumerated() {
            let next = index + 1 < free.count ? free[index + 1] : nil
            guard let next, (next - end) * (index + 1) < left else { return end + left / (index + 1) }
            left -= (next - end) * (index + 1)
        }
        return now + work
    }
}
