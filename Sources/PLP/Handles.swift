// The handles that C holds. A handle is a number that looks like a pointer: it is never followed and never given out
// twice, so NULL, freed, foreign and mistaken handles are told from live ones with certainty, at a look-up per call.

import CPLP
import Glibc
import PLPBase
import PLPTraining

/// What stands behind a handle. Unchecked, since it may change: calls on it take turns then.
class Handle: @unchecked Sendable {
    /// What messages call it.
    class var noun: String { "handle" }

    /// The turns that calls on it take; nil for what never changes.
    var turns: Turns? { nil }
}

private let live: Lock<(latest: UInt, objects: [UInt: Handle])> = {
    Fork.inChild { live.withLock { for object in $0.objects.values { object.turns?.forgetOtherThreads() } } }
    return Lock((0, [:]))
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

/// What stands behind a handle. Messages call it by `name`, where an argument has another than the handle's noun.
func object<Object: Handle>(of handle: OpaquePointer?, _ name: String? = nil) throws(Failure) -> Object {
    let found = Fork.postponed { live.withLock { $0.objects[UInt(bitPattern: handle)] } }
    guard let object = found as? Object else {
        let description =
            if let found { "a \(type(of: found).noun)" } else if handle == nil { "NULL" } else {
                "a freed or foreign handle"
            }
        throw .argument(name ?? Object.noun, found: description, expected: "a live \(Object.noun)")
    }
    return object
}
