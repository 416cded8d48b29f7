// The safetensors format (github.com/huggingface/safetensors): 8 bytes, the length of a JSON header; the header, which
// gives each tensor's type, shape and place; then the tensors. Written so that a file is whole or not there at all.

import FoundationEssentials
import Glibc
import Kernels

/// Reading and writing safetensors files of float32 and int64 tensors.
public struct Safetensors {
    /// A tensor's values: float32, or int64 for counters.
    public enum Values: Equatable, Sendable {
        case float32([Float])
        case int64([Int64])

        public var count: Int {
            switch self {
            case .float32(let values): values.count
            case .int64(let values): values.count
            }
        }

        /// The format's name of the type, and the bytes of a value.
        var type: (name: String, size: Int) {
            switch self {
            case .float32: ("F32", 4)
            case .int64: ("I64", 8)
            }
        }
    }

    public struct Tensor: Equatable, Sendable {
        public var name: String
        public var shape: [Int]
        public var values: Values

        public init(name: String, shape: [Int], values: Values) {
            self.name = name
            self.shape = shape
            self.values = values
        }
    }

    /// In the file's order when read: by place.
    public var tensors: [Tensor]
    public var metadata: [String: String]

    public init(tensors: [Tensor], metadata: [String: String] = [:]) {
        self.tensors = tensors
        self.metadata = metadata
    }

    // MARK: - Format

    private struct Place: Codable {
        var dtype: String
        var shape: [Int]
        var data_offsets: [Int]
    }

    /// A header's value: a tensor's place, or the metadata under `__metadata__`.
    private enum Item: Codable {
        case place(Place)
        case metadata([String: String])

