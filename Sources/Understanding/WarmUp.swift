internal import Tokenization

/// What batches of a shape take.
public struct ShapeTime: Sendable, Hashable {
    /// Rows of the batch.
    public var rows: Int
    /// Tokens of each.
    public var length: Int
    /// The slowest worker's first forward pass of the shape.
    public var first: Duration
    /// The median of the forward passes after it, over all workers.
    public var median: Duration

    /// Times by their values.
    public init(rows: Int, length: Int, first: Duration, median: Duration) {
        self.rows = rows
        self.length = length
        self.first = first
        self.median = median
    }
}

/// The batches that a model runs before it serves.
public enum WarmUp {
    /// The grid that stands for all batches: rows of 1, 2, 4, … up to the largest batch; 8, 16, 32 and 64 tokens, which few utterances pass, as far as the
    /// model takes them. The largest comes first, so that what is allocated for it serves the others.
    public static func grid(batchSize: Int, maximumLength: Int) -> [(rows: Int, length: Int)] {
        func doubling(from first: Int, to last: Int) -> [Int] { first < last ? [first] + doubling(from: first * 2, to: last) : [last] }
        let lengths = doubling(from: 8, to: min(64, maximumLength)).reversed()
        return doubling(from: 1, to: batchSize).reversed().flatMap { rows in lengths.map { (rows, $0) } }
    }

    /// The most timed runs of a shape on a worker, and the time after which there is no further one.
    private static let timedRuns = 3
    private static let timedSpan = Duration.milliseconds(60)

    /// Runs every shape on every worker, all workers side by side, and checks what the model gives.
    static func run(_ shapes: [(rows: Int, length: Int)], on workers: [any ForwardPass], of bundle: ModelBundle) async throws -> [ShapeTime]
    {
        let runs = try await withThrowingTaskGroup(of: [[Duration]].self) { group in
            for worker in workers {
                group.addTask {
                    var times: [[Duration]] = []
                    for (rows, length) in shapes { times.append(try await time(rows, length, on: worker, of: bundle)) }
                    return times
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        return shapes.enumerated().map { index, shape in
            let later = runs.flatMap { $0[index].dropFirst() }.sorted()
            return ShapeTime(
                rows: shape.rows, length: shape.length, first: runs.map { $0[index][0] }.max() ?? .zero,
                median: later.isEmpty ? .zero : later[later.count / 2])
        }
    }

    /// The times of a first run and of one or more after it.
    private static func time(_ rows: Int, _ length: Int, on worker: any ForwardPass, of bundle: ModelBundle) async throws -> [Duration] {
        let row = Encoding(
            ids: Array(repeating: bundle.vocabulary.unknown, count: length), ranges: Array(repeating: 0..<0, count: length),
            isContinuation: Array(repeating: false, count: length), truncated: false)
        let batch = TokenBatch(Array(repeating: row, count: rows), length: length)
        let clock = ContinuousClock()
        var runs: [Duration] = []
        var spent = Duration.zero
        while runs.count < 2 || (runs.count <= timedRuns && spent < timedSpan) {
            try Task.checkCancellation()
            let began = clock.now
            let logits = try await worker.forward(batch)
            let took = began.duration(to: clock.now)
            if !runs.isEmpty { spent += took }
            runs.append(took)
            try bundle.check(logits, of: batch)
        }
        return runs
    }
}
