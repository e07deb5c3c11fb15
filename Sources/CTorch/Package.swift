// swift-tools-version: 6.2
import PackageDescription

/// A folder with libtorch's `include` and `lib` (an official libtorch, or the `torch` folder of the PyTorch wheel).
/// `make setup` fills the default; set TORCH_DIR to build against another, with CUDA for example.
let torch = Context.environment["TORCH_DIR"] ?? "\(Context.environment["HOME"] ?? "")/.cache/kefu/torch-2.13.0"

// The one target that sees C++ and libtorch. A shared library of its own, so that it alone is rebuilt for another libtorch:
// see CONTRIBUTING.md, "CTorch".
let package = Package(
    name: "CTorch",
    products: [.library(name: "CTorch", type: .dynamic, targets: ["CTorch"])],
    targets: [
        .target(
            name: "CTorch",
            path: ".",
            sources: ["CTorch.cpp"],
            publicHeadersPath: "include",
            cxxSettings: [
                .unsafeFlags([
                    "-isystem", "\(torch)/include", "-isystem", "\(torch)/include/torch/csrc/api/include", "-Wall", "-Wextra", "-Werror",
                ])
            ],
            linkerSettings: [
                // Without --no-as-needed the linker may drop libtorch, which names the libraries for GPUs and nothing else.
                .unsafeFlags(["-L\(torch)/lib", "-Xlinker", "-rpath", "-Xlinker", "\(torch)/lib", "-Xlinker", "--no-as-needed"]),
                .linkedLibrary("torch"), .linkedLibrary("torch_cpu"), .linkedLibrary("c10"),
            ])
    ],
    cxxLanguageStandard: .cxx20
)
