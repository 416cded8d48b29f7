// Memory is asked for before it is needed: where it does not suffice there is an error, and nothing has happened yet.

import Glibc

/// The machine's memory.
public enum Memory {
    /// Throws where `floats` values cannot fit the machine's memory, before anything is allocated.
    public static func require(floats: Int, for purpose: String) throws(Failure) {
        let available = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        let (bytes, overflow) = floats.multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
        guard !overflow, bytes <= available else {
            throw Failure(
                .outOfMemory,
                "\(purpose) would take \(Double(floats) * 4 / 1e9) GB, this machine has \(Double(available) / 1e9) GB")
        }
    }
}
