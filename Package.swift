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
        .target(name: "PLP", dependencies: ["Training", "CPLP"]),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels"]),
        .testTarget(name: "NetworksTests", dependencies: ["Networks"]),
        .testTarget(name: "OptimizationTests", dependencies: ["Optimization"]),
        .testTarget(name: "DatasetsTests", dependencies: ["Datasets"]),
        .testTarget(name: "TrainingTests", dependencies: ["Training"]),
    ],
    swiftLanguageModes: [.v5]
)
