// swift-tools-version: 6.2
import Foundation
import PackageDescription

// The kernels are compiled for one processor: this machine's, or the one PLP_TARGET_CPU names (any that swiftc's
// -target-cpu accepts: haswell, skylake-avx512, znver4 …). AVX512 tells the kernels that 32 wide registers exist.
let processor = Context.environment["PLP_TARGET_CPU"] ?? "native"
let hasAVX512: Bool =
    if processor == "native" {
        (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.contains(" avx512f ") ?? false
    } else {
        processor.hasSuffix("avx512") || ["znver4", "znver5", "icelake-server", "sapphirerapids"].contains(processor)
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
        .testTarget(name: "KernelsTests", dependencies: ["Kernels"]),
        .testTarget(name: "NetworksTests", dependencies: ["Networks"]),
        .testTarget(name: "OptimizationTests", dependencies: ["Optimization"]),
        .testTarget(name: "DatasetsTests", dependencies: ["Datasets"]),
        .testTarget(name: "TrainingTests", dependencies: ["Training"]),
    ],
    swiftLanguageModes: [.v5]
)
