// The threads behind parallel loops. A training step has hundreds of loops, many shorter than a millisecond, with only
// microseconds between them: a thread that slept in between would come 60 µs late to each. So helpers look for the next
// job a while, letting other threads have the processor, before they sleep.
//
// The caller works too, and waits only for helpers that have taken up its job: where none comes, since the processors
// are busy or the system refuses threads, it does all the work itself. A forked child, in which there are no helpers,
// starts its own.
//
// Jobs come in two streams, each a row of jobs one after the other. Mostly there is only one; where there are two, a
// helper that finds no more to do for the one's job looks for the other's, in place of waiting for the next.

import CLinux
import Glibc
import PLPBase
import Synchronization

/// Helpers of one caller at a time. Unchecked, since `helpers` is a variable: that of the caller.
final class Crew: @unchecked Sendable {
    typealias Job = (_ worker: Int) -> Void

    /// A row of jobs, given out by one thread.
    final class Stream: @unchecked Sendable {
        fileprivate let number: Int
        /// The worker that gives them out, and how many of the other stream's it has looked at.
        fileprivate var (leader, seen) = (0, Int32(0))
        fileprivate let job = Claim()

        fileprivate init(_ number: Int) { self.number = number }
    }

    let (first, second) = (Stream(0), Stream(1))
    /// Which way the next sweep goes, of either stream: see ``Threads/sweep(_:_:)``.
    let sweepsBackward = Atomic<Bool>(false)
    private let count: Int
    /// Started when they are first needed in a process.
    private var helpers: (process: Int, Helpers)?
    private let pair = Claim()

    init(helpers count: Int) { self.count = count }

    deinit { helpers?.1.dismiss() }

    /// Calls `body` on this thread and on helpers that have the time, of whom enough for `workers` in all are woken,
    /// with their numbers; returns when all these calls have. A call from within `body`, or while another thread's goes
    /// on, has no helpers and the number 0.
    func share(_ stream: Stream, among workers: Int, _ body: Job) {
        guard stream.job.take() else { return body(0) }
        defer { stream.job.release() }
        available().share(stream, among: workers, body)
    }

    /// Calls both: at the same time if a helper has the time for `other`, which gives out its jobs in the second stream.
    func both(_ body: () -> Void, _ other: () -> Void) {
        guard let helpers = claimPair() else {
            body()
            return other()
        }
        defer { pair.release() }
        let isTaken = Atomic(false)
        helpers.offer({ worker in lead(worker) }, in: second) {
            body()
            lead(0)
        }
        func lead(_ worker: Int) {
            guard !isTaken.exchange(true, ordering: .relaxed) else { return }
            second.leader = worker
            other()
        }
    }

    /// Helpers for both streams; nil within a job, or beside another thread's, when there are none to be had.
    private func claimPair() -> Helpers? {
        guard pair.take() else { return nil }
        // For a moment, so that no two threads start them.
        guard first.job.take() else {
            pair.release()
            return nil
        }
        defer { first.job.release() }
        return available()
    }

    /// Does what is left of the job of the other stream than one's own; whether there has been one since the last time.
    func helpBeside(_ stream: Stream) -> Bool {
        helpers!.1.takeUpJob(1 - stream.number, as: stream.leader, &stream.seen)
    }

    private func available() -> Helpers {
        let process = Fork.generation
        if helpers?.process != process { helpers = (process, Helpers(count)) }
        return helpers!.1
    }
}

/// What one thread of a process has at a time.
private struct Claim: ~Copyable, Sendable {
    /// The process, one more than its generation, in which it is taken; 0 for none.
    private let holder = Atomic<Int>(0)

    /// Whether it was free. What another thread had at a fork is never given back in the child, and free there.
    func take() -> Bool {
        let process = Fork.generation + 1
        let current = holder.load(ordering: .relaxed)
        return current != process
            && holder.compareExchange(expected: current, desired: process, ordering: .acquiring).exchanged
    }

    func release() { holder.store(0, ordering: .releasing) }
}

/// Threads of one process. Unchecked, since a pointer is not `Sendable`: a job is followed only by workers that are
/// inside its stream, and what it points to stays until there are none.
private final class Helpers: @unchecked Sendable {
    /// Where a stream's job is that workers may take up, and how many there have been, by which one tells a new one.
    private struct Post: ~Copyable {
        let job = Atomic<UnsafePointer<Crew.Job>?>(nil)
        let jobs = Atomic<Int32>(0)
    }

    private let sleepers = Atomic<Int>(0)
    private let isDismissed = Atomic<Bool>(false)
    /// On cache lines of their own: the number of jobs of both streams; the streams' posts; of each worker, the caller
    /// being the first, which streams it is inside of, a bit for each. That means that it has taken up the job there, or is
    /// about to look whether there is one. The second stream's leader is inside of it all the time, and at times of the
    /// first one, too.
    private let memory: UnsafeMutableRawPointer
    private var count = 0

