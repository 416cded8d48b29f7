// What saving does to what is there: links, modes, owners, what is no file, and what killed calls left. What concerns a
// whole process, its mask and its death, is in Tests/C/test.c, and folders that cannot be flushed.

import Foundation
import PLPBase
import PLPTestSupport
import Testing

@Suite struct ReplacementTests {
    private let folder: Folder
    private let path: String

    init() throws {
        folder = try Folder()
        path = folder.path + "/file"
    }

    private func write(_ text: String, to path: String) throws {
        try Files.replace(path) { (write) throws(Failure) in
            try Array(text.utf8).withUnsafeBufferPointer { (bytes) throws(Failure) in
                try write(UnsafeRawBufferPointer(bytes))
            }
        }
    }

    private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    private var names: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() }
    }

    private func status(_ path: String) -> stat {
        var status = stat()
        #expect(lstat(path, &status) == 0)
        return status
    }

    private func isLink(_ path: String) -> Bool { status(path).st_mode & S_IFMT == S_IFLNK }

    @Test func linksAreFollowed() throws {
        try write("old", to: path)
        try FileManager.default.createDirectory(atPath: folder.path + "/links", withIntermediateDirectories: false)
        #expect(symlink("../file", folder.path + "/links/relative") == 0)
        #expect(symlink(folder.path + "/links/relative", folder.path + "/links/twice") == 0)
        for (link, new) in [("links/relative", "new"), ("links/twice", "newer")] {
            try write(new, to: "\(folder.path)/\(link)")
            #expect(isLink("\(folder.path)/\(link)"))
            #expect(try text(path) == new)
        }
        #expect(try names == ["file", "links"])
    }

    @Test func linksToNothingCreateTheirTarget() throws {
        #expect(symlink("file", folder.path + "/link") == 0)
        try write("new", to: folder.path + "/link")
        #expect(isLink(folder.path + "/link"))
        #expect(try text(path) == "new")
        #expect(!isLink(path))
    }

    @Test func linksInACircleAreRefused() throws {
        #expect(symlink("b", folder.path + "/a") == 0)
        #expect(symlink("a", folder.path + "/b") == 0)
        expectFailure(.inputOutput, "\(folder.path)/a: Too many levels") { try write("", to: folder.path + "/a") }
        #expect(try names == ["a", "b"])
    }

    /// /dev/stdout is such a link, and its file may be deleted, or never have had a name.
    @Test func linksToOpenFilesWithoutANameAreRefused() throws {
        let file = open(path, O_RDWR | O_CREAT, 0o600)
        defer { close(file) }
        unlink(path)
        expectFailure(.notFound, "/proc/self/fd/\(file): found a link to", "which is not there") {
            try write("", to: "/proc/self/fd/\(file)")
        }
        #expect(try names == [])
    }

    @Test func whatIsNoFileIsRefusedBeforeAnythingHappens() throws {
        #expect(mkfifo(path + "-pipe", 0o600) == 0)
        #expect(mkdir(path + "-folder", 0o700) == 0)
        #expect(symlink("file-pipe", path + "-link") == 0)
        var places = [("pipe", "a named pipe"), ("folder", "a folder"), ("link", "a named pipe")]
        // The device of /dev/null, as one of our own; only root makes such.
        if mknod(path + "-device", S_IFCHR | 0o600, 1 << 8 | 3) == 0 { places.append(("device", "a device")) }
        let before = try names
        for (name, found) in places {
            let place = "\(path)-\(name)"
            let mode = status(place).st_mode
            expectFailure(.inputOutput, "\(place): found \(found), expected a regular file") {
                try Files.replace(place) { _ in Issue.record("the file was made") }
            }
            #expect(status(place).st_mode == mode)
        }
        #expect(try names == before)
    }

    @Test(arguments: [0o600, 0o640, 0o666, 0o755])
    func modesAreKept(mode: Int) throws {
        try write("old", to: path)
        #expect(chmod(path, mode_t(mode)) == 0)
        try write("new", to: path)
        #expect(status(path).st_mode & 0o7777 == mode_t(mode))
        #expect(try text(path) == "new")
    }

    @Test(.enabled(if: geteuid() == 0, "only root gives files away"))
    func ownersAreKept() throws {
        try write("old", to: path)
        #expect(chown(path, 12345, 23456) == 0)
        try write("new", to: path)
        #expect((status(path).st_uid, status(path).st_gid) == (12345, 23456))
    }

    /// Two calls at once, one within the other: both come to their end, and the last one's file stays.
    @Test func aCallLeavesWhatAnotherIsWriting() throws {
        try Files.replace(path) { (write) throws(Failure) in
            do { try self.write("inner", to: path) } catch { Issue.record(error) }
            #expect((try? text(path)) == "inner")
            try Array("outer".utf8).withUnsafeBufferPointer { (bytes) throws(Failure) in
                try write(UnsafeRawBufferPointer(bytes))
            }
        }
        #expect(try text(path) == "outer")
        #expect(try names == ["file"])
    }

    @Test func onlyAbandonedPartialFilesOfThePathAreRemoved() throws {
        let abandoned = "file.0123456789abcdef.partial"
        let others = [
            "file.0123456789abcde.partial", "file.draft.partial", "file.0123456789abcdef",
            "other.0123456789abcdef.partial", "file.best.0123456789abcdef.partial",
        ]
        for name in others + [abandoned, "file.ffffffffffffffff.partial"] { try folder.write(name, [1]) }
        let held = open(path + ".ffffffffffffffff.partial", O_RDONLY)
        defer { close(held) }
        #expect(flock(held, LOCK_EX) == 0)
        try write("new", to: path)
        #expect(try names == (others + ["file", "file.ffffffffffffffff.partial"]).sorted())
    }
}
