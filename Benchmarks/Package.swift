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
let kefu: Target.Dependency = .product(name: "KefuLibraries", package: "kefu")

let package = Package(
    name: "kefu-benchmarks",
    dependencies: [
        .package(name: "kefu", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: [
        .executableTarget(name: "Decide", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "rpc-echo", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "RedisScripts", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "TorchForward", dependencies: [kefu], swiftSettings: strict),
        .executableTarget(name: "Turns", dependencies: [kefu, argumentParser], swiftSettings: strict),
    ]
)
