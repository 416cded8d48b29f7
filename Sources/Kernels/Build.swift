// What the kernels were compiled for, and what they call: for reports of errors and of speed.

import COpenBLAS

package enum Build {
    #if AVX512
        package static let vectors = "AVX-512"
        private static let wideFlags = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]
    #else
        package static let vectors = "AVX2"
        private static let wideFlags: [String] = []
    #endif

    /// What a processor must have to run the kernels, by the names in /proc/cpuinfo: all that the compiler uses of its
    /// own accord for haswell and skylake-avx512, which Package.swift lets PLP_TARGET_CPU name.
    package static let processorFlags = ["abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"] + wideFlags

    package static var blas: String { String(cString: openblas_get_config()) }
}
