// Files that are whole or not there at all.

import Glibc

extension Files {
    /// Writes a file durably: beside its place first, flushed to the disk, then renamed into place, and the folder
    /// flushed. Whatever interrupts it, `path` holds the old file or the new one.
    ///
    /// - Parameter body: makes the file by calling `write` with all its bytes, part by part.
    /// - Throws: `Failure`; `path` holds the old file then, unless the message says that it holds the new one.
    package static func replace(
        _ path: String,
        _ body: (_ write: (_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Void) throws(Failure) -> Void
    ) throws(Failure) {
        func check(_ succeeded: Bool, _ what: String) throws(Failure) {
            guard succeeded else { throw Failure(errno: errno, path, what) }
        }
        // Opened first: where it cannot be, nothing has happened yet.
        let name = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        try check(folder >= 0, "opening its folder failed")
        defer { close(folder) }
        // A name that no other call has: neither one for the same path in another thread, nor one that was killed.
        let partial = "\(path).\(String(UInt64.random(in: 0...UInt64.max), radix: 36)).partial"
        let file = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        try check(file >= 0, "creating \(partial) failed")
        do {
            defer { close(file) }  // Once the file is flushed, this has nothing left to fail at.
            try body { (bytes) throws(Failure) in
                var written = 0
                while written < bytes.count {
                    let count = Glibc.write(file, bytes.baseAddress! + written, bytes.count - written)
                    if count < 0 && errno == EINTR { continue }
                    try check(count > 0, "writing failed")
                    written += count
                }
            }
            try check(fsync(file) == 0, "flushing to the disk failed")
            try check(rename(partial, path) == 0, "renaming failed")
        } catch {
            unlink(partial)
            throw error
        }
        try check(fsync(folder) == 0, "holds the new file, but flushing its folder to the disk failed")
    }
}
