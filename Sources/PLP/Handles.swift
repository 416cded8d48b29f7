// The handles that C holds. A handle is a number that looks like a pointer: it is never followed and never given out
// twice, so NULL, freed, foreign and mistaken handles are told from live ones with certainty, at a look-up per call.

import CPLP
import Kernels
import Synchronization

/// What stands behind a handle.
class Handle {
    /// What messages call it.
    class var noun: String { "handle" }
    /// False for those that never change, which any number of threads may share.
    class var isExclusive: Bool { true }

    private let busy = Atomic<Bool>(false)

    /// Runs `body` unless another call on this handle is running, on another thread or further up on this one.
    fileprivate func exclusively(_ body: () throws(Failure) -> Void) throws(Failure) {
        guard Self.isExclusive else { return try body() }
        guard !busy.exchange(true, ordering: .acquiring) else {
            throw .argument(Self.noun, found: "a handle that another call is using", expected: "one that is free")
        }
        defer { busy.store(false, ordering: .releasing) }
        try body()
    }
}

private let live = Mutex<(latest: UInt, objects: [UInt: Handle])>((0, [:]))

/// Gives `object` a handle, written to `destination`.
func publish(_ object: Handle, to destination: UnsafeMutablePointer<OpaquePointer?>) {
    destination.pointee = live.withLock { table in
        table.latest += 1
        table.objects[table.latest] = object
        return OpaquePointer(bitPattern: table.latest)
    }
}

/// Forgets a handle. A call that is using it ends in peace: the object lives until then.
func release(_ handle: OpaquePointer?) {
    // The object is destroyed after the lock is open again: it may be large.
    _ = live.withLock { $0.objects.removeValue(forKey: UInt(bitPattern: handle)) }
}

/// Runs `body` with what stands behind a handle, for which no other call may run meanwhile.
func using<Object: Handle>(_ handle: OpaquePointer?, _ body: (Object) throws(Failure) -> Void) throws(Failure) {
    let found = live.withLock { $0.objects[UInt(bitPattern: handle)] }
    guard let object = found as? Object else {
        let description =
            if let found { "a \(type(of: found).noun)" } else if handle == nil { "NULL" } else { "a freed or foreign handle" }
        throw .argument(Object.noun, found: description, expected: "a live \(Object.noun)")
    }
    try object.exclusively { () throws(Failure) in try body(object) }
}
