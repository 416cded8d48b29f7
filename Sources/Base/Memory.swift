// Memory is asked for before it is needed: where it does not suffice there is an error, and nothing has happened yet.
// What Swift allocates itself (arrays, strings, objects) ends the process where the system refuses it. So whoever makes
// an array that data or options can make large asks here first; `FloatBuffer` and `Bytes` do so themselves.

import Glibc

/// The memory that this process may still take.
public enum Memory {
    /// Throws where `floats` more values do not fit: see ``require(bytes:for:)``.
    public static func require(floats: Int, for purpose: String) throws(Failure) {
        let (bytes, overflow) = floats.multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
        try require(bytes: overflow ? Int.max : bytes, for: purpose)
    }

    /// Throws where `bytes` more do not fit into what the machine has left, swap space included, into what one of the
    /// control groups leaves that this process is in, swap space not included, or into the process's limits of address
    /// space and data (`ulimit -v` and `-d`), of which a little is kept for all that is not asked for.
    ///
    /// Less than a megabyte need not be asked for.
    public static func require(bytes: Int, for purpose: String) throws(Failure) {
        guard bytes >= 1 << 20 else { return }
        let bounds = bounds()
        // Finding out what is untouched takes a while, and is nearly always needless.
        let most = Fork.postponed { untouched.withLock { $0.values.reduce(0, +) } }
        guard let tight = bounds.first(where: { bytes > $0.left - ($0.countsTouched ? most : 0) }) else { return }
        let promised = tight.countsTouched ? untouchedBytes() : 0
        for bound in bounds {
            let left = max(bound.left - (bound.countsTouched ? promised : 0), 0)
            guard bytes > left else { continue }
            throw Failure(.outOfMemory, "\(purpose) would take \(megabytes(bytes)), \(bound.name) \(megabytes(left))")
        }
    }

    /// Whether the process has limits of its own.
    package static var isLimited: Bool { bounds().contains { !$0.countsTouched } }

    // MARK: - Bounds

    package struct Bound {
        /// As a message says it: "this machine has".
        package let name: String
        package let left: Int
        /// Whether it counts memory that was touched, not all that was given.
        package let countsTouched: Bool
    }

    /// Kept for what is not asked for, where that would be refused.
    private static let reserve = 48 << 20

    /// - Parameter root: where /proc and /sys are; tests have folders that look like these.
    package static func bounds(root: String = "") -> [Bound] {
        var bounds: [Bound] = []
        if let available = number("\(root)/proc/meminfo", "MemAvailable:") {
            let swap = number("\(root)/proc/meminfo", "SwapFree:") ?? 0
            bounds.append(Bound(name: "this machine has left", left: (available + swap) << 10, countsTouched: true))
        }
        for group in ControlGroups(root: root).groups(of: "memory") {
            let isOne = group.version == .one
            guard let limit = group.number(isOne ? "memory.limit_in_bytes" : "memory.max"), limit < 1 << 60,
                let used = group.number(isOne ? "memory.usage_in_bytes" : "memory.current")
            else { continue }
            // Copies of files are given up for whoever needs memory.
            let files = ["inactive_file", "active_file"].reduce(0) {
                $0 + (group.number("memory.stat", key: isOne ? "total_\($1)" : $1) ?? 0)
            }
            bounds.append(
                Bound(
                    name: "control group \(group.name) leaves", left: limit - max(used - files, 0), countsTouched: true)
            )
        }
        for (limit, size, option) in [("Max address space", "VmSize:", "v"), ("Max data size", "VmData:", "d")] {
            guard let limit = number("\(root)/proc/self/limits", limit),
                let used = number("\(root)/proc/self/status", size)
            else { continue }
            bounds.append(
                Bound(
                    name: "its limit (ulimit -\(option)) leaves the process", left: limit - (used << 10) - reserve,
                    countsTouched: false))
        }
        return bounds
    }

    /// The number behind the key, of "MemAvailable:   16302444 kB" or "Max address space   536870912   unlimited   bytes".
    private static func number(_ path: String, _ key: String) -> Int? {
        let line = Files.systemText(path)?.split(separator: "\n").first { $0.hasPrefix(key) }
        return line?.dropFirst(key.count).split { $0 == " " || $0 == "\t" }.first.flatMap { Int($0) }
    }

    private static func megabytes(_ bytes: Int) -> String { "\(grouped(bytes / 1_000_000)) MB" }

    // MARK: - Untouched memory

    /// Memory that was given but may be untouched, so that nobody counts it yet: its places and sizes in bytes.
    private static let untouched = Lock<[UInt: Int]>([:])

    /// Fresh pages. They count from now on, whether touched or not, until they are `givenBack`.
    package static func given(_ pages: UnsafeMutableRawPointer, bytes: Int) {
        Fork.postponed { untouched.withLock { $0[UInt(bitPattern: pages)] = bytes } }
    }

    package static func givenBack(_ pages: UnsafeMutableRawPointer) {
        _ = Fork.postponed { untouched.withLock { $0.removeValue(forKey: UInt(bitPattern: pages)) } }
    }

    private static func untouchedBytes() -> Int {
        let page = sysconf(Int32(_SC_PAGESIZE))
        let part = 4096
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: part) { isTouched in
            // Under the lock, since nothing may be unmapped meanwhile.
            Fork.postponed {
                untouched.withLock { given in
                    var pages = 0
                    for (address, bytes) in given {
                        let count = (bytes + page - 1) / page
                        for first in stride(from: 0, to: count, by: part) {
                            let some = min(part, count - first)
                            guard let start = UnsafeMutableRawPointer(bitPattern: address + UInt(first * page)),
                                mincore(start, some * page, isTouched.baseAddress!) == 0
                            else { continue }
                            pages += isTouched.prefix(some).count { $0 & 1 == 0 }
                        }
                    }
                    return pages * page
                }
            }
        }
    }
}
