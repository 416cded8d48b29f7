// Parallel loops. A thread that is free takes over blocks of others, so a result must not depend on which thread computed
// which block: sizes of blocks follow from shapes alone and partial sums are added in the order of blocks.
//
// What Swift makes when it is first used, as most globals, is used before a loop and not first within one: see `Fork`.

import Glibc
import PLPBase
import Synchronization

/// A number of threads that share loops.
public final class Threads: Sendable {
    public let count: Int
    private let crew: Crew
    private let stream: Crew.Stream
    /// The same threads, for loops in the crew's second stream; nil where steps run one at a time, and of itself.
    private let beside: Threads?
    private let blas = Lock<OpenBLAS.Reservation?>(nil)

    /// Fewer threads than these run steps one at a time. Two at a time would spare up to four of them 2 % of a step of 128
    /// images, by waiting less; but two cores lost up to 3, by what two steps drive out of each other's caches.
    private static let fewestForTwoSteps = 5

    /// - Parameter count: threads that compute together, the calling one included; 0 takes as many as
    ///   `Processors.forThreads` says. More than there are processors would only get in each other's way: so many are
    ///   taken then.
    public convenience init(_ count: Int = 0) {
        self.init(count > 0 ? count : Processors.forThreads.count, processors: Processors.allowed)
    }

    package init(_ count: Int, processors: Int) {
        self.count = min(count, processors)
        crew = Crew(helpers: self.count - 1)
        stream = crew.first
        beside = self.count < Self.fewestForTwoSteps ? nil : Threads(beside: crew, self.count)
    }

    private init(beside crew: Crew, _ count: Int) {
        (self.count, self.crew, stream, beside) = (count, crew, crew.second, nil)
    }

    /// Sees to it that these threads find the memory that ``Linear`` needs: before any memory is asked for that comes
    /// in large pieces as well.
    package func prepareForLinear() throws(Failure) {
        guard blas.withLock({ $0 == nil }) else { return }
        let reservation = try OpenBLAS.Reservation(calls: count)
        blas.withLock { $0 = reservation }
    }

    /// Calls `body` once for each index below `count`, on all threads, and returns when all calls have.
    @inline(__always)
    public func forEach(_ count: Int, _ body: (_ index: Int) -> Void) {
        forEach(count) { index, _ in body(index) }
    }

    /// The same, telling `body` which worker calls it: a number below `self.count` that no two calls of this loop at the
    /// same time share, so that each worker may have its own scratch memory. A loop within a loop, or beside that of
    /// another thread, has worker 0 only.
    @inline(__always)
    public func forEach(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        forEach(count, backward: false, body)
    }

    /// The same for a loop that goes through whole maps, from the first index up or from the last one down: each time
    /// the other way than the last sweep, the end of which is still in the L3 cache where maps are larger than that.
    @inline(__always)
    public func sweep(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        let isBackward = crew.sweepsBackward.load(ordering: .relaxed)
        crew.sweepsBackward.store(!isBackward, ordering: .relaxed)
        forEach(count, backward: isBackward, body)
    }

    @inline(__always)
    public func sweep(_ count: Int, _ body: (_ index: Int) -> Void) {
        sweep(count) { index, _ in body(index) }
    }

    /// Tells that maps have been gone through from first to last, by other loops.
    public func noteForwardSweep() { crew.sweepsBackward.store(true, ordering: .relaxed) }

    /// How many steps run at the same time, at most.
    public var stepsAtATime: Int { beside == nil ? 1 : 2 }

    /// Calls `body` once for each step, after those that it needs have ended: for ``stepsAtATime``, if so many can be
    /// done. Each gets threads to share its loops among: all of these, of which one that finds no more to do in the one
    /// step's loop looks at the other's, in place of waiting for the next.
    ///
    /// `isSecond` is true for one of two such calls, which may so have different scratch memory. No two calls at the
    /// same time of the bodies of one step's loops share a worker.
    public func forEach(in order: Order, _ body: (_ step: Int, _ threads: Threads, _ isSecond: Bool) -> Void) {
        let progress = Lock(Progress(order))
        func lead(_ threads: Threads) {
            while true {
                let (isDone, step) = progress.withLock { ($0.isDone, $0.begin()) }
                if isDone { return }
                if let step {
                    body(step, threads, threads !== self)
                    progress.withLock { $0.end(step) }
                } else if !crew.helpBeside(threads.stream) {
                    sched_yield()
                }
            }
        }
        guard let beside else { return lead(self) }
        crew.both({ lead(self) }, { lead(beside) })
    }

    /// Each worker first takes its own share, the same indices in every loop over as many, so that it often finds in its
    /// caches what it computes on; then it takes over what others have not begun.
    @inline(__always)
    private func forEach(_ count: Int, backward: Bool, _ body: (_ index: Int, _ worker: Int) -> Void) {
        #if LOOP_TIMES
            if let times = LoopTimes.current { return times.record(count, backward: backward) { body($0, 0) } }
        #endif
        let workers = min(count, self.count)
        guard workers > 1 else {
            for index in 0..<count { body(backward ? count - 1 - index : index, 0) }
            return
        }
        // How much of each share is taken, each on a cache line of its own.
        let line = FloatBuffer.alignment
        withUnsafeTemporaryAllocation(byteCount: workers * line, alignment: line) { memory in
            func taken(_ owner: Int) -> UnsafeMutablePointer<Atomic<Int>> {
                (memory.baseAddress! + owner * line).assumingMemoryBound(to: Atomic<Int>.self)
            }
            for worker in 0..<workers { taken(worker).initialize(to: Atomic(0)) }
            crew.share(stream, among: workers) { worker in
                for offset in 0..<workers {
                    let owner = (worker + offset) % workers
                    let share = count * owner / workers..<count * (owner + 1) / workers
                    // Looked at first: many threads can read a line at once, but write it only one after another.
                    while taken(owner).pointee.load(ordering: .relaxed) < share.count {
                        let place = taken(owner).pointee.wrappingAdd(1, ordering: .relaxed).oldValue
                        guard place < share.count else { break }
                        body(backward ? share.upperBound - 1 - place : share.lowerBound + place, worker)
                    }
                }
            }
        }
    }
}
