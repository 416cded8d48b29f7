// What the kernels were compiled for, and what they call: for reports of errors and of speed.

import COpenBLAS

package enum Build {
    #if AVX512
        package static let vectors = "AVX-512"
        /// What a processor must have to run the kernels, by the names in /proc/cpuinfo.
        package static let processorFlags = ["avx512f", "avx512bw", "avx512dq", "avx512vl"]
    #else
        package static let vectors = "256 bits"
        package static let processorFlags = ["avx2", "fma"]
    #endif

    package static var blas: String { String(cString: openblas_get_config()) }
}
