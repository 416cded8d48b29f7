// Files that are whole or not there at all.

import Glibc

extension Files {
    /// Writes a file durably: beside its place first, flushed to the disk, then renamed into place, and the folder
    /// flushed. Whatever interrupts it, `path` holds the old file or the new one.
    ///
    /// Links are followed. A file that is replaced keeps its mode, owner and group, as far as the caller may give them;
    /// a new one has the mode that the process's mask leaves of 0666.
    ///
    /// - Parameter body: makes the file by calling `write` with all its bytes, part by part.
    /// - Throws: `Failure`; `path` holds the old file then, unless the message says that it holds the new one. Where the
    ///   file may not be written, or is no file but a folder or a device, before anything has happened.
    package static func replace(
        _ path: String,
        _ body: (_ write: (_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Void) throws(Failure) -> Void
    ) throws(Failure) {
        func check(_ succeeded: Bool, _ what: String) throws(Failure) {
            guard succeeded else { throw Failure(errno: errno, path, what) }
        }
        let (target, old) = try place(of: path)
        // Opened first: where it cannot be, nothing has happened yet.
        let (folderName, name) = parts(of: target)
        let folder = open(folderName.isEmpty ? "." : String(folderName), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        try check(folder >= 0, "opening its folder failed")
        defer { close(folder) }
        removeAbandoned(name, folder)
        let (file, partial) = try createPartial(path, target, mode: old == nil ? 0o666 : 0o600)
        do {
            // Unlocked by hand, since a process forked meanwhile holds what is locked too. Once the file is flushed,
            // closing it has nothing left to fail at.
            defer {
                flock(file, LOCK_UN)
                close(file)
            }
            if let old {
                // Who may not give a file away may still choose the group.
                if fchown(file, old.st_uid, old.st_gid) != 0 { _ = fchown(file, uid_t.max, old.st_gid) }
                fchmod(file, old.st_mode & 0o777)
            }
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
            try check(rename(partial, target) == 0, "renaming failed")
        } catch {
            unlink(partial)
            throw error
        }
        // Some file systems cannot flush a folder, and say EINVAL.
        try check(
            fsync(folder) == 0 || errno == EINVAL, "holds the new file, but flushing its folder to the disk failed")
    }

    /// Where a file's name leads when links are followed, to nothing yet perhaps, and what is there.
    ///
    /// - Throws: `Failure` where that is no file, or one that may not be written.
    private static func place(of path: String) throws(Failure) -> (target: String, old: stat?) {
        var old = stat()
        let exists = stat(path, &old) == 0
        guard exists || errno == ENOENT else { throw Failure(errno: errno, path) }
        if exists { try requireRegular(path, old) }
        var target = path
        var link = [UInt8](repeating: 0, count: Int(PATH_MAX))
        for _ in 0..<40 {  // as many as the system follows
            let length = readlink(target, &link, link.count)
            if length < 0 { break }
            guard let name = String(validating: link.prefix(length), as: UTF8.self) else {
                throw Failure(errno: EILSEQ, path, saying: "found a link to a name that is not UTF-8")
            }
            target = name.hasPrefix("/") ? name : parts(of: target).folder + name
        }
        guard exists else { return (target, nil) }
        // Links under /proc lead to what is open, which need not have a name.
        var found = stat()
        guard target == path || lstat(target, &found) == 0 && (found.st_dev, found.st_ino) == (old.st_dev, old.st_ino)
        else { throw Failure(errno: ENOENT, path, saying: "found a link to \(target), which is not there") }
        guard faccessat(AT_FDCWD, target, W_OK, AT_EACCESS) == 0 else { throw Failure(errno: errno, path) }
        return (target, old)
    }

    /// A path's folder, up to its last slash, and the name behind it.
    private static func parts(of path: String) -> (folder: Substring, name: Substring) {
        let start = path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex
        return (path[..<start], path[start...])
    }

    // MARK: - Partial files
    //
    // What is being written bears a name that no other call has, and a lock for as long as it is: so several calls at
    // once for one path each come to their end, and what a killed one left is known by its lock having gone with it.

    /// A partial file's name: its target's, 16 digits, and this.
    private static let suffix = ".partial"

    /// A new file beside `target`, locked.
    private static func createPartial(
        _ path: String, _ target: String, mode: mode_t
    ) throws(Failure) -> (file: Int32, name: String) {
        while true {
            let name = "\(target).\(String(UInt64.random(in: 1 << 60...UInt64.max), radix: 16))\(suffix)"
            let file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
            guard file >= 0 else { throw Failure(errno: errno, path, "creating \(name) failed") }
            // Before it was locked, another call may have taken it for abandoned. A file system without locks answers
            // with another error; there, nothing is ever taken for that.
            let isTaken = flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
            var status = stat()
            let isGone = lstat(name, &status) != 0 && errno == ENOENT
            if !isTaken && !isGone { return (file, name) }
            close(file)
        }
    }

    /// Removes the partial files of `target` in a folder that nobody holds: killed calls left them. What cannot be
    /// removed stays.
    private static func removeAbandoned(_ target: Substring, _ folder: Int32) {
        guard let listing = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) else { return }
        defer { closedir(listing) }
        while let entry = readdir(listing) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
            }
            guard name.hasPrefix("\(target)."), name.hasSuffix(suffix) else { continue }
            let digits = name.dropFirst(target.count + 1).dropLast(suffix.count)
            guard digits.count == 16, digits.allSatisfy(\.isHexDigit) else { continue }
            let file = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
            guard file >= 0 else { continue }
            if flock(file, LOCK_EX | LOCK_NB) == 0 { unlinkat(folder, name, 0) }
            close(file)
        }
    }
}
