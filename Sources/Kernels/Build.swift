// What the kernels were compiled for, and what they call: for reports of errors and of speed.

import COpenBLAS

package enum Build {
    #if AVX512
        package static let vectors = "AVX-512"
    #else
        package static let vectors = "AVX2"
    #endif

    package static var blas: String { String(cString: openblas_get_config()) }
}
