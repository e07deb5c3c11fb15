internal import DequeModule
internal import Glibc

extension BatchQueue {
    /// A batch while it is filled.
    private struct Forming {
        var ids: [RequestID]
        /// The sum of the rows' lengths.
        var tokens: Int
        /// The bucket at which it is computed: the greatest of its rows.
        var bucket: Int
        /// Whether all rows are of that bucket.
        var isUniform = true
        /// The class of its head.
        var headClass: Int
        /// How many rows each class has in it.
        var rows = Array(repeating: 0, count: Priority.allCases.count)
        /// The earliest deadline of its rows.
        var deadline: Duration
        /// It may have twice the usual rows.
        var isTrial: Bool
        /// Whether more of a higher level wait than it could take, while rows of a lower one are added.
        var delaysOthers = false
    }

    /// What became of an attempt to add a row.
    private enum Joining {
        case joined
        /// No request of this line can be a row of the batch; one of a line beyond it may.
        case nobody
        /// Nor can one of a line beyond.
        case done
    }

    /// Gives free workers what waits. `evenLate`: this request is computed though it is predicted to be late.
    mutating func dispatch(_ now: Duration, evenLate: RequestID?, _ actions: inout [Action]) {
        var late: [RequestID] = []
        var batches: [Action] = []
        while !freeWorkers.isEmpty, let head = first() {
            let bucket = head.bucket
            let alone = now + (times.ceiling(rows: 1, bucket: bucket) ?? .zero)
            guard alone <= head.deadline || head.entry.id == evenLate else {
                remove(head.entry.id)
                late.append(head.entry.id)
                continue
            }
            let batch = form(head, now: now)
            let worker = freeWorkers.removeLast()
            let rows = batch.ids.count
            let estimate = times.estimate(rows: rows, bucket: batch.bucket)
            let time = estimate ?? .zero
            // Without times nothing says that padding pays, and nothing is set aside for it.
            if estimate != nil { paddingCredit = paddingCredit(after: rows * limits.lengthBuckets[batch.bucket], of: batch.tokens) }
            workers[worker] = Running(started: now, rows: rows, bucket: batch.bucket, expectedEnd: now + time)
            note(time, batch, now)
            batches.append(.run(Batch(worker: worker, requests: batch.ids, length: limits.lengthBuckets[batch.bucket])))
        }
        if !late.isEmpty { actions.append(.refuse(late, .unreachable(retryAfter: nil))) }
        actions += batches
    }

    /// Adds a batch to the shares of the classes: an average of the past in which what is older by ``memory`` counts 1/e. A row costs what
    /// it would in a full batch; what
    /// is left of the batch's time is on account of its head's class, for whose sake it was not full.
    private mutating func note(_ time: Duration, _ batch: Forming, _ now: Duration) {
        let kept = exp(-((now - sharesAt).inSeconds / Self.memory.inSeconds))
        let unit = Self.memory.inSeconds * Double(workers.count)
        let row = min(rowTime(batch.bucket), time / batch.ids.count)
        for index in shares.indices {
            let cost = index == batch.headClass ? time - row * (batch.ids.count - batch.rows[index]) : row * batch.rows[index]
            shares[index] = kept * shares[index] + cost.inSeconds / unit
        }
        sharesAt = now
    }

    /// The first in order of all that wait.
    private func first() -> Waiting? {
        let buckets = limits.lengthBuckets.count
        for level in 0..<Self.levels {
            var first: Line.Entry?
            for bucket in 0..<buckets {
                guard let entry = lines[level * buckets + bucket].entries.first else { continue }
                if first.map({ entry < $0 }) ?? true { first = entry }
            }
            if let first { return requests[first.id] }
        }
        return nil
    }

