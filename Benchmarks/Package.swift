// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let kefu: Target.Dependency = .product(name: "KefuLibraries", package: "kefu")

let package = Package(
    name: "kefu-benchmarks",
    dependencies: [.package(name: "kefu", path: "..")],
    targets: [
        .executableTarget(name: "TorchForward", dependencies: [kefu], swiftSettings: strict)
    ]
)
