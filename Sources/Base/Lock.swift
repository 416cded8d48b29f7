import Glibc

/// A value that one thread at a time has the use of.
///
/// Swift's own `Mutex` would do but for forks: it, too, goes by numbers of threads that are remembered, as told at
/// `Fork`. What is said there of locks holds for this one.
///
/// Unchecked, since the value may be none that threads can share: they do not, they take turns.
package final class Lock<Value>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
    private var value: Value

    package init(_ value: sending Value) {
        self.value = value
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs `body` when no other thread has the value. Not within itself.
    package func withLock<Result, Failure>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
