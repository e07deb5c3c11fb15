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

    /// Checks that models can be loaded to a device and compute there in a precision. Cheap; loads nothing.
    ///
    /// - Parameter device: `cpu`, or `cuda` or `cuda:N`.
    /// - Throws: ``TorchError`` `.deviceUnavailable` with the reason: a name that is no device, a libtorch without CUDA, a machine without a GPU or without that
    ///   many, a device that does not compute in the precision.
    public static func check(device: String, precision: Precision) throws(TorchError) {
        guard !device.utf8.contains(0) else { throw TorchError(.deviceUnavailable, "a device with a NUL in it") }
        try TorchError.check { message in ctorch_device_check(device, precision.code, &message) }
    }

    /// Bounds what this process may allocate on each GPU to a share of its memory; what is over it fails with `.outOfMemory`.
    ///
    /// To be called once, before the first model is loaded to a GPU.
    /// - Throws: ``TorchError`` `.invalidArgument` unless 0 < `share` ≤ 1, `.deviceUnavailable` in a libtorch without CUDA.
    public static func limitGPUMemory(share: Double) throws(TorchError) {
        try TorchError.check { message in ctorch_limit_gpu_memory(share, &message) }
    }

    /// Whether the threads of a team sleep while they wait for each other, rather than spin.
    ///
    /// libtorch's OpenMP (libgomp) spins for milliseconds unless the environment says otherwise. With 2 threads or more and other work on
    /// the same cores that is ruinous: each forward pass waits for a thread that waits for a core on which another one spins.
    public static var waitsPassively: Bool {
        if let policy = getenv("OMP_WAIT_POLICY") { return String(cString: policy).lowercased() == "passive" }
        return getenv("GOMP_SPINCOUNT").map { String(cString: $0) == "0" } ?? false
    }

    /// Starts the program anew, in the same process and with the same arguments, with `OMP_WAIT_POLICY=passive`.
    ///
    /// libgomp reads its environment once, before `main`, and has no call for it: only a new program image takes the setting. Returns at
    /// once where `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT` is set, to whatever value, so the program that it starts goes on. To be called first
    /// of all, before there are threads or open files that matter. Needless with 1 intra-op thread.
    /// - Throws: ``TorchError`` `.failed` where the system does not start the program; the caller may go on, slower.
    public static func restartToWaitPassively() throws(TorchError) {
        guard getenv("OMP_WAIT_POLICY") == nil, getenv("GOMP_SPINCOUNT") == nil else { return }
        guard setenv("OMP_WAIT_POLICY", "passive", 1) == 0 else {
            throw TorchError(.failed, "OMP_WAIT_POLICY cannot be set: \(String(cString: strerror(errno)))")
        }
        execv("/proc/self/exe", CommandLine.unsafeArgv)
        let reason = String(cString: strerror(errno))
        unsetenv("OMP_WAIT_POLICY")
        throw TorchError(.failed, "the program cannot be started anew: \(reason)")
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