    /// Starts as many as the system allows.
    init(_ wanted: Int) {
        let line = FloatBuffer.alignment
        memory = .allocate(byteCount: (4 + wanted) * line, alignment: line)
        announced.initialize(to: Atomic(0))
        for stream in 0..<2 { post(stream).initialize(to: Post()) }
        for worker in 0...wanted { place(worker).initialize(to: Atomic(0)) }
        while count < wanted, start({ [self, worker = count + 1] in serve(as: worker) }) { count += 1 }
    }

    deinit { memory.deallocate() }

    private var announced: UnsafeMutablePointer<Atomic<Int32>> { memory.assumingMemoryBound(to: Atomic<Int32>.self) }

    private func post(_ stream: Int) -> UnsafeMutablePointer<Post> {
        (memory + (1 + stream) * FloatBuffer.alignment).assumingMemoryBound(to: Post.self)
    }

    private func place(_ worker: Int) -> UnsafeMutablePointer<Atomic<Int32>> {
        (memory + (3 + worker) * FloatBuffer.alignment).assumingMemoryBound(to: Atomic<Int32>.self)
    }

    /// Ends them.
    func dismiss() {
        isDismissed.store(true, ordering: .sequentiallyConsistent)
        announce(to: count)
    }

    func share(_ stream: Crew.Stream, among workers: Int, _ body: Crew.Job) {
        give(body, in: stream, by: stream.leader, to: workers - 1) { body(stream.leader) }
    }

    /// Has `body` called by helpers with the time for it while this thread does `own`.
    func offer(_ body: Crew.Job, in stream: Crew.Stream, while own: () -> Void) {
        give(body, in: stream, by: 0, to: 1, own)
    }

    /// Posts `body` while `own` runs, and waits for those who have taken it up.
    private func give(
        _ body: Crew.Job, in stream: Crew.Stream, by giver: Int, to helpers: Int, _ own: () -> Void
    ) {
        withoutActuallyEscaping(body) { body in
            withUnsafePointer(to: body) { pointer in
                let post = post(stream.number)
                post.pointee.job.store(pointer, ordering: .sequentiallyConsistent)
                post.pointee.jobs.wrappingAdd(1, ordering: .sequentiallyConsistent)
                announce(to: helpers)
                own()
                // A worker first says that it is inside, then looks for the job: one that found it is seen here.
                post.pointee.job.store(nil, ordering: .sequentiallyConsistent)
                for worker in 0...count where worker != giver {
                    while place(worker).pointee.load(ordering: .sequentiallyConsistent) & 1 << stream.number != 0 {
                        sched_yield()
                    }
                }
            }
        }
    }

    private func announce(to count: Int) {
        announced.pointee.wrappingAdd(1, ordering: .sequentiallyConsistent)
        if sleepers.load(ordering: .sequentiallyConsistent) > 0 { futex_wake(announced, Int32(count)) }
    }

    private func serve(as worker: Int) {
        var announced: Int32 = 0
        var seen: InlineArray<2, Int32> = [0, 0]
        while true {
            announced = nextAnnouncement(after: announced)
            if isDismissed.load(ordering: .sequentiallyConsistent) { return }
            // Half of them look at the one stream first, half at the other.
            let stream = worker & 1
            while takeUpJob(stream, as: worker, &seen[stream])
                || takeUpJob(1 - stream, as: worker, &seen[1 - stream])
            {}
        }
    }

    /// The number of jobs, once it is another one.
    private func nextAnnouncement(after seen: Int32) -> Int32 {
        // About a tenth of a millisecond, if no other thread wants the processor.
        for _ in 0..<200 {
            let number = announced.pointee.load(ordering: .sequentiallyConsistent)
            if number != seen { return number }
            sched_yield()
        }
        // Who announces counts the job first and then looks for sleepers; so one of the two sees the other.
        sleepers.add(1, ordering: .sequentiallyConsistent)
        defer { sleepers.subtract(1, ordering: .sequentiallyConsistent) }
        while true {
            let number = announced.pointee.load(ordering: .sequentiallyConsistent)
            if number != seen { return number }
            futex_wait(announced, seen)
        }
    }

    /// Does what is left of a stream's job; whether there has been one since so many were `seen`.
    func takeUpJob(_ stream: Int, as worker: Int, _ seen: inout Int32) -> Bool {
        let number = post(stream).pointee.jobs.load(ordering: .sequentiallyConsistent)
        guard number != seen else { return false }
        seen = number
        let before = place(worker).pointee.load(ordering: .relaxed)
        place(worker).pointee.store(before | 1 << Int32(stream), ordering: .sequentiallyConsistent)
        callJob(stream, worker)
        place(worker).pointee.store(before, ordering: .sequentiallyConsistent)
        return true
    }

    /// Not inlined, so that the job is let go of before the worker says that it is outside.
    @inline(never)
    private func callJob(_ stream: Int, _ worker: Int) {
        post(stream).pointee.job.load(ordering: .sequentiallyConsistent)?.pointee(worker)
    }
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