    /// A batch with `head`, which waits, as its first row.
    private mutating func form(_ head: Waiting, now: Duration) -> Forming {
        remove(head.entry.id)
        batches += 1
        var batch = Forming(
            ids: [head.entry.id], tokens: head.length, bucket: head.bucket, headClass: head.priority.rawValue, deadline: head.deadline,
            isTrial: batches.isMultiple(of: Self.trialInterval))
        batch.rows[head.priority.rawValue] = 1
        let lengths = limits.lengthBuckets
        for level in head.level..<Self.levels {
            // A lower level never makes the batch longer, nor much slower where others of a higher one wait for it to end.
            let end = level == head.level ? lengths.count : batch.bucket + 1
            if level > head.level { batch.delaysOthers = levelCounts[head.level..<level].contains { $0 > 0 } }
            var shorter = head.bucket
            var longer = head.bucket + 1
            while batch.ids.count < limits.batchSize {
                while shorter >= 0, lines[level * lengths.count + shorter].entries.isEmpty { shorter -= 1 }
                while longer < end, lines[level * lengths.count + longer].entries.isEmpty { longer += 1 }
                // The nearest length; of two equally near, the shorter.
                let takesShorter: Bool
                switch (shorter >= 0, longer < end) {
                case (true, true): takesShorter = lengths[head.bucket] - lengths[shorter] <= lengths[longer] - lengths[head.bucket]
                case (true, false): takesShorter = true
                case (false, true): takesShorter = false
                case (false, false): takesShorter = true
                }
                guard shorter >= 0 || longer < end else { break }
                switch join(&batch, level: level, bucket: takesShorter ? shorter : longer, now: now) {
                case .joined: break
                case .nobody: if takesShorter { shorter -= 1 } else { longer += 1 }
                case .done: if takesShorter { shorter = -1 } else { longer = end }
                }
            }
        }
        return batch
    }

    /// Adds the first of a line that lets the batch keep its deadlines and the queue its share of padding.
    private mutating func join(_ batch: inout Forming, level: Int, bucket: Int, now: Duration) -> Joining {
        let rows = batch.ids.count + 1
        let computed = max(batch.bucket, bucket)
        guard rows <= rowLimits[computed] * (batch.isTrial ? 2 : 1) else { return .done }
        let finish = now + (times.ceiling(rows: rows, bucket: computed) ?? .zero)
        // Beyond are longer rows, or rows that change nothing about the time.
        guard finish <= batch.deadline else { return .done }
        // While others of a higher level wait, a row of a lower one must cost at most two thirds of the mean row so far. Where time is a +
        // b x rows, that is up to 2a / b rows and
        // two thirds of the best throughput: on a CPU, where a is small, none; on a GPU many.
        if batch.delaysOthers, let time = times.estimate(rows: rows, bucket: computed),
            let before = times.estimate(rows: rows - 1, bucket: computed), (time - before) * (3 * (rows - 1)) > before * 2
        {
            return .done
        }
        guard let id = candidate(level: level, bucket: bucket, finish: finish), let request = requests[id] else { return .nobody }

        let isUniform = batch.isUniform && bucket == batch.bucket
        let tokens = batch.tokens + request.length
        let padded = rows * limits.lengthBuckets[computed]
        if !isUniform, Double(padded - tokens) > limits.paddingShare * Double(padded) {
            guard paddingCredit(after: padded, of: tokens) >= 0 else { return .done }
            guard paysToJoin(batch, bucket: bucket, rows: rows, computed: computed) else { return .nobody }
        }
        remove(id)
        batch.ids.append(id)
        batch.rows[request.priority.rawValue] += 1
        batch.tokens = tokens
        batch.bucket = computed
        batch.isUniform = isUniform
        batch.deadline = min(batch.deadline, request.deadline)
        return .joined
    }

    /// What is left of ``paddingCredit`` by a batch of `padded` tokens, of which `tokens` are no padding.
    private func paddingCredit(after padded: Int, of tokens: Int) -> Double {
        let most = Double(limits.batchSize * limits.lengthBuckets[limits.lengthBuckets.count - 1])
        return min(paddingCredit + limits.paddingShare * Double(padded) - Double(padded - tokens), most)
    }

    /// Whether a row of another bucket costs no more in this batch, with all padding that it brings, than in a batch of those of its own
    /// bucket that wait now.
    private func paysToJoin(_ batch: Forming, bucket: Int, rows: Int, computed: Int) -> Bool {
        let buckets = limits.lengthBuckets.count
        let waiting = (0..<Self.levels).reduce(0) { $0 + lines[$1 * buckets + bucket].entries.count }
        let apart = max(1, min(waiting, rowLimits[bucket]))
        guard let together = times.estimate(rows: rows, bucket: computed),
            let without = times.estimate(rows: rows - 1, bucket: batch.bucket),
            let alone = times.estimate(rows: apart, bucket: bucket)
        else { return false }
        return (together - without) * apart <= alone
    }

    /// The first request of a line whose deadline is not before `finish`. Of the overdue, only the first is looked at: they are not in the
    /// order of deadlines.
    private func candidate(level: Int, bucket: Int, finish: Duration) -> RequestID? {
        let line = lines[level * limits.lengthBuckets.count + bucket]
        if level == 0 {
            return line.entries.first.flatMap { entry in requests[entry.id].flatMap { $0.deadline >= finish ? entry.id : nil } }
        }
        let index = line.count(before: Line.Entry(key: finish, id: 0))
        return index < line.entries.count ? line.entries[index].id : nil
    }
}
