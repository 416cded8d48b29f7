// How many processors a process may keep busy, which is not how many the machine has: jobs on clusters, containers and
// `taskset` have their part of it.

import CLinux
import Glibc

package enum Processors {
    /// How many threads compute where a caller names no number, and why so many: a sentence's end.
    ///
    /// The first of these that says something:
    ///
    /// 1. `PLP_NUM_THREADS`;
    /// 2. `OMP_NUM_THREADS`, which Dask, joblib, torchrun and Slurm set for the workers that they start; of a list, as
    ///    OpenMP has it for loops within loops, the first number;
    /// 3. the least of the processors that this process may run on (`taskset`, a cluster's cpuset) and the quotas of
    ///    time of all control groups that it is in (a container's `--cpus`), of version 1 and 2, rounded down: threads
    ///    beyond a quota are all stopped together until its next period.
    ///
    /// At least one, and never more than there are processors that this process may run on. A variable that is empty
    /// counts as unset, and so, which the reason tells of, does one that is no whole number above 0.
    ///
    /// All of it can change while a process runs: this is how it is now.
    package static var forThreads: (count: Int, reason: String) {
        choose(allowed: allowed, groups: ControlGroups()) { name in getenv(name).map { String(cString: $0) } }
    }

    /// The same of what is passed in.
    package static func choose(
        allowed: Int, groups: ControlGroups, variable: (_ name: String) -> String?
    ) -> (count: Int, reason: String) {
        var (count, reason) = (allowed, "of the processors that this process may run on")
        if let quota = quota(groups), quota.processors < Double(allowed) {
            count = max(Int(quota.processors), 1)
            reason = "of a quota of \(text(quota.processors)) processors, control group \(quota.group)"
        }
        var ignored = ""
        for name in ["PLP_NUM_THREADS", "OMP_NUM_THREADS"] {
            guard let value = variable(name), !value.isEmpty else { continue }
            let first = value.split(separator: ",", omittingEmptySubsequences: false)[0]
            let digits = String(first.drop { $0 == " " }.prefix { $0 != " " })
            guard let number = Int(digits), number > 0 else {
                ignored += "; \(name)=\(value) is ignored, since that is no whole number above 0"
                continue
            }
            (count, reason) = (min(number, allowed), "of \(name)=\(value)")
            if number > allowed { reason += " and \(allowed) processors that this process may run on" }
            break
        }
        return (count, reason + ignored)
    }

    /// Those that the scheduler lets this thread run on.
    package static var allowed: Int {
        // The kernel refuses a mask that is shorter than its own, which has a bit for each processor there might be.
        for bytes in [128, 1024, 8192] {
            let count = withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 8) { mask in
                mask.prefix(max(affinity_mask(mask.baseAddress!, bytes), 0)).reduce(0) { $0 + $1.nonzeroBitCount }
            }
            if count > 0 { return count }
        }
        return max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1)
    }

    /// The least time of processors that a control group grants, in processors, and which one.
    private static func quota(_ groups: ControlGroups) -> (processors: Double, group: String)? {
        groups.groups(of: "cpu").compactMap { group in
            let (quota, period): (Int?, Int?)
            switch group.version {
            case .one: (quota, period) = (group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us"))
            case .two:  // "max 100000" where there is none
                let fields = group.text("cpu.max")?.split(separator: " ") ?? []
                (quota, period) = (fields.first.flatMap { Int($0) }, fields.dropFirst().first.flatMap { Int($0) })
            }
            guard let quota, let period, quota > 0, period > 0 else { return nil }
            return (Double(quota) / Double(period), group.name)
        }.min { $0.processors < $1.processors }
    }

    /// 1.5, or 2 without ".0".
    private static func text(_ number: Double) -> String { Int(exactly: number).map(String.init) ?? String(number) }
}
