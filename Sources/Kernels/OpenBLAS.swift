// OpenBLAS as the engine uses it: one thread inside each call, because the engine splits the work itself. The number of
// its threads is state of the whole process, which others in it may rely on.

import COpenBLAS
import PLPBase

enum OpenBLAS {
    private struct State {
        var users = 0
        var threads: Int32 = 1
    }

    private static let state = Lock(State())

    /// Whether it computes on vectors as wide as these kernels do. It chooses its own by the processor, and takes those
    /// that are newer than itself for the oldest: Debian 12's has SSE3 for an Emerald Rapids.
    private static let hasKernel: Bool = {
        let name = String(cString: openblas_get_corename()).lowercased()
        #if AVX512
            let kernels = ["skylakex", "cooperlake", "sapphirerapids"]
        #else
            let kernels = ["haswell", "zen", "skylakex", "cooperlake", "sapphirerapids"]
        #endif
        return kernels.contains(name)
    }()

    /// As long as this lives, so many calls at a time find the memory that they need, beside those that others have
    /// reserved. Where the process has no limits they find it anyway.
    final class Reservation: Sendable {
        /// Calls that are reserved for, and those for which OpenBLAS has memory.
        private static let calls = Lock<(reserved: Int, ready: Int)>((0, 0))
        /// What OpenBLAS takes for a call, on any x86-64.
        private static let bytes = 129 << 20
        private let count: Int

        init(calls count: Int) throws(Failure) {
            // While no call has any of the memory: what it has would be taken once more.
            try Fork.alone { () throws(Failure) in
                try Self.calls.withLock { calls throws(Failure) in
                    let wanted = calls.reserved + count
                    if OpenBLAS.hasKernel, Memory.isLimited, wanted > calls.ready {
                        try Memory.require(
                            bytes: (wanted - calls.ready) * Self.bytes, for: "OpenBLAS, for \(count) threads,")
                        openblas_reserve(Int32(wanted))
                        calls.ready = wanted
                    }
                    calls.reserved = wanted
                }
            }
            self.count = count
        }

        deinit { Fork.postponed { Self.calls.withLock { $0.reserved -= count } } }
    }

    /// Runs `body`, which is told whether OpenBLAS has a kernel, with OpenBLAS on one thread, and puts the number of
    /// threads back when the last of those that overlap in time is done. Forks wait, since OpenBLAS's locks would stay
    /// locked in the child.
    static func onOneThread(_ body: (_ hasKernel: Bool) -> Void) {
        Fork.postponed {
            state.withLock {
                if $0.users == 0 {
                    $0.threads = openblas_get_num_threads()
                    openblas_let_threads(1)
                }
                $0.users += 1
            }
            body(hasKernel)
            state.withLock {
                $0.users -= 1
                if $0.users == 0 { openblas_let_threads($0.threads) }
            }
        }
    }
}
