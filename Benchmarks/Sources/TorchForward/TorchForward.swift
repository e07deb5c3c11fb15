import Glibc
import Torch

/// The Swift side of `torch_forward.py`: measures forward passes of a model as its standard input asks.
///
/// `TorchForward MODEL THREADS [PRECISION]`. Each line `rows length seconds` of standard input is answered by one line
/// `passes seconds sum`: how many passes ran, how long they took, and the sum of all outputs of the last one.
@main
struct TorchForward {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard (3...4).contains(arguments.count), let threads = Int(arguments[2]) else {
            print("usage: TorchForward MODEL THREADS [float32|bfloat16]")
            return
        }
        guard let precision = Precision(rawValue: arguments.count > 3 ? arguments[3] : "float32") else {
            print("unknown precision \(arguments[3]): expected float32 or bfloat16")
            return
        }
        try TorchRuntime.restartToWaitPassively()
        try TorchRuntime.setIntraOpThreads(threads)
        let instance = try await ModelInstance.load(path: arguments[1], precision: precision)
        while let line = readLine() {
            let fields = line.split(separator: " ")
            guard fields.count == 3, let rows = Int(fields[0]), let length = Int(fields[1]), let seconds = Double(fields[2]) else {
                print("not understood: \(line); expected: rows length seconds")
                fflush(nil)
                continue
            }
            print(try await measure(instance, rows: rows, length: length, seconds: seconds))
            fflush(nil)
        }
    }

    /// Runs forward passes, one after the other, until the time is over: on the instance's own thread, as Python runs on its own.
    static func measure(_ instance: isolated ModelInstance, rows: Int, length: Int, seconds: Double) throws -> String {
        // The same ids as in torch_forward.py.
        let ids = (0..<rows * length).map { Int64(1 + $0 * 7919 % 999) }
        let mask = [Int64](repeating: 1, count: rows * length)
        let clock = ContinuousClock()
        let start = clock.now
        let end = start.advanced(by: .seconds(seconds))
        var passes = 0
        var outputs: [Tensor] = []
        repeat {
            outputs = try instance.forward(inputIDs: ids, attentionMask: mask, rows: rows, length: length)
            passes += 1
        } while clock.now < end
        let elapsed = (clock.now - start) / .seconds(1)
        let sum = outputs.reduce(0.0) { $1.values.reduce($0) { $0 + Double($1) } }
        return "\(passes) \(elapsed) \(sum)"
    }
}
