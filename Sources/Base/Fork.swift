// A forked child has a copy of all memory, but only the thread that forked: what other threads were doing stays half
// done in it, and what they held stays held.

import Glibc
import Synchronization

/// What has to be known of forks.
///
/// Threads that somebody may wait for belong to one process: they are those of a `generation`. What is locked for a
/// moment is locked within `postponed`. What is in use for longer is told by a `child` handler that its user is gone.
///
/// Swift's runtime remembers a thread's number, by which it tells who is making what is made when it is first used. The
/// thread that comes out of a fork bears another one than it remembers: where it and another one meet at such a thing,
/// both wait for ever. So what several threads use at once is first used by one of them.
package enum Fork {
    private static let forks = Atomic<Int>(0)
    /// Held by many while forks have to wait, and by one that forks.
    private nonisolated(unsafe) static let gate: UnsafeMutablePointer<pthread_rwlock_t> = .allocate(capacity: 1)
    /// Not nil for a thread that has passed it.
    private nonisolated(unsafe) static var hasPassed = pthread_key_t()
    private static let afterwards = Lock<[@Sendable () -> Void]>([])

    /// Forks from the first process that has called this to the present one. It changes in the child only.
    package static var generation: Int {
        _ = isWatching
        return forks.load(ordering: .relaxed)
    }

    /// Runs `body`, within which no other thread forks: that has to wait.
    package static func postponed<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        try pass(pthread_rwlock_rdlock, body)
    }

    /// Runs `body` while no other thread is `postponed`, nor forks. Not within `postponed`.
    package static func alone<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        try pass(pthread_rwlock_wrlock, body)
    }

    /// Once for each thread: whoever has passed would wait for a fork that waits for it. What is made when it is first
    /// used may have something postponed within what is.
    private static func pass<Result, Failure>(
        _ lock: (UnsafeMutablePointer<pthread_rwlock_t>) -> Int32, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        _ = isWatching
        guard pthread_getspecific(hasPassed) == nil else { return try body() }
        _ = lock(gate)
        pthread_setspecific(hasPassed, gate)
        defer {
            pthread_setspecific(hasPassed, nil)
            pthread_rwlock_unlock(gate)
        }
        return try body()
    }

    /// Has `body` run in each child as soon as it is forked, when no other thread is `postponed`.
    package static func inChild(_ body: @escaping @Sendable () -> Void) {
        postponed { afterwards.withLock { $0.append(body) } }
    }

    private static let isWatching: Bool = {
        open()
        pthread_key_create(&hasPassed, nil)
        return pthread_atfork(
            { pthread_rwlock_wrlock(Fork.gate) },
            { pthread_rwlock_unlock(Fork.gate) },
            {
                // Its lock names the thread of the parent as its holder.
                Fork.open()
                Fork.forks.add(1, ordering: .relaxed)
                for body in Fork.afterwards.withLock({ $0 }) { body() }
            }) == 0
    }()

    private static func open() {
        var attributes = pthread_rwlockattr_t()
        pthread_rwlockattr_init(&attributes)
        // One that forks need not wait until there is a moment without a holder.
        pthread_rwlockattr_setkind_np(&attributes, Int32(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP))
        pthread_rwlock_init(gate, &attributes)
    }
}
