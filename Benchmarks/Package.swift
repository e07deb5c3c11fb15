// swift-tools-version: 6.2
import PackageDescription

// Build with `swift build -c release --package-path Benchmarks --scratch-path Benchmarks/.build`, run `Benchmarks/.build/release/rpc-echo`.
let package = Package(
    name: "kefu-benchmarks",
    dependencies: [
        .package(name: "kefu", path: "..")
    ],
    targets: [
        // Unary echo of RPC: calls a second, latency, CPU a call on both sides.
        .executableTarget(
            name: "rpc-echo", dependencies: [.product(name: "KefuLibraries", package: "kefu")], swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
