// Which library this is, and what it runs on.

import CLinux
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

/// What a processor must have to run the kernels: all that the compiler uses of its own accord for haswell and
/// skylake-avx512, which Package.swift lets PLP_TARGET_CPU name.
private let neededInstructions: [(name: String, index: Int)] = {
    let common = [
        ("abm", x86_cpu_LZCNT), ("avx2", x86_cpu_AVX2), ("bmi1", x86_cpu_BMI1), ("bmi2", x86_cpu_BMI2),
        ("f16c", x86_cpu_F16C), ("fma", x86_cpu_FMA), ("movbe", x86_cpu_MOVBE),
    ]
    #if AVX512
        return common + [
            ("avx512bw", x86_cpu_AVX512BW), ("avx512cd", x86_cpu_AVX512CD), ("avx512dq", x86_cpu_AVX512DQ),
            ("avx512f", x86_cpu_AVX512F), ("avx512vl", x86_cpu_AVX512VL),
        ]
    #else
        return common
    #endif
}()

/// Why the kernels cannot run here, once and for all; nil where they can. This file is compiled for any x86-64. The C
/// library is asked, which asks the processor: what /proc/cpuinfo tells may be of another one, where this is emulated.
let unsupportedProcessor: Failure? = {
    let missing = neededInstructions.filter { !x86_cpu_active(UInt32($0.index)) }.map(\.name)
    return missing.isEmpty
        ? nil
        : Failure(
            .invalidArgument,
            "processor: found one without \(missing.joined(separator: ", ")), expected all that libplp was built for")
}()
