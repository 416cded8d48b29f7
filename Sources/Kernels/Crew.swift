// The threads behind parallel loops. A training step has hundreds of loops, many shorter than a millisecond, with only
// microseconds between them: a thread that slept in between would come 60 µs late to each. So helpers look for the next
// job a while, letting other threads have the processor, before they sleep.
//
// The caller works too, and waits only for helpers that have taken up its job: where none comes, since the processors
// are busy, it does all the work itself. So does a forked child, which has no helpers, unless one was taking up a job
// at the fork: that one is waited for in vain.

import Dispatch
import Glibc
import Synchronization

/// Helpers of one caller at a time. Unchecked, since a pointer is not `Sendable`: `job` is followed only by helpers
/// that count as `inside`, and what it points to stays until there are none.
final class Crew: @unchecked Sendable {
    typealias Job = (_ worker: Int) -> Void

    private let helpers: [Helper]
    /// Where the job is that helpers may take up.
    private let job = Atomic<UnsafePointer<Job>?>(nil)
    /// Counts jobs, so that a helper can tell a new one.
    private let round = Atomic<Int>(0)
    /// Helpers that have taken up the job, or are about to look whether there is one.
    private let inside = Atomic<Int>(0)
    private let isBusy = Atomic<Bool>(false)
    private let isDismissed = Atomic<Bool>(false)

    init(helpers count: Int) {
        helpers = (0..<count).map { Helper(worker: $0 + 1) }
        for helper in helpers { start { self.serve(helper) } }
    }

    /// Ends the helpers.
    func dismiss() {
        isDismissed.store(true, ordering: .sequentiallyConsistent)
        announce(to: helpers[...])
    }

    /// Calls `body` with 0 on this thread and with their numbers on helpers that have the time, of whom enough for
    /// `workers` in all are woken; returns when all these calls have. A call from within `body`, or while another
    /// thread's goes on, has no helpers.
    func share(among workers: Int, _ body: Job) {
        guard !isBusy.exchange(true, ordering: .acquiring) else { return body(0) }
        withoutActuallyEscaping(body) { body in
            withUnsafePointer(to: body) { pointer in
                job.store(pointer, ordering: .sequentiallyConsistent)
                announce(to: helpers.prefix(workers - 1))
                body(0)
                // A helper first counts itself in, then looks for the job: one that found it is seen here.
                job.store(nil, ordering: .sequentiallyConsistent)
                while inside.load(ordering: .sequentiallyConsistent) > 0 { sched_yield() }
            }
        }
        isBusy.store(false, ordering: .releasing)
    }

    private func announce(to helpers: ArraySlice<Helper>) {
        round.add(1, ordering: .sequentiallyConsistent)
        for helper in helpers { helper.wake() }
    }

    private func serve(_ helper: Helper) {
        var seen = 0
        while true {
            helper.wait { round.load(ordering: .sequentiallyConsistent) != seen }
            seen = round.load(ordering: .sequentiallyConsistent)
            if isDismissed.load(ordering: .sequentiallyConsistent) { return }
            inside.add(1, ordering: .sequentiallyConsistent)
            takeUpJob(as: helper.worker)
            inside.subtract(1, ordering: .sequentiallyConsistent)
        }
    }

    /// Not inlined, so that the job is let go of before the helper counts itself out.
    @inline(never)
    private func takeUpJob(as worker: Int) { job.load(ordering: .sequentiallyConsistent)?.pointee(worker) }
}

/// How a helper sleeps.
private final class Helper: Sendable {
    let worker: Int
    private let isAsleep = Atomic<Bool>(false)
    private let bell = DispatchSemaphore(value: 0)

    init(worker: Int) { self.worker = worker }

    /// Returns when `condition` holds, which must be made true before `wake` is called.
    @inline(__always)
    func wait(for condition: () -> Bool) {
        // About a tenth of a millisecond, if no other thread wants the processor.
        for _ in 0..<200 {
            if condition() { return }
            sched_yield()
        }
        while !condition() {
            isAsleep.store(true, ordering: .sequentiallyConsistent)
            // Whoever takes the flag back decides: with `wake` the bell rings and must be heard.
            if condition(), isAsleep.exchange(false, ordering: .sequentiallyConsistent) { return }
            bell.wait()
        }
    }

    func wake() {
        if isAsleep.exchange(false, ordering: .sequentiallyConsistent) { bell.signal() }
    }
}

/// Runs `body` on a new thread, which leaves signals to the others. Without one where the system refuses it.
private func start(_ body: @escaping @Sendable () -> Void) {
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
    if refusal == 0 { pthread_detach(thread) } else { context.release() }
}

private final class Body {
    let call: @Sendable () -> Void
    init(call: @escaping @Sendable () -> Void) { self.call = call }
}
