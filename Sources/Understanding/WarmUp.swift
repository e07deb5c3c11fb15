internal import Tokenization

/// What batches of a shape take.
public struct ShapeTime: Sendable, Hashable {
    /// Rows of the batch.
    public var rows: Int
    /// Tokens of each.
    public var length: Int
    /// The slowest worker's first forward pass of the shape.
    public var first: Duration
    /// The median of the forward passes after it, over all workers; the first itself where it took so long that it was not repeated.
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
    /// model takes them. The smallest comes first, so that a model's very first run is a short one.
    public static func grid(batchSize: Int, maximumLength: Int) -> [(rows: Int, length: Int)] {
        func doubling(from first: Int, to last: Int) -> [Int] { first < last ? [first] + doubling(from: first * 2, to: last) : [last] }
        let lengths = doubling(from: 8, to: min(64, maximumLength))
        return doubling(from: 1, to: batchSize).flatMap { rows in lengths.map { (rows, $0) } }
    }

    /// The most runs of a shape on a worker, and the time after which there is no further one: large batches need no second run, as what is done once is done
    /// by then.
    private static let runLimit = 4
    private static let timeLimit = Duration.milliseconds(60)

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
            let first = runs.map { $0[index][0] }.max() ?? .zero
            let later = runs.flatMap { $0[index].dropFirst() }.sorted()
            return ShapeTime(
                rows: shape.rows, length: shape.length, first: first, median: later.isEmpty ? first : later[later.count / 2])
        }
    }

    /// The times of a first run, and of those after it.
    private static func time(_ rows: Int, _ length: Int, on worker: any ForwardPass, of bundle: ModelBundle) async throws -> [Duration] {
        let row = Encoding(
            ids: Array(repeating: bundle.vocabulary.unknown, count: length), ranges: Array(repeating: 0..<0, count: length),
            isContinuation: Array(repeating: false, count: length), truncated: false)
        let batch = TokenBatch(Array(repeating: row, count: rows), length: length)
        let clock = ContinuousClock()
        var runs: [Duration] = []
        var spent = Duration.zero
        while runs.isEmpty || (runs.count < runLimit && spent < timeLimit) {
            try Task.checkCancellation()
            let began = clock.now
            let logits = try await worker.forward(batch)
            let took = began.duration(to: clock.now)
            spent += took
            runs.append(took)
            try bundle.check(logits, of: batch)
        }
        return runs
    }
}
