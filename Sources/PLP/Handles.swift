// The handles that C holds. A handle is a number that looks like a pointer: it is never followed and never given out
// twice, so NULL, freed, foreign and mistaken handles are told from live ones with certainty, at a look-up per call.

import CPLP
import Glibc
import PLPBase
import PLPTraining
import Synchronization

/// What stands behind a handle. Unchecked, since it changes: it belongs to one call at a time, which `exclusively` sees to.
class Handle: @unchecked Sendable {
    /// What messages call it.
    class var noun: String { "handle" }

    /// The thread whose call is using it; 0 for none.
    private let user = Atomic<UInt>(0)
    /// Whether that call is running its caller's callback. Only the using thread looks at it.
    private var isCallingBack = false
    /// Whether this process was forked while another thread was using it, which may have left it half changed.
    private var isAbandoned = false

    /// Called in a forked child.
    fileprivate func forgetOtherThreads() {
        let current = user.load(ordering: .relaxed)
        if current != 0 && current != UInt(pthread_self()) { isAbandoned = true }
    }

    /// Runs `body` unless another call is using this; one that is calling back lets its thread in, if `fromCallback`.
    func exclusively<Result>(
        fromCallback: Bool, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let thread = UInt(pthread_self())
        let (isFree, current) = user.compareExchange(expected: 0, desired: thread, ordering: .acquiringAndReleasing)
        guard isFree || current == thread && isCallingBack && fromCallback else {
            let found =
                if isAbandoned { "one that another thread was using when this process was forked" } else {
                    current == thread ? "one whose callback this is" : "one that another thread is using"
                }
            throw .argument(Self.noun, found: found, expected: "one that no call is using")
        }
        let wasCallingBack = isCallingBack
        isCallingBack = false  // until this call calls back
        defer {
            isCallingBack = wasCallingBack
            if isFree { user.store(0, ordering: .releasing) }
        }
        return try body()
    }

    /// Runs a callback of the caller's, from which calls may come in.
    func callingBack<Answer>(_ body: () -> Answer) -> Answer {
        isCallingBack = true
        defer { isCallingBack = false }
        return body()
    }
}

private let live: Mutex<(latest: UInt, objects: [UInt: Handle])> = {
    Fork.inChild { live.withLock { for object in $0.objects.values { object.forgetOtherThreads() } } }
    return Mutex((0, [:]))
}()

/// Gives `object` a handle, written to `destination`.
func publish(_ object: Handle, to destination: UnsafeMutablePointer<OpaquePointer?>) {
    destination.pointee = Fork.postponed {
        live.withLock { table in
            table.latest += 1
            table.objects[table.latest] = object
            return OpaquePointer(bitPattern: table.latest)
        }
    }
}

/// Forgets a handle. A call that is using it ends in peace: the object lives until then.
func release(_ handle: OpaquePointer?) {
    // The object is destroyed when the lock is open again.
    _ = Fork.postponed { live.withLock { $0.objects.removeValue(forKey: UInt(bitPattern: handle)) } }
}

/// Runs `body` with what stands behind a handle, for which no other call may run meanwhile. Messages call it by `name`,
/// where an argument has another than the handle's noun.
func using<Object: Handle, Result>(
    _ handle: OpaquePointer?, _ name: String? = nil, fromCallback: Bool = true,
    _ body: (Object) throws(Failure) -> Result
) throws(Failure) -> Result {
    let found = Fork.postponed { live.withLock { $0.objects[UInt(bitPattern: handle)] } }
    guard let object = found as? Object else {
        let description =
            if let found { "a \(type(of: found).noun)" } else if handle == nil { "NULL" } else {
                "a freed or foreign handle"
            }
        throw .argument(name ?? Object.noun, found: description, expected: "a live \(Object.noun)")
    }
    return try object.exclusively(fromCallback: fromCallback) { () throws(Failure) in try body(object) }
}
