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

// PLP_CHECKED=address or thread makes a build for tests, whose kernels check what they otherwise take on trust: sizes
// and sums, what they assert, and memory, as Buffers.swift says. All is under that sanitizer, but that kernels are not
// under the address sanitizer: it knows nothing of their memory, which is no malloc's. With address it has the programs
// of `make fuzz` too.
let sanitizer = Context.environment["PLP_CHECKED"]
if let sanitizer, sanitizer != "address", sanitizer != "thread" {
    refuse("PLP_CHECKED: found \(sanitizer), expected address or thread")
}
let checks = sanitizer != nil
let checked: [SwiftSetting] = checks ? [.define("CHECKED")] : []
let sanitized: [SwiftSetting] =
    switch sanitizer {
    case "address": [.unsafeFlags(["-sanitize=address,fuzzer"])]
    case "thread": [.unsafeFlags(["-sanitize=thread"])]
    default: []
    }
let kernelSettings: [SwiftSetting] =
    [
        .unsafeFlags(
            (checks ? ["-O", "-assert-config", "Debug"] : ["-Ounchecked"])
                + ["-wmo", "-Xcc", "-Wno-everything", "-target-cpu", processor])
    ]
    + wide + loopSettings + checked + (sanitizer == "thread" ? sanitized : [])

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
    _ name: String, _ dependencies: [Target.Dependency] = [], settings: [SwiftSetting] = loopSettings + sanitized
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
            swiftSettings: wide + sanitized, linkerSettings: librarySettings),
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

// PLP_TESTS=Kernels,Networks makes a package that has the tests of these alone, so that nothing else is built for them.
if let wanted = Context.environment["PLP_TESTS"]?.split(separator: ",") {
    package.targets.removeAll {
        $0.name == "KernelBenchmark" || $0.type == .test && !wanted.contains($0.name.dropLast("Tests".count))
    }
}

if let sanitizer {
    /// A program in C. Whatever is linked has the sanitizer, and the library's code, within itself.
    func program(_ name: String, _ path: String, _ dependencies: [Target.Dependency], linkedBy flag: String) -> Target {
        .executableTarget(
            name: name, dependencies: dependencies, path: path, sources: ["\(name).c"],
            cSettings: [
                .headerSearchPath("../../include"), .define("SANITIZED"), .unsafeFlags(["-fsanitize=\(sanitizer)"]),
            ],
            linkerSettings: [.linkedLibrary("m"), .unsafeFlags([flag])])
    }
    package.products = []
    package.targets.removeAll { $0.name == "KernelBenchmark" }
    package.targets.first { $0.name == "PLP" }!.linkerSettings = nil
    package.targets.first { $0.name == "PLPBase" }!.linkerSettings = [
        .unsafeFlags(["-sanitize=\(sanitizer)", "-use-ld=lld"])
    ]
    package.targets.append(program("test", "Tests/C", ["PLP"], linkedBy: "-sanitize=\(sanitizer)"))
    if sanitizer == "address" {
        package.targets += [
            program("fuzz", "Tests/Fuzz", ["PLP", "PLPPickle"], linkedBy: "-sanitize=address,fuzzer"),
            .target(
                name: "PLPPickle", dependencies: ["PLPDatasets"], path: "Tests/Fuzz/Pickle", swiftSettings: sanitized),
        ]
    }
}

if recordsLoops {
    package.targets.append(
        .executableTarget(
            name: "LoopBenchmark", dependencies: ["PLPTraining", "PLPKernels", "PLPBase"], path: "Benchmarks/Loops",
            swiftSettings: loopSettings))
}
