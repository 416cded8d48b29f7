// swift-tools-version: 6.2
import Foundation
import PackageDescription

// The kernels are compiled for one processor: this machine's, or the one PLP_TARGET_CPU names. It may name the two that
// have AVX2 and AVX-512 and little else: for a newer one the compiler would use instructions that Build.processorFlags
// does not ask for at run time. AVX512 tells the kernels that 32 wide registers exist.
let processor = Context.environment["PLP_TARGET_CPU"] ?? "native"
let hasAVX512: Bool =
    switch processor {
    case "native":
        (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.contains(" avx512f ") ?? false
    case "haswell": false
    case "skylake-avx512": true
    default: refuse("PLP_TARGET_CPU: found \(processor), expected native, haswell (AVX2) or skylake-avx512 (AVX-512)")
    }

func refuse(_ message: String) -> Never {
    FileHandle.standardError.write(Data("\(message)\n".utf8))
    exit(1)
}

let kernelSettings: [SwiftSetting] =
    [.unsafeFlags(["-Ounchecked", "-wmo", "-Xcc", "-Wno-everything", "-target-cpu", processor])]
    + (hasAVX512 ? [.define("AVX512")] : [])

// libplp.so carries Swift's runtime within itself, names all that it needs, and shows the functions of plp.h only.
let librarySettings: [LinkerSetting] =
    [.unsafeFlags(["-static-stdlib"])]
    + [
        "-soname=libplp.so.0", "--version-script=\(Context.packageDirectory)/Sources/PLP/exports.map", "--no-undefined",
        "--gc-sections", "-s",
    ].map { .unsafeFlags(["-Xlinker", $0]) }
    // What FoundationEssentials is made of; the linker hears of that by itself only where it is a shared library.
    + ["_FoundationCollections", "_FoundationCShims"].map { .linkedLibrary($0) }

let package = Package(
    name: "plp",
    products: [
        .library(name: "plp", type: .dynamic, targets: ["PLP"]),
        .library(name: "PLPTraining", targets: ["Training"]),
    ],
    targets: [
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CPLP", path: "include"),
        .target(name: "Kernels", dependencies: ["COpenBLAS"], swiftSettings: kernelSettings),
        .target(name: "Networks", dependencies: ["Kernels"]),
        .target(name: "Optimization", dependencies: ["Kernels"]),
        .target(name: "Datasets", dependencies: ["Kernels"]),
        .target(name: "Training", dependencies: ["Networks", "Optimization", "Datasets"]),
        .target(
            name: "PLP", dependencies: ["Training", "CPLP"], exclude: ["exports.map"],
            linkerSettings: librarySettings),
        .executableTarget(
            name: "KernelBenchmark", dependencies: ["Kernels"], path: "Benchmarks/Kernels",
            swiftSettings: kernelSettings),
        .target(name: "TestSupport", dependencies: ["Kernels"], path: "Tests/TestSupport"),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels"]),
        .testTarget(name: "NetworksTests", dependencies: ["Networks", "TestSupport"]),
        .testTarget(name: "OptimizationTests", dependencies: ["Optimization"]),
        .testTarget(name: "DatasetsTests", dependencies: ["Datasets", "TestSupport"]),
        .testTarget(name: "TrainingTests", dependencies: ["Training", "TestSupport"]),
    ],
    swiftLanguageModes: [.v5]
)
