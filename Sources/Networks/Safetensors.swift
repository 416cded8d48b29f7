// The safetensors format (github.com/huggingface/safetensors): 8 bytes, the length of a JSON header; the header, which
// gives each tensor's type, shape and place; then the tensors.

import FoundationEssentials
import PLPBase

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

        var type: ElementType {
            switch self {
            case .float32: .float32
            case .int64: .int64
            }
        }
    }

    /// The types of values, by the format's names.
    package enum ElementType: String {
        case float32 = "F32"
        case int64 = "I64"

        /// Bytes of a value.
        var size: Int { self == .float32 ? 4 : 8 }
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

    /// A file's bytes before its tensors: the header and, in front of it, its length.
    private static func header(of sources: [Source], _ metadata: [String: String]) throws(Failure) -> [UInt8] {
        var items: [String: Item] = metadata.isEmpty ? [:] : ["__metadata__": .metadata(metadata)]
        var end = 0
        for source in sources {
            let begin = end
            end += source.shape.reduce(source.type.size, *)
            items[source.name] = .place(
                Place(dtype: source.type.rawValue, shape: source.shape, data_offsets: [begin, end]))
        }
        var text = try json(items)
        text.append(String(repeating: " ", count: (8 - text.utf8.count % 8) % 8))
        return withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian, Array.init) + Array(text.utf8)
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
            guard let type = ElementType(rawValue: place.dtype) else {
                throw corrupt("found tensor \(key) of type \(place.dtype), expected F32 or I64")
            }
            var bytes = type.size
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
                type == .float32 ? .float32(Self.copy(slice, zero: 0)) : .int64(Self.copy(slice, zero: 0))
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

    /// A value from JSON in the metadata. `name` stands for it in messages.
    public static func value<T: Decodable>(_ type: T.Type, json: String, name: String) throws(Failure) -> T {
        do { return try JSONDecoder().decode(type, from: Data(json.utf8)) } catch {
            throw Failure(.corrupt, "\(name) is not the expected JSON: \(excerpt(reason(error)))")
        }
    }

    /// What a decoder says, without the names of Swift's types.
    private static func reason(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
            return path.isEmpty ? "" : " in \(path.joined(separator: "."))"
        }
        return switch error as? DecodingError {
        case .keyNotFound(let key, let context): "no \(key.stringValue) found\(place(context))"
        case .valueNotFound(_, let context): "null found\(place(context))"
        case .typeMismatch(_, let context): "a value of another type found\(place(context))"
        case .dataCorrupted(let context): "\(context.debugDescription)\(place(context))"
        default: "\(error)"
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

    /// Writes a file durably: see `Files.replace`.
    public func write(to path: String) throws(Failure) {
        try Self.write(
            tensors.map { tensor in
                Source(name: tensor.name, shape: tensor.shape, type: tensor.values.type) { tensor.values }
            }, metadata: metadata, to: path)
    }

    /// A tensor to write, whose values are made when its turn comes: no more than one tensor's are in memory at a time.
    package struct Source {
        var name: String
        var shape: [Int]
        var type: ElementType
        var values: () -> Values

        package init(name: String, shape: [Int], type: ElementType, values: @escaping () -> Values) {
            self.name = name
            self.shape = shape
            self.type = type
            self.values = values
        }
    }

    /// The same of tensors that are made as they are written.
    package static func write(
        _ sources: [Source], metadata: [String: String], to path: String
    ) throws(Failure) {
        let header = try header(of: sources, metadata)
        try Files.replace(path) { (write) throws(Failure) in
            func append(_ values: [some BitwiseCopyable]) throws(Failure) {
                try values.withUnsafeBufferPointer { (values) throws(Failure) in
                    try write(UnsafeRawBufferPointer(values))
                }
            }
            try append(header)
            for source in sources {
                try Memory.require(floats: source.shape.reduce(1, *), for: "writing \(source.name)")
                switch source.values() {
                case .float32(let values): try append(values)
                case .int64(let values): try append(values)
                }
            }
        }
    }
}
