// Which library this is, and what it runs on.

import CPLP
import PLPBase
import PLPKernels
import PLPTraining

private let version = OwnedString(PLP_VERSION)

private let information = PerThread<OwnedString>()

@c @implementation
public func plp_version() -> UnsafePointer<CChar>? { version.pointer }

@c @implementation
public func plp_build_info() -> UnsafePointer<CChar>? {
    let threads = Processors.forThreads
    let text = OwnedString(
        """
        version: \(PLP_VERSION)
        vectors: \(Build.vectors)
        blas: \(Build.blas)
        threads: \(threads.count), \(threads.reason)
        networks: \(Architecture.allCases.map(\.name).joined(separator: " "))

        """)
    information.set(text)
    return text.pointer
}

/// Why the kernels cannot run here, once and for all; nil where they can. This file is compiled for any x86-64.
let unsupportedProcessor: Failure? = {
    guard let text = Files.systemText("/proc/cpuinfo"),
        let line = text.split(separator: "\n").first(where: { $0.hasPrefix("flags") })
    else { return nil }
    let missing = Set(Build.processorFlags).subtracting(line.split(separator: " ").map(String.init)).sorted()
    return missing.isEmpty
        ? nil
        : Failure(
            .invalidArgument,
            "processor: found one without \(missing.joined(separator: ", ")), expected all that libplp was built for")
}()
