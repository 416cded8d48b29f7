// Threads may share a model and its trainers: calls on them take turns, in the order in which they came.
//
// A call has one turn at a time, and none while its caller's callback runs. So no two calls wait for each other, and
// whatever a callback waits for can go on.

import CPLP
import Glibc
import PLPBase
import PLPTraining

/// The turns at one model.
final class Turns: Sendable {
    /// What a call does with the model.
    enum Use: Sendable { case reading, changing, training }

    private struct State {
        /// The thread whose turn it is, and what for; nil where it is nobody's, and nobody waits.
        var holder: (thread: pthread_t, use: Use)?
        /// Those that wait, by their places.
        var waiting: [Visitor] = []
        var lastPlace = 0
        /// The thread that has a fit under way. Between its turns others may read and change the model, but not train it.
        var fitter: pthread_t?
        /// Whether this process was forked while another thread was changing or fitting the model.
        var isAbandoned = false
    }

    private let state = Lock(State())

    private func access<Result: Sendable>(_ body: (inout State) -> Result) -> Result {
        Fork.postponed { state.withLock { body(&$0) } }
    }

    /// Runs `body` when it is this thread's turn. Messages call what it is a turn at `noun`.
    func take<Result>(for use: Use, _ noun: String, _ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        try check(use, noun)
        guard waitForTurn(use, nextPlace(), .current) else {
            throw Failure(.interrupted, "\(noun): the wait for another thread's call on it was interrupted")
        }
        defer { endTurn() }
        try check(use, noun, isHolding: true)  // a fit may have begun in the meantime
        return try body()
    }

    /// Runs `body`, a fit. It calls its caller's callbacks by way of the function it is given, so that others have their
    /// turns, and stops where waiting for its next one was interrupted.
    func takeForFit(
        _ noun: String,
        _ body: (_ pause: (_ callback: () -> Trainer.Progress.Reply) -> Trainer.Progress.Reply) throws(Failure) -> Void
    ) throws(Failure) {
        let patience = Patience.current
        try take(for: .training, noun) { () throws(Failure) in
            access { $0.fitter = pthread_self() }
            defer { access { $0.fitter = nil } }
            try body { callback in
                endTurn()
                let reply = callback()
                if waitForTurn(.training, nextPlace(), patience) { return reply }
                // A last turn, to come to an end in: before all others.
                _ = waitForTurn(.training, 0, Patience())
                return .stop
            }
        }
    }

    /// Called in a forked child: other threads are gone, and what one of them was changing stays half changed.
    func forgetOtherThreads() {
        access { state in
            let survivor = pthread_self()
            state.waiting = []
            if let holder = state.holder, holder.thread != survivor {
                state.isAbandoned = state.isAbandoned || holder.use != .reading
                state.holder = nil
            }
            if let fitter = state.fitter, fitter != survivor {
                state.isAbandoned = true
                state.fitter = nil
            }
        }
    }

    /// Throws where there is nothing to wait for.
    private func check(_ use: Use, _ noun: String, isHolding: Bool = false) throws(Failure) {
        let found: String? = access { state in
            if state.isAbandoned { return "one that another thread was using when this process was forked" }
            if !isHolding, state.holder?.thread == pthread_self() { return "one that this thread is in a call on" }
            if use == .training, state.fitter != nil { return "one that a fit is under way on" }
            return nil
        }
        if let found { throw .argument(noun, found: found, expected: "one that is free for this call") }
    }

    private func nextPlace() -> Int {
        access { state in
            state.lastPlace += 1
            return state.lastPlace
        }
    }

    /// Returns when it is this thread's turn, which `endTurn` must end; false where its patience ended before.
    private func waitForTurn(_ use: Use, _ place: Int, _ patience: Patience) -> Bool {
        let thread = pthread_self()
        while true {
            let visitor: Visitor? = access { state in
                if state.holder == nil {
                    state.holder = (thread, use)
                    return nil
                }
                let visitor = Visitor(thread, use, place)
                state.waiting.insert(visitor, at: state.waiting.firstIndex { $0.place > place } ?? state.waiting.count)
                return visitor
            }
            guard let visitor else { return true }
            visitor.wait(milliseconds: patience.interval)
            let hasTurn = access { state in
                // Who leaves the queue, so that his callback may make calls that wait themselves, keeps his place.
                if !visitor.hasTurn { state.waiting.removeAll { $0 === visitor } }
                return visitor.hasTurn
            }
            if hasTurn { return true }
            guard patience.goesOn() else { return false }
        }
    }

    private func endTurn() {
        access { state in
            state.holder = nil
            guard !state.waiting.isEmpty else { return }
            let next = state.waiting.removeFirst()
            state.holder = (next.thread, next.use)
            next.giveTurn()
        }
    }
}

/// A call that waits for its turn. Unchecked, since `hasTurn` is a variable, of whoever has the turns' state.
private final class Visitor: @unchecked Sendable {
    let thread: pthread_t
    let use: Turns.Use
    let place: Int
    private(set) var hasTurn = false
    private let bell: UnsafeMutablePointer<sem_t>

    init(_ thread: pthread_t, _ use: Turns.Use, _ place: Int) {
        self.thread = thread
        self.use = use
        self.place = place
        bell = .allocate(capacity: 1)
        sem_init(bell, 0, 0)
    }

    deinit {
        sem_destroy(bell)
        bell.deallocate()
    }

    func giveTurn() {
        hasTurn = true
        sem_post(bell)
    }

    /// Returns when the turn is given or the time is over; without a time, not before the turn is given.
    func wait(milliseconds: Int?) {
        guard let milliseconds else {
            while sem_wait(bell) != 0 {}  // a signal's handler ran
            return
        }
        var end = timespec()
        clock_gettime(CLOCK_REALTIME, &end)
        end.tv_nsec += milliseconds * 1_000_000
        end.tv_sec += end.tv_nsec / 1_000_000_000
        end.tv_nsec %= 1_000_000_000
        sem_timedwait(bell, &end)
    }
}

/// How long a thread waits for its turns: for ever, or until its callback says otherwise.
struct Patience {
    fileprivate var callback: plp_wait_callback?
    fileprivate var userData: UnsafeMutableRawPointer?

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key) { $0?.deallocate() }
        return key
    }()

    /// This thread's.
    static var current: Patience {
        get {
            pthread_getspecific(key)?.assumingMemoryBound(to: Patience.self).pointee ?? Patience()
        }
        set {
            let known = pthread_getspecific(key)?.assumingMemoryBound(to: Patience.self)
            let place = known ?? .allocate(capacity: 1)
            place.initialize(to: newValue)
            if known == nil { pthread_setspecific(key, place) }
        }
    }

    /// Between two calls of the callback.
    fileprivate var interval: Int? { callback == nil ? nil : 100 }

    fileprivate func goesOn() -> Bool { callback.map { $0(userData) == 0 } ?? true }
}

@c @implementation
public func plp_set_wait_callback(_ callback: plp_wait_callback?, _ user_data: UnsafeMutableRawPointer?) {
    Patience.current = Patience(callback: callback, userData: user_data)
}
