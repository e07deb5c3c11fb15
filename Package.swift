// swift-tools-version: 6.2
import PackageDescription

/// Whether the fuzzers are built, by Tests/Fuzz/build: then our own code counts the edges that it takes, is under Address Sanitizer, and can be looked into.
/// `address`: the fuzzers, under Address Sanitizer; `plain`: without, faster.
let fuzzing = Context.environment["KEFU_FUZZ"]
let isFuzzing = fuzzing != nil
let fuzzed: [SwiftSetting] =
    isFuzzing
    ? [
        .unsafeFlags(
            ["-enable-testing", "-sanitize-coverage=edge,indirect-calls,trace-cmp,inline-8bit-counters,pc-table"]
                + ["-sanitize=\(fuzzing == "plain" ? "fuzzer" : "address")"])
    ] : []

/// Every target is built in Swift 6 mode, and a warning is an error.
let strict: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ] + fuzzed

/// Warnings of our own C are errors too.
let strictC: [CSetting] = [.treatAllWarnings(as: .error)]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")
let dequeModule: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let heapModule: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let mustache: Target.Dependency = .product(name: "Mustache", package: "swift-mustache")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

// The floors of the house, lowest first. A target imports what its line names, and nothing of a later floor.
let package = Package(
    name: "kefu",
    products: [
        .executable(name: "intent-server", targets: ["IntentServer"]),
        .executable(name: "dialogue-orchestrator", targets: ["DialogueOrchestrator"]),
        // For Benchmarks/, which has a manifest of its own.
        .library(
            name: "KefuLibraries",
            targets: [
                "Torch", "RPC", "RPCServices", "Redis", "Conversation", "Wire", "Tokenization", "Batching", "Understanding", "Dialogue",
            ]),
        .library(name: "KefuServices", targets: ["DialogueService"]),
    ],
    dependencies: [
        .package(path: "Sources/CTorch"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["JSON", "YAML", "CommandLineArguments"]),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // C: one C library each, behind a header that Swift can import. (CTorch is a package of its own: a shared library.)
        .target(
            name: "CGRPC", cSettings: strictC,
            linkerSettings: [.linkedLibrary("grpc"), .linkedLibrary("gpr"), .linkedLibrary("ssl"), .linkedLibrary("crypto")]),
        .target(
            name: "CHiredis", cSettings: strictC,
            linkerSettings: [
                .linkedLibrary("hiredis"), .linkedLibrary("event_core"), .linkedLibrary("event_openssl"), .linkedLibrary("ssl"),
                .linkedLibrary("crypto"),
            ]),
        .target(name: "CProtos", linkerSettings: [.linkedLibrary("protobuf-c")]),

        // Handles: safe async Swift over one C library each. They know nothing of Kefu.
        .target(name: "Torch", dependencies: [.product(name: "CTorch", package: "CTorch")], swiftSettings: strict),
        .target(name: "RPC", dependencies: ["CGRPC"], swiftSettings: strict),
        .target(name: "ProtobufC", dependencies: ["CProtos"], swiftSettings: strict),
        .target(name: "RPCServices", dependencies: ["CProtos", "ProtobufC", "RPC"], swiftSettings: strict),
        .target(name: "Redis", dependencies: ["CHiredis"], swiftSettings: strict),

        // Words: the problem's own words as values, and their form on the wire.
        .target(name: "Conversation", swiftSettings: strict),
        .target(name: "Wire", dependencies: ["CProtos", "Conversation", "ProtobufC"], swiftSettings: strict),

        // Cores: what Kefu exists for, without a network.
        .target(name: "Tokenization", swiftSettings: strict),
        .target(name: "Batching", dependencies: [dequeModule, heapModule], swiftSettings: strict),
        .target(name: "Understanding", dependencies: ["Batching", "Conversation", "Tokenization", crypto], swiftSettings: strict),
        .target(name: "Dialogue", dependencies: ["Conversation", mustache, yams], swiftSettings: strict),

        // Services: the cores behind gRPC, with the real parts plugged in.
        .target(
            name: "ServiceKit",
            dependencies: [
                "RPC", "RPCServices", "Conversation", argumentParser, configuration, dequeModule, httpTypes, hummingbird, lifecycle,
                logging, nioCore,
                nioPosix,
                systemPackage, unixSignals,
            ], swiftSettings: strict),
        .target(
            name: "UnderstandingService",
            dependencies: [
                "Batching", "Conversation", "RPC", "RPCServices", "ServiceKit", "Tokenization", "Torch", "Understanding", "Wire", lifecycle,
                logging,
                unixSignals,
            ],
            swiftSettings: strict),
        .target(
            name: "DialogueService",
            dependencies: [
                "Dialogue", "RPC", "RPCServices", "Redis", "ServiceKit", "Wire", crypto, httpTypes, hummingbird, lifecycle, logging,
                nioCore,
            ],
            resources: [
                .embedInCode("Resources/openapi.yaml"), .embedInCode("Resources/inspector/inspector.html"),
                .embedInCode("Resources/inspector/inspector.css"), .embedInCode("Resources/inspector/inspector.js"),
            ], swiftSettings: strict),

        // Programs: command line and composition only.
        .executableTarget(
            name: "IntentServer",
            dependencies: [
                "Conversation", "RPC", "RPCServices", "ServiceKit", "Understanding", "UnderstandingService", "Wire", argumentParser,
                logging,
            ], swiftSettings: strict),
        .executableTarget(
            name: "DialogueOrchestrator",
            dependencies: [
                "Conversation", "Dialogue", "DialogueService", "RPC", "RPCServices", "Redis", "ServiceKit", "Wire", argumentParser,
                lifecycle, logging, unixSignals,
            ], resources: [.embedInCode("Resources/report.py")], swiftSettings: strict),

        // Tests: one target a library.
        .target(
            name: "TestSupport", dependencies: ["Understanding", "Conversation", crypto], path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(name: "TorchTests", dependencies: ["Torch"], resources: [.copy("Resources")], swiftSettings: strict),
        .testTarget(name: "RPCTests", dependencies: ["RPC"], resources: [.copy("Certificates")], swiftSettings: strict),
        .testTarget(name: "RPCServicesTests", dependencies: ["RPC", "RPCServices", "CProtos"], swiftSettings: strict),
        .target(name: "RedisTestSupport", dependencies: ["Redis"], path: "Tests/RedisTestSupport", swiftSettings: strict),
        .testTarget(
            name: "RedisTests", dependencies: ["Redis", "RedisTestSupport"], resources: [.copy("Certificates")], swiftSettings: strict),
        .testTarget(name: "ConversationTests", dependencies: ["Conversation"], swiftSettings: strict),
        .testTarget(name: "WireTests", dependencies: ["Wire", "CProtos", "Conversation"], swiftSettings: strict),
        .testTarget(name: "TokenizationTests", dependencies: ["Tokenization"], resources: [.copy("Resources")], swiftSettings: strict),
        .testTarget(name: "BatchingTests", dependencies: ["Batching", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "UnderstandingTests", dependencies: ["Batching", "Understanding", "Tokenization", "Conversation", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "UnderstandingServiceTests",
            dependencies: ["Conversation", "TestSupport", "Understanding", "UnderstandingService", logging],
            swiftSettings: strict),
        .testTarget(name: "DialogueTests", dependencies: ["Conversation", "Dialogue"], swiftSettings: strict),
        .testTarget(
            name: "DialogueServiceTests", dependencies: ["Conversation", "Dialogue", "DialogueService", "RPC", "Wire", logging],
            swiftSettings: strict),
        .testTarget(
            name: "ServiceKitTests",
            dependencies: ["Conversation", "RPC", "RPCServices", "ServiceKit", hummingbird, lifecycle, logging], swiftSettings: strict),
        .testTarget(
            name: "DocumentationTests",
            dependencies: [
                "Batching", "CProtos", "Conversation", "Dialogue", "DialogueService", "ProtobufC", "RPC", "RPCServices", "Redis",
                "RedisTestSupport", "ServiceKit", "Tokenization", "Torch", "Understanding", "UnderstandingService", "Wire", logging,
            ], swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "Batching", "Conversation", "Dialogue", "DialogueService", "Redis", "RedisTestSupport", "Tokenization", "Torch",
                "Understanding",
                "UnderstandingService",
            ],
            swiftSettings: strict),
    ]
)

// One folder of fuzz targets: for a fuzzer, or for the tests, which read its committed corpus.
let parsers: [Target.Dependency] = [
    "CHiredis", "Conversation", "Dialogue", "DialogueService", "RPC", "RPCServices", "Redis", "ServiceKit", "Tokenization", "Understanding",
    "Wire", configuration,
]
if isFuzzing {
    package.targets += [
        .target(
            name: "FuzzTargets", dependencies: parsers, path: "Tests/Fuzz/Targets", exclude: ["CorpusTests.swift"], swiftSettings: strict),
        .executableTarget(
            name: "Fuzz", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Driver", swiftSettings: strict,
            linkerSettings: [.unsafeFlags(["-sanitize=address"])]),
    ]
} else {
    package.targets.append(.testTarget(name: "FuzzTests", dependencies: parsers, path: "Tests/Fuzz/Targets", swiftSettings: strict))
}
