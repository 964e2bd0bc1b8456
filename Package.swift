// swift-tools-version: 6.2
import PackageDescription

/// The settings of all our targets: Swift 6 mode, and warnings are errors.
let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// The product contains Swift's runtime and Foundation, so that a unit can run it on a machine without Swift. Only the
/// linker gets these flags: with `--static-swift-stdlib`, the tests of the same build do not find Swift Testing.
let selfContained: [LinkerSetting] = [
    .unsafeFlags(
        [
            "-static-stdlib", "-use-ld=lld", "-lFoundation", "-lFoundationInternationalization",
            "-lFoundationEssentials", "-l_FoundationICU", "-lCoreFoundation", "-l_FoundationCShims",
            "-l_FoundationCollections",
        ], .when(platforms: [.linux]))
]

let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let serviceLifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

let systemd: Target.Dependency = .target(name: "CSDNotify", condition: .when(platforms: [.linux]))
let cLinux: Target.Dependency = .target(name: "CLinux", condition: .when(platforms: [.linux]))

/// The floors of docs/architecture.md: a target names only targets below it.
let package = Package(
    name: "HostAgent",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "hostagent", targets: ["HostAgentMain"]),
        .executable(name: "bench-reference", targets: ["BenchReference"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
    ],
    targets: [
        // Floor 0
        .systemLibrary(name: "CSDNotify", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
        .target(name: "CLinux"),
        .target(
            name: "Templates", path: "Templates", exclude: ["mini"],
            resources: [
                .embedInCode("guest/boot.sh"), .embedInCode("guest/channel.sh"), .embedInCode("guest/ports.sh"),
                .embedInCode("guest/mounts.sh"), .embedInCode("guest/changed.sh"),
                .embedInCode("guest/hostagent-channel.service"), .embedInCode("guest/hostagent.service"),
                .embedInCode("guest/hostagent-environment.sh"),
                .embedInCode("instance/alpine.yaml"),
                .embedInCode("instance/debian-local.yaml"),
                .embedInCode("instance/debian.yaml"),
                .embedInCode("instance/default.yaml"),
                .embedInCode("instance/docker.yaml"),
                .embedInCode("instance/fedora.yaml"),
                .embedInCode("instance/images-alpine.yaml"),
                .embedInCode("instance/images-debian.yaml"),
                .embedInCode("instance/images-fedora.yaml"),
                .embedInCode("instance/images-ubuntu.yaml"),
                .embedInCode("instance/k3s.yaml"),
                .embedInCode("instance/mini.yaml"),
                .embedInCode("instance/podman.yaml"),
                .embedInCode("instance/ubuntu.yaml"),
                .embedInCode("lima-vm@INSTANCE.service"),
            ], swiftSettings: strict),
        .target(name: "HostModel", swiftSettings: strict),
        // Floor 1
        .target(
            name: "HostOS", dependencies: ["HostModel", subprocess, systemPackage, cLinux], swiftSettings: strict),
        .target(name: "LimaConfiguration", dependencies: ["HostModel", crypto, yams], swiftSettings: strict),
        // Floor 2
        .target(name: "GuestDriver", dependencies: ["HostModel", "HostOS"], swiftSettings: strict),
        .target(
            name: "Images",
            dependencies: [
                "HostModel", "HostOS", "LimaConfiguration", asyncHTTPClient, crypto, nioCore, nioHTTP1, nioPosix,
                nioSSL,
            ], swiftSettings: strict),
        .target(
            name: "InstanceStore", dependencies: ["HostModel", "HostOS", "LimaConfiguration", "Templates", crypto],
            swiftSettings: strict),
        .target(
            name: "ServiceManagers", dependencies: ["HostModel", "HostOS", "Templates", systemd],
            swiftSettings: strict),
        .target(
            name: "GuestAccess", dependencies: ["HostModel", "HostOS", "Templates", crypto, nioCore, nioPosix],
            swiftSettings: strict),
        .target(name: "Mounts", dependencies: ["HostModel", "HostOS"], swiftSettings: strict),
        .target(
            name: "QEMUDriver", dependencies: ["HostModel", "HostOS", "GuestDriver", nioCore, nioPosix],
            swiftSettings: strict),
        .target(
            name: "AgentAPI", dependencies: ["HostModel", "HostOS", nioCore, nioPosix, nioHTTP1],
            swiftSettings: strict),
        // Floor 3
        .target(
            name: "HostAgent",
            dependencies: [
                "HostModel", "HostOS", "LimaConfiguration", "GuestDriver", "InstanceStore", "ServiceManagers",
                "GuestAccess", "AgentAPI", "Mounts", hummingbird, logging, nioCore, nioHTTP1, nioPosix,
                serviceLifecycle,
                unixSignals,
            ], swiftSettings: strict),
        .target(
            name: "InstanceOperations",
            dependencies: [
                "HostModel", "HostOS", "LimaConfiguration", "InstanceStore", "ServiceManagers", "AgentAPI",
                "GuestDriver",
                nioCore,
            ],
            swiftSettings: strict),
        // Floor 4
        .target(
            name: "HostCommands",
            dependencies: [
                "HostModel", "HostOS", "LimaConfiguration", "InstanceStore", "ServiceManagers", "AgentAPI",
                "InstanceOperations", argumentParser, yams,
            ],
            swiftSettings: strict),
        // Floor 5
        .executableTarget(
            name: "HostAgentMain",
            dependencies: [
                "HostModel", "HostOS", "LimaConfiguration", "HostAgent", "HostCommands", "Images",
                "InstanceOperations", "InstanceStore", "QEMUDriver", "GuestAccess", "GuestDriver", "ServiceManagers",
                nioCore,
            ], swiftSettings: strict, linkerSettings: selfContained),
        // The references that bench/run measures.
        .executableTarget(
            name: "BenchReference",
            dependencies: ["HostOS", hummingbird, logging, nioCore, nioPosix, serviceLifecycle],
            path: "bench/Reference", swiftSettings: strict, linkerSettings: selfContained),
        // Tests
        .target(
            name: "HostTestSupport",
            dependencies: [
                "AgentAPI", "GuestAccess", "GuestDriver", "HostAgent", "HostModel", "HostOS", "InstanceStore",
                "LimaConfiguration", nioCore, nioHTTP1, nioPosix, nioSSL,
            ],
            path: "Tests/HostTestSupport", swiftSettings: strict),
        .testTarget(name: "HostModelTests", dependencies: ["HostModel"], swiftSettings: strict),
        .testTarget(name: "HostOSTests", dependencies: ["HostOS", "HostTestSupport"], swiftSettings: strict),
        .testTarget(name: "LifecycleTests", dependencies: ["GuestDriver", "HostModel"], swiftSettings: strict),
        .testTarget(
            name: "LimaConfigurationTests",
            dependencies: ["HostModel", "HostOS", "HostTestSupport", "InstanceStore", "LimaConfiguration"],
            swiftSettings: strict),
        .testTarget(
            name: "ImagesTests",
            dependencies: ["HostModel", "HostOS", "HostTestSupport", "Images", "LimaConfiguration", crypto, nioHTTP1],
            swiftSettings: strict),
        .testTarget(
            name: "InstanceStoreTests",
            dependencies: [
                "HostModel", "HostOS", "HostTestSupport", "Images", "InstanceStore", "LimaConfiguration", nioHTTP1,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ServiceManagersTests",
            dependencies: ["HostModel", "HostOS", "HostTestSupport", "ServiceManagers"], swiftSettings: strict),
        .testTarget(
            name: "GuestAccessTests", dependencies: ["GuestAccess", "HostModel", "HostOS", "HostTestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "MountsTests", dependencies: ["HostModel", "HostOS", "HostTestSupport", "Mounts"],
            swiftSettings: strict),
        .testTarget(
            name: "QEMUDriverTests",
            dependencies: ["HostModel", "HostOS", "HostTestSupport", "QEMUDriver", nioCore, nioPosix],
            swiftSettings: strict),
        .testTarget(
            name: "AgentAPITests",
            dependencies: ["AgentAPI", "HostModel", "HostOS", "HostTestSupport", nioCore, nioHTTP1, nioPosix],
            swiftSettings: strict),
        .testTarget(
            name: "HostAgentTests",
            dependencies: [
                "AgentAPI", "GuestAccess", "GuestDriver", "HostAgent", "HostModel", "HostOS", "HostTestSupport",
                "InstanceStore", "ServiceManagers",
            ], swiftSettings: strict),
        .testTarget(
            name: "HostCommandsTests",
            dependencies: ["AgentAPI", "HostCommands", "HostModel", "InstanceOperations", "LimaConfiguration"],
            swiftSettings: strict),
        .testTarget(
            name: "GuestTests",
            dependencies: [
                "AgentAPI", "GuestDriver", "HostModel", "HostOS", "HostTestSupport", "InstanceStore", "QEMUDriver",
                nioHTTP1,
            ], swiftSettings: strict),
        .testTarget(
            name: "LabTests",
            dependencies: [
                "AgentAPI", "HostModel", "HostOS", "HostTestSupport", "InstanceStore", "ServiceManagers",
            ], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
