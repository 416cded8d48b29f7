// Which library this is, and what it runs on.

import CPLP
import Kernels

private let version = OwnedString(PLP_VERSION)

private let information = OwnedString(
    """
    version: \(PLP_VERSION)
    vectors: \(Build.vectors)
    blas: \(Build.blas)
    processors: \(Threads.processors)

    """)

@c @implementation
public func plp_version() -> UnsafePointer<CChar>? { version.pointer }

@c @implementation
public func plp_build_info() -> UnsafePointer<CChar>? { information.pointer }
