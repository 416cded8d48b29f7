// Files read, with errors that name the file. How they are written is in Replacement.swift.

import Glibc

/// A block of memory that is freed with its owner.
package final class Bytes {
    package let start: UnsafeMutablePointer<UInt8>
    package let count: Int

    package init(count: Int) throws(Failure) {
        try Memory.require(bytes: count, for: "a block of \(grouped(count)) bytes")
        guard let memory = malloc(max(count, 1)) else {
            throw Failure(.outOfMemory, "the system refused \(grouped(count)) bytes of memory")
        }
        start = memory.assumingMemoryBound(to: UInt8.self)
        self.count = count
    }

    deinit { free(start) }

    package var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }
    package var memory: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }

    package func copy(_ source: UnsafeRawBufferPointer) { memory.copyMemory(from: source) }
}

/// A regular file that is open for reading.
package final class OpenFile {
    package let path: String
    package let size: Int
    private let descriptor: Int32

    package init(_ path: String) throws(Failure) {
        // Without O_NONBLOCK, a named pipe would be waited for.
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Failure(errno: errno, path) }
        do throws(Failure) {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { throw Failure(errno: errno, path) }
            try Files.requireRegular(path, status)
            size = Int(status.st_size)
        } catch {
            close(descriptor)
            throw error
        }
        self.path = path
    }

    deinit { close(descriptor) }

    /// Fills memory with the file's bytes from a place on.
    package func read(from place: Int, into memory: UnsafeMutableRawBufferPointer) throws(Failure) {
        var done = 0
        while done < memory.count {
            let got = pread(descriptor, memory.baseAddress! + done, memory.count - done, off_t(place + done))
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw Failure(errno: errno, path) }
            guard got > 0 else {
                throw Failure(
                    errno: EIO, path,
                    saying: "ended after \(grouped(place + done)) of \(grouped(size)) bytes while it was read")
            }
            done += got
        }
    }
}

package enum Files {
    /// Reads a whole file.
    ///
    /// - Parameters:
    ///   - sizes: how many bytes it may have; looked at before anything is allocated.
    ///   - expected: the same in words, for the message.
    package static func read(_ path: String, sizes: ClosedRange<Int>, expected: String) throws(Failure) -> Bytes {
        let file = try OpenFile(path)
        guard sizes.contains(file.size) else {
            throw Failure(.corrupt, "\(path): found \(grouped(file.size)) bytes, expected \(expected)")
        }
        let bytes = try Bytes(count: file.size)
        try file.read(from: 0, into: bytes.memory)
        return bytes
    }

    /// Throws where what is at a path is a folder, a device or anything else that no file's bytes are in.
    static func requireRegular(_ path: String, _ status: stat) throws(Failure) {
        let type = status.st_mode & S_IFMT
        if type == S_IFREG { return }
        let (found, code) =
            switch type {
            case S_IFDIR: ("a folder", EISDIR)
            case S_IFIFO: ("a named pipe", EINVAL)
            case S_IFSOCK: ("a socket", EINVAL)
            default: ("a device", EINVAL)
            }
        throw Failure(errno: code, path, saying: "found \(found), expected a regular file")
    }

    /// Whether there is a file of that name; a folder is none. Throws where the system does not say.
    package static func exists(_ path: String) throws(Failure) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return status.st_mode & S_IFMT != S_IFDIR }
        let failure = Failure(errno: errno, path)
        guard failure.kind == .notFound else { throw failure }
        return false
    }

    /// The lines of a short text file that are not blank; nil where there is no such file.
    package static func lines(_ path: String, count: Int) throws(Failure) -> [String]? {
        guard try exists(path) else { return nil }
        let bytes = try read(path, sizes: 0...65_536, expected: "a list of \(count) names, at most 65,536")
        let lines = bytes.raw.split(whereSeparator: { $0 == 10 || $0 == 13 })
            .map { String(decoding: $0, as: UTF8.self) }
        guard lines.count == count else {
            throw Failure(.corrupt, "\(path): found \(lines.count) names, expected \(count)")
        }
        return lines
    }
}
