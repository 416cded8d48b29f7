// The file format: round trips, hostile files, durable writing.

import Foundation
import PLPBase
import PLPKernels
import PLPNetworks
import PLPTestSupport
import Synchronization
import Testing

@Suite struct SafetensorsTests {
    private static func file(_ header: String, body: Int = 0, length: UInt64? = nil) -> Data {
        var data = withUnsafeBytes(of: (length ?? UInt64(header.utf8.count)).littleEndian) { Data($0) }
        data.append(Data(header.utf8))
        data.append(Data(count: body))
        return data
    }

    @Test func roundTrip() throws {
        let file = Safetensors(
            tensors: [
                .init(name: "a", shape: [2, 2], values: .float32([1, -2, .infinity, 4])),
                .init(name: "b", shape: [], values: .int64([-7])),
                .init(name: "empty", shape: [0, 3], values: .float32([])),
                .init(name: "after", shape: [1], values: .float32([5])),
            ], metadata: ["key": "vålue \"quoted\""])
        let folder = try Folder()
        let path = folder.path + "/file"
        try file.write(to: path)
        let read = try Safetensors(path: path)
        #expect(read.tensors == file.tensors)
        #expect(read.metadata == file.metadata)
    }

    @Test(arguments: [
        ("empty", Data()),
        ("shorter than its length", Data([1, 2, 3])),
        ("a length beyond the file", file("{}", length: 1 << 40)),
        ("a length beyond all bounds", file("{}", length: .max)),
        ("no JSON", file("hello")),
        ("a list", file("[]")),
        ("no offsets", file(#"{"a":{"dtype":"F32","shape":[1]}}"#, body: 4)),
        ("one offset", file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, body: 4)),
        ("offsets beyond the file", file(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, body: 4)),
        ("negative offsets", file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, body: 4)),
        (
            "offsets that do not fit the shape",
            file(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, body: 4)
        ),
        ("a negative extent", file(#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, body: 4)),
        (
            "a product beyond 64 bits",
            file(#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#)
        ),
        ("an unknown type", file(#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#, body: 4)),
        (
            "overlapping tensors",
            file(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                body: 4)
        ),
        ("an empty tensor with a byte", file(#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,1]}}"#, body: 1)),
        ("a hole", file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, body: 8)),
        ("bytes left over", file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, body: 8)),
        ("metadata that is no text", file(#"{"__metadata__":{"a":1}}"#)),
    ])
    func hostile(what: String, data: Data) throws {
        let folder = try Folder()
        try data.write(to: URL(filePath: folder.path + "/file"))
        #expect("\(what)") { try Safetensors(path: folder.path + "/file") } throws: {
            ($0 as? Failure)?.kind == .corrupt && ($0 as? Failure)?.message.hasPrefix("\(folder.path)/file: ") == true
        }
    }

    /// What is refused before it costs time or memory, and what messages quote of it.
    @Test func headersAreBounded() throws {
        let folder = try Folder()
        let path = folder.path + "/file"
        func expect(_ words: String..., header: String, body: Int = 0) throws {
            try Self.file(header, body: body).write(to: URL(filePath: path))
            do {
                _ = try Safetensors(path: path)
                Issue.record("no failure, expected \(words)")
            } catch {
                #expect(error.kind == .corrupt)
                for word in words { #expect(error.message.contains(word), "\(error)") }
                #expect(error.message.utf8.count < path.utf8.count + 500)
                #expect(!error.message.contains { $0.isNewline || $0 == "\u{1b}" })
            }
        }
        func zeros(_ count: Int) -> String { "[\([String](repeating: "0", count: count).joined(separator: ","))]" }
        func place(_ name: String, shape: String = "[0]", type: String = "F32", offsets: String = "[0,0]") -> String {
            #""\#(name)":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":\#(offsets)}"#
        }
        func many(_ count: Int) -> String { (0..<count).map { place("t\($0)") }.joined(separator: ",") }

        try expect("more than 150,000 values", header: "{\(place("a", shape: zeros(1_000_000)))}")
        try expect("more than 150,000 values", header: "{\(many(200_000))}")
        try expect("more than 150,000 values", header: String(repeating: "[", count: 1_000_000))
        try expect("found tensor a of 9 dimensions", header: "{\(place("a", shape: zeros(9)))}")
        try expect("of 100000 dimensions", header: "{\(place("a", shape: zeros(100_000)))}")
        try expect("at [0, 0, 0, 0", "…", header: "{\(place("a", offsets: zeros(100_000)))}")
        try expect("header of 16777217 bytes announced", header: String(repeating: " ", count: 1 << 24 + 1))
        let name = #"\u001b[31m\n"# + String(repeating: "x", count: 1_000_000)
        try expect(#"found tensor \u{1B}[31m\nxxx"#, "…", header: "{\(place(name, type: "F16"))}")
        try expect(#"of type \u{1B}[31m\nxxx"#, "…", header: "{\(place("a", type: name))}")
        try expect(#"found tensor \u{1B}[31m\nxxx"#, "…", header: "{\(place(name, offsets: "[4,4]"))}", body: 4)
        try expect("not the expected JSON: a value of another type found in \\u{1B}", header: #"{"\#(name)":1}"#)

        // As many as a file may need, strings that look like more included.
        try Self.file("{\(many(10_000))}").write(to: URL(filePath: path))
        #expect(try Safetensors(path: path).tensors.count == 10_000)
        let text = String(repeating: "[,:{\\\"", count: 100_000)
        let quoted = try JSONEncoder().encode(["__metadata__": ["text": text]])
        try Self.file(String(decoding: quoted, as: UTF8.self)).write(to: URL(filePath: path))
        #expect(try Safetensors(path: path).metadata == ["text": text])
    }

    @Test func modelsGoThroughFiles() throws {
        let folder = try Folder()
        let path = folder.path + "/model.safetensors"
        let model = try Model(ModelConfiguration(.googlenet, classes: 10, width: 0.1, dropout: 0.2, seed: 5))
        try model.save(to: path)
        try model.save(to: path)  // replaces
        let read = try Model(path: path)
        #expect(read.configuration == model.configuration)
        #expect(read.parameters.array == model.parameters.array)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["model.safetensors"])
    }

    @Test func filesThatAreNotThere() throws {
        #expect { try Model(path: "/nonexistent/model") } throws: { ($0 as? Failure)?.kind == .notFound }
        #expect { try Safetensors(tensors: []).write(to: "/nonexistent/model") } throws: {
            ($0 as? Failure)?.kind == .notFound
        }
        #expect { try Model(path: "/") } throws: { ($0 as? Failure)?.kind == .inputOutput }
    }

    /// Each call has a file of its own until it is whole: what is there at last, and at any time, is one of theirs.
    @Test func threadsMayWriteToOnePath() throws {
        let folder = try Folder()
        let path = folder.path + "/file"
        func file(_ number: Int) -> Safetensors {
            Safetensors(
                tensors: (10..<26).map {
                    let values = [Float](repeating: Float(number), count: (number + 1) * 4096)
                    return .init(name: "\($0)", shape: [values.count], values: .float32(values))
                })
        }
        let files = (0..<4).map(file)
        let failures = Mutex<[String]>([])
        Threads(4, processors: 4).forEach(4 * 32) { index in
            do {
                try files[index % 4].write(to: path)
                let found = try Safetensors(path: path).tensors
                if !files.contains(where: { $0.tensors == found }) { failures.withLock { $0.append("mixed up") } }
            } catch { failures.withLock { $0.append("\(error)") } }
        }
        #expect(failures.withLock { $0 } == [])
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["file"])
    }

    /// A few hundred bytes that name a network of 18 GB.
    @Test func tinyFilesOfLargeNetworksAreCorrupt() throws {
        let folder = try Folder()
        let path = folder.path + "/model"
        let configuration = ModelConfiguration(.vgg16, classes: 100_000, width: 8)
        try Safetensors(tensors: [], metadata: ["plp.configuration": json(configuration)]).write(to: path)
        /// The most memory this process has had, in bytes.
        func peak() -> Int {
            var usage = rusage()
            getrusage(RUSAGE_SELF.rawValue, &usage)
            return usage.ru_maxrss * 1024
        }
        let before = peak()
        expectFailure(.corrupt, "\(path): tensor features.0.weight is missing") { try Model(path: path) }
        #expect(peak() - before < 4 << 30)
    }

    @Test func truncatedModelsAreCorrupt() throws {
        let folder = try Folder()
        let path = folder.path + "/model"
        try Model(ModelConfiguration(.resnet18, width: 0.05)).save(to: path)
        let whole = try Data(contentsOf: URL(filePath: path))
        for count in [0, 7, 100, whole.count / 2, whole.count - 1] {
            try whole.prefix(count).write(to: URL(filePath: path))
            #expect { try Model(path: path) } throws: { ($0 as? Failure)?.kind == .corrupt }
        }
    }
}
