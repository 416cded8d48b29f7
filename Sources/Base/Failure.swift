// The one error that reaches a user: what kind it is, and a message that names the thing, what was found and what was
// expected. The C ABI turns the kind into a status and Python into an exception.

public struct Failure: Error, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// A value out of its range, a wrong shape, an unknown name.
        case invalidArgument
        /// A file or folder that is not there.
        case notFound
        /// A file that cannot be read or written: permissions, a full disk.
        case inputOutput
        /// A file whose contents are not what its format promises.
        case corrupt
        /// The loss or a parameter is no longer finite.
        case notFinite
        /// More memory than the system gives.
        case outOfMemory
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }
}
