internal import CTorch
internal import Glibc

/// What holds for libtorch in the whole process.
public enum TorchRuntime {
    /// The version of libtorch, such as `2.13.0`.
    public static var version: String { String(cString: ctorch_version()) }

    /// How many threads compute one forward pass.
    ///
    /// Each thread that runs forward passes has a team of that many, itself included: instances x intra-op threads should not exceed the
    /// cores. libtorch begins with the number of cores (or `OMP_NUM_THREADS`).
    public static var intraOpThreads: Int { Int(ctorch_intra_op_threads()) }

    /// Sets how many threads compute one forward pass; every instance takes the number at its next forward pass.
    ///
    /// - Throws: ``TorchError`` `.invalidArgument` below 1 or above 1,024.
    public static func setIntraOpThreads(_ count: Int) throws(TorchError) {
        try setThreads(count, kind: "intra-op", ctorch_set_intra_op_threads)
    }

    /// How many threads run the branches of a model that uses `torch.jit.fork`. Other models use none of them.
    public static var interOpThreads: Int { Int(ctorch_inter_op_threads()) }

    /// Sets how many threads run forked branches.
    ///
    /// - Throws: ``TorchError`` `.invalidArgument` below 1 or above 1,024, `.failed` where it was set before or such threads already run.
    public static func setInterOpThreads(_ count: Int) throws(TorchError) {
        try setThreads(count, kind: "inter-op", ctorch_set_inter_op_threads)
    }

    /// Bytes of this process in physical memory; nil where the system does not say.
    public static var residentBytes: Int? {
        let file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        let text = String(unsafeUninitializedCapacity: 256) { buffer in max(0, read(file, buffer.baseAddress, buffer.count)) }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return nil }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }

    private static func setThreads(
        _ count: Int, kind: String, _ set: (Int32, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> ctorch_code
    ) throws(TorchError) {
        guard (1...1024).contains(count) else {
            throw TorchError(.invalidArgument, "the number of \(kind) threads is \(count); expected 1 to 1024")
        }
        try TorchError.check { message in set(Int32(count), &message) }
    }
}
