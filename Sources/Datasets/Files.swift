// Whole files in memory, with errors that name the file.

import Glibc
import Kernels

/// A block of memory that is freed with its owner.
final class Bytes {
    let start: UnsafeMutablePointer<UInt8>
    let count: Int

    init(count: Int) throws(Failure) {
        guard let memory = malloc(max(count, 1)) else {
            throw Failure(.outOfMemory, "no memory for \(grouped(count)) bytes of images")
        }
        start = memory.assumingMemoryBound(to: UInt8.self)
        self.count = count
    }

    deinit { free(start) }

    var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

    func copy(_ source: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(start: start, count: count).copyMemory(from: source)
    }
}

enum Files {
    /// Whether there is a file of that name; a folder is none.
    static func exists(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFDIR
    }

    /// Reads a whole file.
    ///
    /// - Parameters:
    ///   - sizes: how many bytes it may have; looked at before anything is allocated.
    ///   - expected: the same in words, for the message.
    static func read(_ path: String, sizes: ClosedRange<Int>, expected: String) throws(Failure) -> Bytes {
        // Without O_NONBLOCK, a named pipe would be waited for.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw failure(path, errno) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw failure(path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw Failure(.inputOutput, "\(path): not a regular file")
        }
        let size = Int(status.st_size)
        guard sizes.contains(size) else {
            throw Failure(.corrupt, "\(path): found \(grouped(size)) bytes, expected \(expected)")
        }
        let bytes = try Bytes(count: size)
        var done = 0
        while done < size {
            let got = Glibc.read(file, bytes.start + done, size - done)
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw failure(path, errno) }
            guard got > 0 else {
                throw Failure(
                    .inputOutput, "\(path): ended after \(grouped(done)) of \(grouped(size)) bytes while it was read")
            }
            done += got
        }
        return bytes
    }

    /// The lines of a short text file that are not blank; nil where there is no such file.
    static func lines(_ path: String, count: Int) throws(Failure) -> [String]? {
        guard exists(path) else { return nil }
        let bytes = try read(path, sizes: 0...65_536, expected: "a list of \(count) names, at most 65,536")
        let lines = bytes.raw.split(whereSeparator: { $0 == 10 || $0 == 13 })
            .map { String(decoding: $0, as: UTF8.self) }
        guard lines.count == count else {
            throw Failure(.corrupt, "\(path): found \(lines.count) names, expected \(count)")
        }
        return lines
    }

    private static func failure(_ path: String, _ code: Int32) -> Failure {
        let missing = code == ENOENT || code == ENOTDIR
        return Failure(missing ? .notFound : .inputOutput, "\(path): \(String(cString: strerror(code)))")
    }
}
