import PLPBase
import Testing

@Suite struct MemoryTests {
    private let none = (groups: "0::/\n", mounts: unified)

    private func left(_ system: FakeSystem) -> [String: Int] {
        Dictionary(Memory.bounds(root: system.root).map { ($0.name, $0.left) }) { min($0, $1) }
    }

    @Test func whatTheMachineHasLeft() throws {
        let system = try FakeSystem(
            groups: none.groups, mounts: none.mounts,
            files: ["proc/meminfo": "MemTotal:  24000 kB\nMemAvailable:   16000 kB\nSwapFree:  500 kB"])
        #expect(left(system) == ["this machine has left": 16_500 << 10])
    }

    /// Every group on the path counts, less what is used in it, but for copies of files.
    @Test func whatGroupsOfVersionTwoLeave() throws {
        let top = "sys/fs/cgroup/jobs"
        let system = try FakeSystem(
            groups: "0::/jobs/17\n", mounts: unified,
            files: [
                "\(top)/memory.max": "8000000", "\(top)/memory.current": "7000000",
                "\(top)/memory.stat": "anon 5000000\ninactive_file 500000\nactive_file 1000000\nfile 1600000",
                "\(top)/17/memory.max": "max", "\(top)/17/memory.current": "100",
            ])
        #expect(left(system) == ["control group /jobs leaves": 2_500_000])
    }

    @Test func whatGroupsOfVersionOneLeave() throws {
        let folder = "sys/fs/cgroup/memory"
        let system = try FakeSystem(
            groups: "4:memory:/job\n", mounts: ["/ /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"],
            files: [
                "\(folder)/memory.limit_in_bytes": "9223372036854771712", "\(folder)/memory.usage_in_bytes": "77",
                "\(folder)/job/memory.limit_in_bytes": "3000000", "\(folder)/job/memory.usage_in_bytes": "2000000",
                "\(folder)/job/memory.stat": "inactive_file 1\ntotal_inactive_file 300000\ntotal_active_file 200000",
            ])
        #expect(left(system) == ["control group /job leaves": 1_500_000])
    }

    @Test func whatLimitsOfTheProcessLeave() throws {
        let system = try FakeSystem(
            groups: none.groups, mounts: none.mounts,
            files: [
                "proc/self/limits": """
                Limit                     Soft Limit           Hard Limit           Units
                Max data size             unlimited            unlimited            bytes
                Max address space         536870912            unlimited            bytes
                """,
                "proc/self/status": "VmSize:\t  100000 kB\nVmData:\t  50000 kB",
            ])
        let bounds = Memory.bounds(root: system.root)
        #expect(bounds.map(\.name) == ["its limit (ulimit -v) leaves the process"])
        #expect(bounds[0].left < 536_870_912 - 100_000 << 10 && !bounds[0].countsTouched)
    }

    @Test func refusesWhatNoMachineHas() {
        #expect(throws: Failure.self) { try Memory.require(floats: .max, for: "all") }
        #expect(throws: Failure.self) { try Memory.require(bytes: 1 << 60, for: "much") }
        #expect(throws: Never.self) { try Memory.require(bytes: 2 << 20, for: "little") }
    }
}