        init(from decoder: any Decoder) throws {
            if decoder.codingPath.last?.stringValue == "__metadata__" {
                self = .metadata(try [String: String](from: decoder))
            } else {
                self = .place(try Place(from: decoder))
            }
        }

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .place(let place): try place.encode(to: encoder)
            case .metadata(let metadata): try metadata.encode(to: encoder)
            }
        }
    }

    /// The longest header read, as in the reference implementation.
    private static let longestHeader = 100_000_000

    /// The file's bytes.
    public func encoded() throws(Failure) -> Data {
        var header: [String: Item] = metadata.isEmpty ? [:] : ["__metadata__": .metadata(metadata)]
        var end = 0
        for tensor in tensors {
            let begin = end
            end += tensor.values.count * tensor.values.type.size
            header[tensor.name] = .place(
                Place(dtype: tensor.values.type.name, shape: tensor.shape, data_offsets: [begin, end]))
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        var json: Data
        do { json = try encoder.encode(header) } catch {
            throw Failure(.invalidArgument, "safetensors header: \(error)")
        }
        json.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - json.count % 8) % 8))
        var data = Data(capacity: 8 + json.count + end)
        withUnsafeBytes(of: UInt64(json.count).littleEndian) { data.append(contentsOf: $0) }
        data.append(json)
        for tensor in tensors {
            switch tensor.values {
            case .float32(let values): values.withUnsafeBytes { data.append(contentsOf: $0) }
            case .int64(let values): values.withUnsafeBytes { data.append(contentsOf: $0) }
            }
        }
        return data
    }

    /// Reads a file's bytes. `name` stands for the file in messages.
    public init(decoding data: Data, name: String) throws(Failure) {
        func corrupt(_ what: String) -> Failure { Failure(.corrupt, "\(name): \(what)") }
        guard data.count >= 8 else {
            throw corrupt("found \(data.count) bytes, expected a safetensors header of 8 or more")
        }
        let length = data.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(Self.longestHeader), Int(length) <= data.count - 8 else {
            throw corrupt(
                "a header of \(length) bytes announced, at most \(min(data.count - 8, Self.longestHeader)) possible")
        }
        let header: [String: Item]
        do {
            header = try JSONDecoder().decode([String: Item].self, from: data.dropFirst(8).prefix(Int(length)))
        } catch { throw corrupt("its header is not that of a safetensors file") }
        let body = data.dropFirst(8 + Int(length))
        var tensors: [(begin: Int, tensor: Tensor)] = []
        var metadata: [String: String] = [:]
        for (key, item) in header {
            guard case .place(let place) = item else {
                if case .metadata(let values) = item { metadata = values }
                continue
            }
            guard ["F32", "I64"].contains(place.dtype) else {
                throw corrupt("found tensor \(key) of type \(place.dtype), expected F32 or I64")
            }
            let size = place.dtype == "F32" ? 4 : 8
            var bytes = size
            for extent in place.shape {
                let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
                guard extent >= 0, !overflow else { throw corrupt("tensor \(key) has the shape \(place.shape)") }
                bytes = product
            }
            guard place.data_offsets.count == 2, let begin = place.data_offsets.first,
                let end = place.data_offsets.last,
                begin >= 0, begin <= end, end <= body.count, end - begin == bytes
            else {
                throw corrupt(
                    "found tensor \(key) of shape \(place.shape) at \(place.data_offsets), expected \(bytes) bytes "
                        + "within \(body.count)")
            }
            let slice = body.dropFirst(begin).prefix(bytes)
            let values: Values =
                place.dtype == "F32" ? .float32(Self.copy(slice, zero: 0)) : .int64(Self.copy(slice, zero: 0))
            tensors.append((begin, Tensor(name: key, shape: place.shape, values: values)))
        }
        tensors.sort { ($0.begin, $0.tensor.name) < ($1.begin, $1.tensor.name) }
        var end = 0
        for (begin, tensor) in tensors {
            guard begin == end else { throw corrupt("found tensor \(tensor.name) at byte \(begin), expected \(end)") }
            end += tensor.values.count * tensor.values.type.size
        }
        guard end == body.count else { throw corrupt("found \(body.count) bytes of tensors, expected \(end)") }
        self.init(tensors: tensors.map(\.tensor), metadata: metadata)
    }

    private static func copy<T>(_ bytes: Data, zero: T) -> [T] {
        var values = [T](repeating: zero, count: bytes.count / MemoryLayout<T>.stride)
        _ = values.withUnsafeMutableBytes { bytes.copyBytes(to: $0) }
        return values
    }

    // MARK: - Metadata

    /// A value as JSON, for the metadata.
    public static func json(_ value: some Encodable) throws(Failure) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        do { return String(decoding: try encoder.encode(value), as: UTF8.self) } catch {
            throw Failure(.invalidArgument, "\(type(of: value)) cannot be written as JSON: \(error)")
        }
    }

    /// A value from JSON in the metadata. `name` stands for it in messages.
    public static func value<T: Decodable>(_ type: T.Type, json: String, name: String) throws(Failure) -> T {
        do { return try JSONDecoder().decode(type, from: Data(json.utf8)) } catch {
            throw Failure(.corrupt, "\(name) is not the expected JSON: \(error)")
        }
    }

    // MARK: - Files

    /// Reads a file.
    public init(path: String) throws(Failure) {
        let bytes = try Files.read(path, sizes: 8...Int.max, expected: "a safetensors header of 8 or more")
        // Not a copy: the data keep the bytes in memory.
        let data = Data(
            bytesNoCopy: bytes.start, count: bytes.count,
            deallocator: .custom { _, _ in withExtendedLifetime(bytes) {} })
        try self.init(decoding: data, name: path)
    }

    /// Writes a file durably: beside its place first, flushed to the disk, then renamed into place, and the folder
    /// flushed. Whatever interrupts it, `path` holds the old file or the new one.
    public func write(to path: String) throws(Failure) {
        let data = try encoded()
        let partial = "\(path).\(getpid()).partial"
        func fail(_ what: String) -> Failure {
            let code = errno
            unlink(partial)
            return Failure(errno: code, "\(path): \(what) failed")
        }
        let file = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw fail("creating \(partial)") }
        var written = 0
        while written < data.count {
            let count = data.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + written, data.count - written) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                let failure = fail("writing")
                close(file)
                throw failure
            }
            written += count
        }
        guard fsync(file) == 0 else {
            let failure = fail("flushing to the disk")
            close(file)
            throw failure
        }
        guard close(file) == 0 else { throw fail("closing") }
        guard rename(partial, path) == 0 else { throw fail("renaming") }
        let folder = open(
            path.contains("/") ? URL(filePath: path).deletingLastPathComponent().path : ".", O_RDONLY | O_CLOEXEC)
        guard folder >= 0 else { throw fail("opening the folder") }
        defer { close(folder) }
        guard fsync(folder) == 0 else { throw fail("flushing the folder to the disk") }
    }
}
