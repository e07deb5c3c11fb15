// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let heapModule: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")
let kefu: Target.Dependency = .product(name: "KefuLibraries", package: "kefu")
let services: Target.Dependency = .product(name: "KefuServices", package: "kefu")

let package = Package(
    name: "kefu-benchmarks",
    dependencies: [
        .package(name: "kefu", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    ],
    targets: [
        .executableTarget(name: "Conversations", dependencies: [kefu, argumentParser], swiftSettings: strict),
        .executableTarget(name: "Decide", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(
            name: "OpenLoop", dependencies: [kefu, argumentParser, asyncHTTPClient, histogram, nioCore, nioHTTP1], swiftSettings: strict),
        .executableTarget(name: "Load", dependencies: [kefu, "Stack", argumentParser, histogram, heapModule], swiftSettings: strict),
        .executableTarget(name: "rpc-echo", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "RedisScripts", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "RedisSafety", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "SessionAge", dependencies: [kefu, services], swiftSettings: strict),
        .executableTarget(name: "Simulation", dependencies: [kefu, argumentParser, heapModule], swiftSettings: strict),
        .executableTarget(name: "TorchForward", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "WarmShapes", dependencies: [kefu], swiftSettings: strict),
        .target(name: "Stack", swiftSettings: strict),
        .executableTarget(name: "Turns", dependencies: [kefu, "Stack", argumentParser], swiftSettings: strict),
    ]
)
