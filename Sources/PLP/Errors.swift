// From Swift's errors to C's: every exported function runs inside `attempt`, which turns a Failure into a status and
// keeps its text for the thread. Checks of what comes from C throw the same Failure.

import CPLP
import Glibc
import PLPBase
import PLPTraining

/// Runs the body of an exported function; the status of its failure, or OK.
func attempt(_ body: () throws(Failure) -> Void) -> plp_status {
    do throws(Failure) {
        if let unsupportedProcessor { throw unsupportedProcessor }
        try body()
        return PLP_OK
    } catch {
        latestError.set(LastError(error))
        return error.kind.status
    }
}

/// The same for a function of one handle, when it is its turn to use what stands behind that; nil for what never changes.
func attempt<Object: Handle>(
    _ handle: OpaquePointer?, _ use: Turns.Use?, _ body: (Object) throws(Failure) -> Void
) -> plp_status {
    attempt { () throws(Failure) in
        let object: Object = try object(of: handle)
        guard let use, let turns = object.turns else { return try body(object) }
        try turns.take(for: use, Object.noun) { () throws(Failure) in try body(object) }
    }
}

extension Failure.Kind {
    var status: plp_status {
        switch self {
        case .invalidArgument: PLP_ERROR_INVALID_ARGUMENT
        case .notFound: PLP_ERROR_NOT_FOUND
        case .inputOutput: PLP_ERROR_IO
        case .corrupt: PLP_ERROR_CORRUPT
        case .notFinite: PLP_ERROR_NOT_FINITE
        case .outOfMemory: PLP_ERROR_OUT_OF_MEMORY
        case .interrupted: PLP_ERROR_INTERRUPTED
        }
    }
}

extension Failure {
    static func argument(_ name: String, found: Any, expected: String) -> Failure {
        Failure(.invalidArgument, "\(name): found \(excerpt(found)), expected \(expected)")
    }
}

/// A thread's latest failure, as C reads it.
private final class LastError {
    let message: OwnedString
    let number: Int32
    let path: OwnedString?

    init(_ failure: Failure) {
        message = OwnedString(failure.message)
        number = failure.errno
        path = failure.path.map(OwnedString.init)
    }
}

private let latestError = PerThread<LastError>()
private let noError = OwnedString("")

@c @implementation
public func plp_last_error_message() -> UnsafePointer<CChar>? { (latestError.current?.message ?? noError).pointer }

@c @implementation
public func plp_last_error_number() -> Int32 { latestError.current?.number ?? 0 }

@c @implementation
public func plp_last_error_path() -> UnsafePointer<CChar>? { latestError.current?.path?.pointer }
