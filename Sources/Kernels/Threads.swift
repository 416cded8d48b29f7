// Parallel loops. A thread that is free takes over blocks of others, so a result must not depend on which thread computed
// which block: sizes of blocks follow from shapes alone and partial sums are added in the order of blocks.

import FoundationEssentials
import Synchronization

/// A number of threads that share loops.
public final class Threads: Sendable {
    public let count: Int
    private let crew: Crew
    private let sweepsBackward = Atomic<Bool>(false)

    /// - Parameter count: threads that compute together, the calling one included; 0 takes one for each processor.
    public init(_ count: Int = 0) {
        self.count = count > 0 ? count : Threads.processors
        crew = Crew(helpers: self.count - 1)
    }

    deinit { crew.dismiss() }

    /// Processors this process may run on.
    public static var processors: Int { ProcessInfo.processInfo.activeProcessorCount }

    /// Calls `body` once for each index below `count`, on all threads, and returns when all calls have.
    @inline(__always)
    public func forEach(_ count: Int, _ body: (_ index: Int) -> Void) {
        forEach(count) { index, _ in body(index) }
    }

    /// The same, telling `body` which worker calls it: a number below `self.count` that no two calls at the same time
    /// share, so that each worker may have its own scratch memory.
    @inline(__always)
    public func forEach(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        let workers = min(count, self.count)
        guard workers > 1 else {
            for index in 0..<count { body(index, 0) }
            return
        }
        // Each worker first takes its own share, the same indices in every loop over as many, so that it often finds in
        // its caches what it computes on; then it takes over what others have not begun.
        withUnsafeTemporaryAllocation(byteCount: workers * Share.size, alignment: Share.size) { memory in
            for worker in 0..<workers {
                Share.at(worker, in: memory).initialize(to: Atomic(count * worker / workers))
            }
            crew.share(among: workers) { worker in
                for offset in 0..<workers {
                    let owner = (worker + offset) % workers
                    let next = Share.at(owner, in: memory)
                    let end = count * (owner + 1) / workers
                    while true {
                        let index = next.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
                        guard index < end else { break }
                        body(index, worker)
                    }
                }
            }
        }
    }

    /// The same for a loop that goes through whole maps, from the first index up or from the last one down: each time
    /// the other way than the last sweep, the end of which is still in the L3 cache where maps are larger than that.
    @inline(__always)
    public func sweep(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        let isBackward = sweepsBackward.load(ordering: .relaxed)
        sweepsBackward.store(!isBackward, ordering: .relaxed)
        forEach(count) { index, worker in body(isBackward ? count - 1 - index : index, worker) }
    }

    @inline(__always)
    public func sweep(_ count: Int, _ body: (_ index: Int) -> Void) {
        sweep(count) { index, _ in body(index) }
    }

    /// Tells that maps have been gone through from first to last, by other loops.
    public func endSweepForward() { sweepsBackward.store(true, ordering: .relaxed) }
}

/// Where a worker's share of a loop begins that nobody has taken yet: each on a cache line of its own.
private enum Share {
    static var size: Int { FloatBuffer.alignment }

    @inline(__always)
    static func at(_ worker: Int, in memory: UnsafeMutableRawBufferPointer) -> UnsafeMutablePointer<Atomic<Int>> {
        (memory.baseAddress! + worker * size).assumingMemoryBound(to: Atomic<Int>.self)
    }
}
