// The threads behind parallel loops. A training step has hundreds of loops, many shorter than a millisecond, with only
// microseconds between them: a thread that slept in between would come 60 µs late to each. So helpers look for the next
// job a while, letting other threads have the processor, before they sleep.
//
// The caller works too, and waits only for helpers that have taken up its job: where none comes, since the processors
// are busy or the system refuses threads, it does all the work itself. A forked child, in which there are no helpers,
// starts its own.

import CLinux
import Glibc
import PLPBase
import Synchronization

/// Helpers of one caller at a time. Unchecked, since `helpers` is a variable: that of the caller.
final class Crew: @unchecked Sendable {
    typealias Job = (_ worker: Int) -> Void

    private let count: Int
    /// Started when they are first needed in a process.
    private var helpers: (process: Int, Helpers)?
    /// The process, one more than its generation, in which a caller has a job under way; 0 for none.
    private let caller = Atomic<Int>(0)

    init(helpers count: Int) { self.count = count }

    deinit { helpers?.1.dismiss() }

    /// Calls `body` with 0 on this thread and with their numbers on helpers that have the time, of whom enough for
    /// `workers` in all are woken; returns when all these calls have. A call from within `body`, or while another
    /// thread's goes on, has no helpers.
    func share(among workers: Int, _ body: Job) {
        let process = Fork.generation + 1
        // What was under way in another thread at a fork never ends in the child, and stands in nobody's way.
        let current = caller.load(ordering: .relaxed)
        guard current != process,
            caller.compareExchange(expected: current, desired: process, ordering: .acquiring).exchanged
        else { return body(0) }
        if helpers?.process != process { helpers = (process, Helpers(count)) }
        helpers!.1.share(among: workers, body)
        caller.store(0, ordering: .releasing)
    }
}

/// Threads of one process. Unchecked, since a pointer is not `Sendable`: `job` is followed only by helpers that are
/// inside, and what it points to stays until there are none.
private final class Helpers: @unchecked Sendable {
    /// Where the job is that helpers may take up.
    private let job = Atomic<UnsafePointer<Crew.Job>?>(nil)
    private let sleepers = Atomic<Int>(0)
    private let isDismissed = Atomic<Bool>(false)
    /// Words on a cache line each. The first counts jobs, so that a helper can tell a new one; the others say of each
    /// helper whether it is inside: has taken up the job or is about to look whether there is one.
    private let words: UnsafeMutableRawPointer
    private var count = 0

    /// Starts as many as the system allows.
    init(_ wanted: Int) {
        let line = FloatBuffer.alignment
        words = .allocate(byteCount: (1 + wanted) * line, alignment: line)
        for index in 0...wanted { word(index).initialize(to: Atomic(0)) }
        while count < wanted, start({ [self, worker = count + 1] in serve(as: worker) }) { count += 1 }
    }

    deinit { words.deallocate() }

    private func word(_ index: Int) -> UnsafeMutablePointer<Atomic<Int32>> {
        (words + index * FloatBuffer.alignment).assumingMemoryBound(to: Atomic<Int32>.self)
    }

    /// Ends them.
    func dismiss() {
        isDismissed.store(true, ordering: .sequentiallyConsistent)
        announce(to: count)
    }

    func share(among workers: Int, _ body: Crew.Job) {
        withoutActuallyEscaping(body) { body in
            withUnsafePointer(to: body) { pointer in
                job.store(pointer, ordering: .sequentiallyConsistent)
                announce(to: workers - 1)
                body(0)
                // A helper first says that it is inside, then looks for the job: one that found it is seen here.
                job.store(nil, ordering: .sequentiallyConsistent)
                for helper in 0..<count {
                    while word(1 + helper).pointee.load(ordering: .sequentiallyConsistent) != 0 { sched_yield() }
                }
            }
        }
    }

    private func announce(to count: Int) {
        word(0).pointee.wrappingAdd(1, ordering: .sequentiallyConsistent)
        if sleepers.load(ordering: .sequentiallyConsistent) > 0 { futex_wake(word(0), Int32(count)) }
    }

    private func serve(as worker: Int) {
        var seen: Int32 = 0
        while true {
            seen = nextJob(after: seen)
            if isDismissed.load(ordering: .sequentiallyConsistent) { return }
            word(worker).pointee.store(1, ordering: .sequentiallyConsistent)
            takeUpJob(as: worker)
            word(worker).pointee.store(0, ordering: .sequentiallyConsistent)
        }
    }

    /// The number of jobs, once it is another one.
    private func nextJob(after seen: Int32) -> Int32 {
        // About a tenth of a millisecond, if no other thread wants the processor.
        for _ in 0..<200 {
            let number = word(0).pointee.load(ordering: .sequentiallyConsistent)
            if number != seen { return number }
            sched_yield()
        }
        // Who announces counts the job first and then looks for sleepers; so one of the two sees the other.
        sleepers.add(1, ordering: .sequentiallyConsistent)
        defer { sleepers.subtract(1, ordering: .sequentiallyConsistent) }
        while true {
            let number = word(0).pointee.load(ordering: .sequentiallyConsistent)
            if number != seen { return number }
            futex_wait(word(0), seen)
        }
    }

    /// Not inlined, so that the job is let go of before the helper says that it is outside.
    @inline(never)
    private func takeUpJob(as worker: Int) { job.load(ordering: .sequentiallyConsistent)?.pointee(worker) }
}

/// Runs `body` on a new thread, which leaves signals to the others; false where the system refuses one.
private func start(_ body: @escaping @Sendable () -> Void) -> Bool {
    let context = Unmanaged.passRetained(Body(call: body))
    var (thread, all, before) = (pthread_t(), sigset_t(), sigset_t())
    sigfillset(&all)
    pthread_sigmask(SIG_BLOCK, &all, &before)
    let refusal = pthread_create(
        &thread, nil,
        { context in
            Unmanaged<Body>.fromOpaque(context!).takeRetainedValue().call()
            return nil
        }, context.toOpaque())
    pthread_sigmask(SIG_SETMASK, &before, nil)
    guard refusal == 0 else {
        context.release()
        return false
    }
    pthread_detach(thread)
    return true
}

private final class Body {
    let call: @Sendable () -> Void
    init(call: @escaping @Sendable () -> Void) { self.call = call }
}
