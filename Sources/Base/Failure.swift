// The one error that reaches a user: what kind it is, and a message that names the thing, what was found and what was
// expected. The C ABI turns the kind into a status and Python into an exception.

import Glibc

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
        /// Nothing was done, since the caller did not want to wait any longer.
        case interrupted
    }

    public let kind: Kind
    /// Fit for a terminal, whatever names and texts from files are in it: see `printable`.
    public let message: String
    /// What the system says where the kind is `notFound` or `inputOutput`, as its errno; else 0.
    public let errno: Int32
    /// The file or folder that this is about where errno is not 0: what the message begins with, before a colon,
    /// unless it had to be escaped there.
    public let path: String?

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = printable(message)
        errno = 0
        path = nil
    }

    /// A file or folder that is not there, or that cannot be read or written.
    ///
    /// - Parameter text: what happened, where that is not what the system says of `errno`.
    package init(errno: Int32, _ path: String, saying text: String) {
        kind = errno == ENOENT || errno == ENOTDIR ? .notFound : .inputOutput
        message = "\(printable(path, isOneLine: true)): \(printable(text))"
        self.errno = errno
        self.path = path
    }

    /// What the system says of a call on a file or folder. `attempt` says what was tried: "renaming failed".
    package init(errno: Int32, _ path: String, _ attempt: String? = nil) {
        let text = String(cString: strerror(errno))
        self.init(errno: errno, path, saying: attempt.map { "\($0): \(text)" } ?? text)
    }

    public var description: String { message }
}
