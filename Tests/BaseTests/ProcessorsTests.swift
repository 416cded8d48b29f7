import PLPBase
import PLPTestSupport
import Testing

/// Folders that look like /proc and /sys, for as long as this lives.
final class FakeSystem {
    private let folder: Folder

    init(groups: String, mounts: [String], files: [String: String] = [:]) throws {
        folder = try Folder()
        try folder.write("proc/self/cgroup", Array(groups.utf8))
        let mountinfo = mounts.enumerated().map { "\($0 + 30) 29 0:\($0 + 20) \($1)\n" }.joined()
        try folder.write("proc/self/mountinfo", Array(mountinfo.utf8))
        for (name, text) in files { try folder.write(name, Array("\(text)\n".utf8)) }
    }

    var controlGroups: ControlGroups { ControlGroups(root: folder.path) }
    var root: String { folder.path }
}

let unified = ["/ /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"]

@Suite struct ProcessorsTests {
    private func threads(
        _ allowed: Int, _ system: FakeSystem? = nil, _ variables: [String: String] = [:]
    ) throws -> (count: Int, reason: String) {
        let system = try system ?? FakeSystem(groups: "0::/\n", mounts: unified)
        return Processors.choose(allowed: allowed, groups: system.controlGroups) { variables[$0] }
    }

    @Test func withoutBoundsAllThatTheProcessMayRunOn() throws {
        #expect(try threads(3).count == 3)
        #expect(try threads(3).reason == "of the processors that this process may run on")
        #expect(Processors.allowed >= 1)
    }

    /// The tightest group on the whole path counts, and what it grants is rounded down, to 1 at least.
    @Test(arguments: [
        (["max 100000", "max 100000", "max 100000"], 16), (["250000 100000", "max 100000", "max 100000"], 2),
        (["800000 100000", "350000 100000", "max 100000"], 3), (["800000 100000", "350000 50000", "600000 100000"], 6),
        (["50000 100000", "max 100000", "max 100000"], 1), (["6400000 100000", "max", "nonsense"], 16),
    ])
    func quotasOfVersionTwo(quotas: [String], expected: Int) throws {
        let system = try FakeSystem(
            groups: "0::/jobs/17/step\n", mounts: unified,
            files: [
                "sys/fs/cgroup/jobs/cpu.max": quotas[2], "sys/fs/cgroup/jobs/17/cpu.max": quotas[1],
                "sys/fs/cgroup/jobs/17/step/cpu.max": quotas[0],
            ])
        #expect(try threads(16, system).count == expected)
    }

    @Test(arguments: [(-1, -1, 8), (150_000, -1, 1), (-1, 400_000, 4), (600_000, 200_000, 2)])
    func quotasOfVersionOne(inner: Int, outer: Int, expected: Int) throws {
        let folder = "sys/fs/cgroup/cpu,cpuacct/slurm"
        let system = try FakeSystem(
            groups: "5:memory:/other\n4:cpu,cpuacct:/slurm/job\n3:cpuset:/slurm\n0::/\n",
            mounts: [
                "/ /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset",
                "/ /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct",
                "/ /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
            ],
            files: [
                "\(folder)/cpu.cfs_quota_us": "\(outer)", "\(folder)/cpu.cfs_period_us": "100000",
                "\(folder)/job/cpu.cfs_quota_us": "\(inner)", "\(folder)/job/cpu.cfs_period_us": "100000",
            ])
        #expect(try threads(8, system).count == expected)
    }

    /// A container that sees its own group where its host's top would be; one whose group is outside of what it sees;
    /// one mounted at a place with a blank.
    @Test(arguments: [
        ("/docker/ab", "/docker/ab", "/sys/fs/cgroup", "sys/fs/cgroup"),
        ("/", "/", "/sys/fs/cgroup", "sys/fs/cgroup"),
        ("/../other", "/", "/sys/fs/cgroup", "sys/fs/cgroup"),
        ("/elsewhere", "/docker/ab", "/sys/fs/cgroup", "sys/fs/cgroup"),
        ("/a b", "/", "/my\\040groups", "my groups/a b"),
    ])
    func groupsAsContainersSeeThem(path: String, root: String, place: String, folder: String) throws {
        let system = try FakeSystem(
            groups: "0::\(path)\n", mounts: ["\(root) \(place) rw - cgroup2 cgroup2 rw"],
            files: ["\(folder)/cpu.max": "200000 100000"])
        #expect(try threads(64, system).count == 2)
    }

    @Test func theReasonNamesTheGroup() throws {
        let system = try FakeSystem(
            groups: "0::/jobs/17\n", mounts: unified, files: ["sys/fs/cgroup/jobs/cpu.max": "150000 100000"])
        #expect(try threads(4, system) == (1, "of a quota of 1.5 processors, control group /jobs"))
    }

    @Test(arguments: [
        (["PLP_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"], 3, "of PLP_NUM_THREADS=3"),
        (["OMP_NUM_THREADS": "2"], 2, "of OMP_NUM_THREADS=2"),
        (["OMP_NUM_THREADS": " 3 ,2,1"], 3, "of OMP_NUM_THREADS= 3 ,2,1"),
        (["PLP_NUM_THREADS": "", "OMP_NUM_THREADS": "4"], 4, "of OMP_NUM_THREADS=4"),
        (["PLP_NUM_THREADS": "9"], 6, "of PLP_NUM_THREADS=9 and 6 processors that this process may run on"),
        (
            ["PLP_NUM_THREADS": "many", "OMP_NUM_THREADS": "4"], 4,
            "of OMP_NUM_THREADS=4; PLP_NUM_THREADS=many is ignored, since that is no whole number above 0"
        ),
    ])
    func variablesComeFirst(variables: [String: String], count: Int, reason: String) throws {
        let system = try FakeSystem(
            groups: "0::/\n", mounts: unified, files: ["sys/fs/cgroup/cpu.max": "100000 100000"])
        #expect(try threads(6, system, variables) == (count, reason))
    }

    @Test(arguments: ["0", "-2", "2.5", "two", ",3", "99999999999999999999", "0x2"])
    func valuesThatAreNoNumbersAreIgnoredAndTold(value: String) throws {
        for name in ["PLP_NUM_THREADS", "OMP_NUM_THREADS"] {
            let (count, reason) = try threads(5, nil, [name: value])
            #expect(count == 5 && reason.contains("; \(name)=\(value) is ignored"))
        }
    }

    @Test func aSystemWithoutControlGroups() {
        #expect(ControlGroups(root: "/nowhere").groups(of: "cpu").isEmpty)
    }
}
