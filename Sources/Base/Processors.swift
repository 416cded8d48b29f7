// How many processors this process may keep busy.

import CLinux
import Glibc

package enum Processors {
    /// Those that the scheduler lets this thread run on.
    package static var allowed: Int {
        // The kernel refuses a mask that is shorter than its own, which has a bit for each processor there might be.
        for bytes in [128, 1024, 8192] {
            let count = withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 8) { mask in
                mask.prefix(max(affinity_mask(mask.baseAddress!, bytes), 0)).reduce(0) { $0 + $1.nonzeroBitCount }
            }
            if count > 0 { return count }
        }
        return max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1)
    }
}
