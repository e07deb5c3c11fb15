// swift-tools-version: 6.2
import PackageDescription

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let kefu: Target.Dependency = .product(name: "KefuLibraries", package: "kefu")

let package = Package(
    name: "kefu-benchmarks",
    dependencies: [
        .package(name: "kefu", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: [
        .executableTarget(name: "Turns", dependencies: [kefu, argumentParser])
    ]
)
