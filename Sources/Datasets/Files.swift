// What the data sets' folders hold beside their images.

import Glibc
import Kernels

extension Files {
    /// Whether there is a file of that name; a folder is none. Throws where the system does not say.
    static func exists(_ path: String) throws(Failure) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return status.st_mode & S_IFMT != S_IFDIR }
        let failure = Failure(errno: errno, path)
        guard failure.kind == .notFound else { throw failure }
        return false
    }

    /// The lines of a short text file that are not blank; nil where there is no such file.
    static func lines(_ path: String, count: Int) throws(Failure) -> [String]? {
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
