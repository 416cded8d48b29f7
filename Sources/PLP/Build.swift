// Which library this is, and what it runs on.

import CPLP
import FoundationEssentials
import PLPBase
import PLPKernels

private let version = OwnedString(PLP_VERSION)

private let information = OwnedString(
    """
    version: \(PLP_VERSION)
    vectors: \(Build.vectors)
    blas: \(Build.blas)
    processors: \(Processors.allowed)

    """)

@c @implementation
public func plp_version() -> UnsafePointer<CChar>? { version.pointer }

@c @implementation
public func plp_build_info() -> UnsafePointer<CChar>? { information.pointer }

/// Why the kernels cannot run here, once and for all; nil where they can. This file is compiled for any x86-64.
let unsupportedProcessor: Failure? = {
    guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8),
        let line = text.split(separator: "\n").first(where: { $0.hasPrefix("flags") })
    else { return nil }
    let missing = Set(Build.processorFlags).subtracting(line.split(separator: " ").map(String.init)).sorted()
    return missing.isEmpty
        ? nil
        : Failure(
            .invalidArgument,
            "processor: found one without \(missing.joined(separator: ", ")), expected all that libplp was built for")
}()
