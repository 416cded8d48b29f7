// Linux's control groups, by which containers and clusters divide a machine: those this process is in, and what they
// allow it. https://docs.kernel.org/admin-guide/cgroup-v1 and https://docs.kernel.org/admin-guide/cgroup-v2.html

import Glibc

/// The groups that a process is in. Each bounds all within it, so that all the way up counts.
package struct ControlGroups {
    package enum Version { case one, two }

    package struct Group {
        package let version: Version
        /// Its name in messages: the path within its hierarchy, as far as this process sees it.
        package let name: String
        fileprivate let folder: String

        /// What one of its files says, without the newline at its end.
        package func text(_ file: String) -> String? {
            Files.systemText("\(folder)/\(file)").map { String($0.prefix { $0 != "\n" }) }
        }

        /// The number in one of its files; nil where there is none, as where it says "max".
        package func number(_ file: String) -> Int? { text(file).flatMap { Int($0) } }

        /// The number behind a key in one of its files, such as memory.stat.
        package func number(_ file: String, key: String) -> Int? {
            guard let text = Files.systemText("\(folder)/\(file)") else { return nil }
            return text.split(separator: "\n").first { $0.hasPrefix("\(key) ") }
                .flatMap { Int($0.dropFirst(key.count + 1)) }
        }
    }

    private let root: String
    /// Of each hierarchy the controllers, none for version two, and the path of this process's group.
    private let memberships: [(controllers: [Substring], path: Substring)]
    private let mounts: [Mount]

    private struct Mount {
        let type: Substring
        let controllers: [Substring]
        /// The path of the group that lies at `place`.
        let path: String
        let place: String

        /// A line of mountinfo: "31 23 0:28 /path /place rw,relatime shared:1 - cgroup cgroup rw,cpu".
        init?(_ line: Substring) {
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else { return nil }
            type = fields[dash + 1]
            guard type == "cgroup" || type == "cgroup2" else { return nil }
            controllers = fields[dash + 3].split(separator: ",")
            path = Mount.unescaped(fields[3])
            place = Mount.unescaped(fields[4])
        }

        /// Blanks and backslashes are written as three octal digits.
        private static func unescaped(_ field: Substring) -> String {
            var text = String(field)
            for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
                text = text.split(separator: code, omittingEmptySubsequences: false).joined(separator: character)
            }
            return text
        }
    }

    /// - Parameter root: where /proc and /sys are; tests have folders that look like these.
    package init(root: String = "") {
        self.root = root
        memberships = (Files.systemText("\(root)/proc/self/cgroup") ?? "").split(separator: "\n").compactMap { line in
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            return fields.count == 3 ? (fields[1].split(separator: ","), fields[2]) : nil
        }
        mounts = (Files.systemText("\(root)/proc/self/mountinfo") ?? "").split(separator: "\n").compactMap(Mount.init)
    }

    /// The groups of both versions that a controller may bound this process by, each hierarchy's innermost first.
    package func groups(of controller: String) -> [Group] {
        memberships.flatMap { membership -> [Group] in
            let version: Version = membership.controllers.isEmpty ? .two : .one
            guard version == .two || membership.controllers.contains(Substring(controller)) else { return [] }
            let mounts = mounts.filter {
                version == .two
                    ? $0.type == "cgroup2" : $0.type == "cgroup" && $0.controllers.contains { $0 == controller }
            }
            // Where the hierarchy is not seen from its top, as in a container that shares its host's names of groups.
            let path = String(membership.path)
            guard let mount = mounts.first(where: { Self.rest(of: path, below: $0.path) != nil }) ?? mounts.first
            else { return [] }
            var names = (Self.rest(of: path, below: mount.path) ?? "").split(separator: "/")
            // A group outside of what this process sees: what it sees from the top down bounds it all the same.
            if names.contains("..") { names = [] }
            return (0...names.count).reversed().map { depth in
                let below = names.prefix(depth).map { "/\($0)" }.joined()
                let name = (mount.path == "/" ? "" : mount.path) + below
                return Group(version: version, name: name.isEmpty ? "/" : name, folder: root + mount.place + below)
            }
        }
    }

    /// "/b" of "/a/b" below "/a"; nil where it does not lie there.
    private static func rest(of path: String, below top: String) -> String? {
        if top == "/" { return path }
        guard path == top || path.hasPrefix(top + "/") else { return nil }
        return String(path.dropFirst(top.count))
    }
}

extension Files {
    /// The text of a file that the kernel makes up as it is read; nil where it cannot be read.
    package static func systemText(_ path: String) -> String? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = Glibc.read(file, &part, part.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += part[..<count]
        }
    }
}
