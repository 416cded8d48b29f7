// Which library this is, and what it runs on.

import CPLP
import Kernels

private let version = OwnedString(PLP_VERSION)

@c @implementation
public func plp_version() -> UnsafePointer<CChar>? { version.pointer }
