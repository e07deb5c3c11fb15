import Conversation
import Torch

/// Where and how TorchScript models run.
public struct TorchOptions: Sendable, Hashable {
    /// The element type that models compute in, whatever their files store.
    public enum Precision: String, Sendable, Hashable, CaseIterable {
        /// 32-bit floating point.
        case float32
        /// 16-bit "brain" floating point, 8 bits of precision: on GPUs, and for the products of linear layers on CPUs with AMX-BF16 or AVX512-BF16.
        case bfloat16
        /// 16-bit floating point, 11 bits of precision: on GPUs.
        case float16

        var torch: Torch.Precision {
            switch self {
            case .float32: .float32
            case .bfloat16: .bfloat16
            case .float16: .float16
            }
        }
    }

    /// `cpu`, or `cuda` or `cuda:N` where libtorch has CUDA.
    public var device: String
    /// What models compute in.
    public var precision: Precision
    /// Instances of a model, each on a thread of its own, with a stream of its own on a GPU.
    public var workers: Int
    /// Threads of one forward pass on a CPU.
    public var threads: Int
    /// What this process may allocate of each GPU's memory, above 0 and at most 1; nil: all.
    public var gpuMemoryShare: Double?

    /// Options by their values.
    ///
    /// - Parameter precision: nil: ``defaultPrecision(on:)``.
    public init(device: String = "cpu", precision: Precision? = nil, workers: Int = 1, threads: Int = 1, gpuMemoryShare: Double? = nil) {
        self.device = device
        self.precision = precision ?? Self.defaultPrecision(on: device)
        self.workers = workers
        self.threads = threads
        self.gpuMemoryShare = gpuMemoryShare
    }

    /// Whether a device is a GPU.
    public static func isGPU(_ device: String) -> Bool { device == "cuda" || device.hasPrefix("cuda:") }

    /// float32 on a CPU. float16 on a GPU: bundles store their parameters in it, so that nothing of them is lost, and every GPU with tensor cores
    /// computes in it, while bfloat16 keeps 3 bits less and needs a GPU of 2020 (Ampere) or later. On a CPU bfloat16 where it has AMX-BF16, which is 1.3 to 3
    /// times as fast as float32 and as exact as can be measured (see `Benchmarks/README.md`); else float32.
    public static func defaultPrecision(on device: String) -> Precision {
        isGPU(device) ? .float16 : Torch.Precision.fastestOnCPU == .bfloat16 ? .bfloat16 : .float32
    }

    /// 0.15 on a CPU, where the time of a batch is in proportion to its tokens, padding included. 0.5 on a GPU, where most of the time of a small batch
    /// is fixed: rows of unlike lengths cost less together than one after the other (see `Benchmarks/README.md`, "Simulation").
    public static func defaultPaddingShare(on device: String) -> Double { isGPU(device) ? 0.5 : 0.15 }

    /// 0.7 on a CPU, where small batches are nearly as fast a row as large ones, and a large one under way keeps everybody waiting. 0.8 on a GPU (see
    /// `Benchmarks/README.md`, "Simulation").
    public static func defaultBatchEfficiency(on device: String) -> Double { isGPU(device) ? 0.8 : 0.7 }

    /// Checks that the device is there and computes in the precision, and sets what holds for the whole process. To be called once, before models load.
    ///
    /// - Throws: `TorchError`: `.deviceUnavailable` with the reason, `.invalidArgument`; ``/Conversation/ConversationError`` `.invalidArgument` for a share of GPU
    ///   memory on a CPU.
    func prepare() throws {
        try TorchRuntime.check(device: device, precision: precision.torch)
        try TorchRuntime.setIntraOpThreads(threads)
        guard let gpuMemoryShare else { return }
        guard Self.isGPU(device) else {
            throw ConversationError(
                .invalidArgument, "a share of GPU memory is set, and models run on \(device); a device cuda:N is expected with it")
        }
        try TorchRuntime.limitGPUMemory(share: gpuMemoryShare)
    }
}
