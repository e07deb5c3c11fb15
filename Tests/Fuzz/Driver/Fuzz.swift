import FuzzTargets
import Glibc

/// `Fuzz TARGET [options and corpus folders of libFuzzer]`, or `Fuzz` for the targets' names.
@main struct Fuzz {
    static func main() {
        guard CommandLine.arguments.count > 1 else {
            for target in FuzzTarget.all { print(target.name, target.maximumLength) }
            return
        }
        guard let target = FuzzTarget.all.first(where: { $0.name == CommandLine.arguments[1] }) else {
            print(
                "there is no target '\(CommandLine.arguments[1])'; one of these is expected:",
                FuzzTarget.all.map(\.name).joined(separator: " "))
            exit(2)
        }
        running = target
        // libFuzzer sees the program's name and what stands behind the target's.
        var arguments: [UnsafeMutablePointer<CChar>?] = ([CommandLine.arguments[0]] + CommandLine.arguments.dropFirst(2)).map { strdup($0) }
        arguments.append(nil)
        var count = Int32(arguments.count - 1)
        let status = arguments.withUnsafeMutableBufferPointer { buffer in
            var pointer = buffer.baseAddress
            return runLibFuzzer(&count, &pointer) { bytes, count in
                running?.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
                return 0
            }
        }
        exit(status)
    }
}

/// Set once, before the first input. libFuzzer's callback takes no context.
nonisolated(unsafe) private var running: FuzzTarget?

@_silgen_name("LLVMFuzzerRunDriver")
private func runLibFuzzer(
    _ count: UnsafeMutablePointer<Int32>, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32
