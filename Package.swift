// swift-tools-version: 6.2
import Foundation
import PackageDescription

// The kernels are compiled for one processor: this machine's, or the one PLP_TARGET_CPU names. It may name the two that
// have AVX2 and AVX-512 and little else: for a newer one the compiler would use instructions that Sources/PLP/Build.swift
// does not ask for at run time. AVX512 tells that file, and the kernels that 32 wide registers exist.
let processor = Context.environment["PLP_TARGET_CPU"] ?? "native"
let wide: [SwiftSetting] =
    switch processor {
    case "native":
        (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.contains(" avx512f ") ?? false
            ? [.define("AVX512")] : []
    case "haswell": []
    case "skylake-avx512": [.define("AVX512")]
    default: refuse("PLP_TARGET_CPU: found \(processor), expected native, haswell (AVX2) or skylake-avx512 (AVX-512)")
    }

func refuse(_ message: String) -> Never {
    FileHandle.standardError.write(Data("\(message)\n".utf8))
    exit(1)
}

// PLP_LOOP_TIMES=1 makes a build that can say how long each part of each parallel loop takes: see Benchmarks/scaling.py.
let recordsLoops = Context.environment["PLP_LOOP_TIMES"] == "1"
let loopSettings: [SwiftSetting] = recordsLoops ? [.define("LOOP_TIMES")] : []

// PLP_CHECKED=1 makes a build whose kernels check what they otherwise take on trust: sizes and sums, what they
// assert, and memory, as Buffers.swift says. For tests, and of no more than what these need.
let checks = Context.environment["PLP_CHECKED"] == "1"
let checked: [SwiftSetting] = checks ? [.define("CHECKED")] : []
let kernelSettings: [SwiftSetting] =
    [
        .unsafeFlags(
            (checks ? ["-O", "-assert-config", "Debug"] : ["-Ounchecked"])
                + ["-wmo", "-Xcc", "-Wno-everything", "-target-cpu", processor])
    ]
    + wide + loopSettings + checked

// libplp.so carries Swift's runtime within itself, names all that it needs, and shows the functions of plp.h only. Once
// loaded it stays: threads that have called it call it when they end.
let librarySettings: [LinkerSetting] =
    [.unsafeFlags(["-static-stdlib"])]
    + [
        "-soname=libplp.so.0", "--version-script=\(Context.packageDirectory)/Sources/PLP/exports.map", "--no-undefined",
        "--gc-sections", "-s", "-z", "nodelete",
    ].map { .unsafeFlags(["-Xlinker", $0]) }
    // What FoundationEssentials is made of; the linker hears of that by itself only where it is a shared library.
    + ["_FoundationCollections", "_FoundationCShims"].map { .linkedLibrary($0) }

// Modules bear the package's name, because those of all packages in a program share one space of names.
func module(
    _ name: String, _ dependencies: [Target.Dependency] = [], settings: [SwiftSetting] = loopSettings
) -> Target {
    .target(name: "PLP\(name)", dependencies: dependencies, path: "Sources/\(name)", swiftSettings: settings)
}

func tests(of name: String) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: "PLP\(name)"), "PLPTestSupport"], swiftSettings: checked)
}

let package = Package(
    name: "plp",
    products: [
        .library(name: "plp", type: .dynamic, targets: ["PLP"]),
        .library(name: "PLPTraining", targets: ["PLPTraining"]),
    ],
    targets: [
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CPLP", path: "include"),
        module("Base", ["CLinux"]),
        module("Kernels", ["CLinux", "COpenBLAS", "PLPBase"], settings: kernelSettings),
        module("Networks", ["PLPBase", "PLPKernels"]),
        module("Optimization", ["PLPBase", "PLPKernels"]),
        module("Datasets", ["PLPBase", "PLPKernels"]),
        module("Training", ["PLPNetworks", "PLPOptimization", "PLPDatasets"]),
        .target(
            name: "PLP", dependencies: ["PLPTraining", "CLinux", "CPLP"], exclude: ["exports.map"],
            swiftSettings: wide, linkerSettings: librarySettings),
        .executableTarget(
            name: "KernelBenchmark", dependencies: ["PLPKernels"], path: "Benchmarks/Kernels",
            swiftSettings: kernelSettings),
        .target(name: "PLPTestSupport", dependencies: ["PLPBase"], path: "Tests/TestSupport"),
        tests(of: "Base"), tests(of: "Kernels"), tests(of: "Networks"), tests(of: "Optimization"),
        tests(of: "Datasets"),
        tests(of: "Training"),
    ],
    swiftLanguageModes: [.v6]
)

if checks {
    let tested = ["PLPBase", "PLPKernels", "PLPNetworks", "PLPTestSupport", "KernelsTests", "NetworksTests"]
    package.products = []
    package.targets.removeAll { $0.type != .system && !tested.contains($0.name) }
}

if recordsLoops {
    package.targets.append(
        .executableTarget(
            name: "LoopBenchmark", dependencies: ["PLPTraining", "PLPKernels", "PLPBase"], path: "Benchmarks/Loops",
            swiftSettings: loopSettings))
}
