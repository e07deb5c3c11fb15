import Foundation
import Glibc
import Torch
import Understanding

/// Warms a model as intent-server does, and then runs batches of the shapes that were warmed and of shapes that were not: how long does the first pass of
/// each take, beside the median of its shape?
///
/// `WarmShapes BUNDLE THREADS [none]`; `none`: without the warm-up. Wall time says what a request would see, on a machine that is not shared; CPU time of the
/// process says what was computed, on any machine.
@main
struct WarmShapes {
    /// What one pass took.
    struct Pass {
        var wall: Double
        var cpu: Double
    }

    /// The passes of one shape, the first one first.
    struct Shape {
        var rows: Int
        var length: Int
        var isWarm: Bool
        var passes: [Pass] = []

        /// A pass beside the median of all.
        func ratio(_ pass: Pass, _ of: KeyPath<Pass, Double>) -> Double {
            let sorted = passes.map { $0[keyPath: of] }.sorted()
            return pass[keyPath: of] / sorted[sorted.count / 2]
        }
    }

    static func main() async throws {
        let arguments = CommandLine.arguments
        guard (3...4).contains(arguments.count), let threads = Int(arguments[2]), arguments.count == 3 || arguments[3] == "none" else {
            print("usage: WarmShapes BUNDLE THREADS [none]")
            return
        }
        try TorchRuntime.restartToWaitPassively()
        try TorchRuntime.setIntraOpThreads(threads)
        let bundle = try ModelBundle(directory: arguments[1])
        let instance = try await ModelInstance.load(path: bundle.modelPath)
        let grid = WarmUp.grid(batchSize: 32, maximumLength: bundle.manifest.maximumLength)
        if arguments.count == 3 {
            let engine = RecognitionEngine(bundle: bundle, workers: [Worker(instance: instance)])
            let began = ContinuousClock.now
            let times = try await engine.warmUp(grid)
            print("warm-up: \(times.count) shapes in \(began.duration(to: .now))")
        }
        var shapes = grid.map { Shape(rows: $0.rows, length: $0.length, isWarm: true) }
        for rows in [3, 12, 24] {
            for length in [4, 12, 24, 48] { shapes.append(Shape(rows: rows, length: length, isWarm: false)) }
        }
        shapes.shuffle()
        for index in shapes.indices {
            shapes[index].passes = try await passes(instance, rows: shapes[index].rows, length: shapes[index].length)
        }
        report(shapes)
        await instance.unload()
    }

    /// Five passes of a shape, on the instance's own thread.
    static func passes(_ instance: isolated ModelInstance, rows: Int, length: Int) throws -> [Pass] {
        let ids = (0..<rows * length).map { Int64(1 + $0 * 7919 % 999) }
        let mask = [Int64](repeating: 1, count: rows * length)
        return try (0..<5).map { _ in
            let (wall, cpu) = (seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID))
            _ = try instance.forward(inputIDs: ids, attentionMask: mask, rows: rows, length: length)
            return Pass(wall: seconds(CLOCK_MONOTONIC) - wall, cpu: seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu)
        }
    }

    static func report(_ shapes: [Shape]) {
        for (name, isWarm) in [("shapes of the grid", true), ("other shapes", false)] {
            let kind = shapes.filter { $0.isWarm == isWarm }
            for (clock, path) in [("wall", \Pass.wall), ("CPU", \Pass.cpu)] {
                let first = kind.map { $0.ratio($0.passes[0], path) }.max() ?? 0
                let any = kind.flatMap { shape in shape.passes.map { shape.ratio($0, path) } }
                print(
                    String(
                        format:
                            "%2d %@, %@ time beside the median of the shape: first pass at most %.2f, any pass at most %.2f, above 3: %d",
                        kind.count, name, clock, first, any.max() ?? 0, any.count { $0 > 3 }))
            }
        }
    }

    static func seconds(_ clock: clockid_t) -> Double {
        var now = timespec()
        clock_gettime(clock, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}

/// An instance as the forward pass of an engine.
struct Worker: ForwardPass {
    let instance: ModelInstance

    func forward(_ batch: TokenBatch) async throws -> Logits {
        let outputs = try await instance.forward(
            inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
        return Logits(intent: outputs[0].values, slots: outputs[1].values)
    }
}
