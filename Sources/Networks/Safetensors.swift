// The safetensors format (github.com/huggingface/safetensors): 8 bytes, the length of a JSON header; the header, which
// gives each tensor's type, shape and place; then the tensors. What is common to reading and writing, and whole files.

import FoundationEssentials
import PLPBase

/// A safetensors file of float32 and int64 tensors, as a whole.
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

    /// Reads a file.
    public init(path: String) throws(Failure) {
        let file = try SafetensorsReader(path)
        var tensors: [Tensor] = []
        for place in file.tensors {
            let values: Values =
                switch place.type {
                case .float32: .float32(try file.values(of: place, zero: 0))
                case .int64: .int64(try file.values(of: place, zero: 0))
                }
            tensors.append(Tensor(name: place.name, shape: place.shape, values: values))
        }
        self.init(tensors: tensors, metadata: file.metadata)
    }

    /// Writes a file durably: see `Files.replace`.
    public func write(to path: String) throws(Failure) {
        try Self.write(tensors.map(Source.init), metadata: metadata, to: path)
    }

    // MARK: - Header

    /// The longest header, in bytes, and the most values of JSON in it, beside which a reader's time and memory stay
    /// small whatever a file holds. Enough for 10,000 tensors, where a checkpoint of GoogLeNet, the network with most of
    /// them, has 2,700 in 0.4 MB, and for the history of 25,000 epochs, which is 10 MB.
    static let longestHeader = 16 << 20
    static let mostHeaderValues = 150_000
    /// The most dimensions of a tensor; weights of convolutions have 4.
    static let mostDimensions = 8

    struct Place: Codable {
        var dtype: String
        var shape: [Int]
        var data_offsets: [Int]
    }

    /// A header's value: a tensor's place, or the metadata under `__metadata__`.
    enum Item: Codable {
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

    // MARK: - Writing

    /// A tensor to write, whose bytes are made when its turn comes, part by part: few of them are in memory at a time.
    package struct Source {
        var name: String
        var shape: [Int]
        var type: ElementType
        var write: (_ append: (UnsafeRawBufferPointer) throws(Failure) -> Void) throws(Failure) -> Void
    }

    /// Writes a file of tensors that are made as they are written.
    package static func write(
        _ sources: [Source], metadata: [String: String], to path: String
    ) throws(Failure) {
        let header = try header(of: sources, metadata, path)
        try Files.replace(path) { (write) throws(Failure) in
            try header.withUnsafeBufferPointer { (header) throws(Failure) in
                try write(UnsafeRawBufferPointer(header))
            }
            for source in sources { try source.write(write) }
        }
    }

    /// A file's bytes before its tensors: the header and, in front of it, its length.
    private static func header(
        of sources: [Source], _ metadata: [String: String], _ path: String
    ) throws(Failure) -> [UInt8] {
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
        try require(
            text.utf8.count <= longestHeader, "\(path): header", "\(grouped(text.utf8.count)) bytes",
            expected: "at most \(grouped(longestHeader)), which can be read again")
        return withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian, Array.init) + Array(text.utf8)
    }
}

extension Safetensors.Source {
    /// A tensor that is there already.
    package init(_ tensor: Safetensors.Tensor) {
        self.init(name: tensor.name, shape: tensor.shape, type: tensor.values.type) { (write) throws(Failure) in
            func append(_ values: [some BitwiseCopyable]) throws(Failure) {
                try values.withUnsafeBufferPointer { (values) throws(Failure) in
                    try write(UnsafeRawBufferPointer(values))
                }
            }
            switch tensor.values {
            case .float32(let values): try append(values)
            case .int64(let values): try append(values)
            }
        }
    }
}
