// Reading safetensors: the header first, checked against the file's size, then what is asked for of the tensors.

import FoundationEssentials
import PLPBase

/// A safetensors file that is open for reading, whose header has been found to be right. No tensor has been read yet.
package final class SafetensorsReader {
    /// Where a tensor lies.
    package struct Place {
        package let name: String
        package let type: Safetensors.ElementType
        package let shape: [Int]
        /// Bytes of the file.
        fileprivate let bytes: Range<Int>

        package var count: Int { bytes.count / type.size }
    }

    /// In the order in which they lie in the file.
    package let tensors: [Place]
    package let metadata: [String: String]
    private let file: OpenFile

    package init(_ path: String) throws(Failure) {
        file = try OpenFile(path)
        let (header, start) = try Self.header(of: file)
        var tensors: [Place] = []
        var metadata: [String: String] = [:]
        for (name, item) in header {
            switch item {
            case .metadata(let values): metadata = values
            case .place(let place): tensors.append(try Self.place(name, place, start..<file.size, path))
            }
        }
        tensors.sort {
            ($0.bytes.lowerBound, $0.bytes.upperBound, $0.name) < ($1.bytes.lowerBound, $1.bytes.upperBound, $1.name)
        }
        var end = start
        for tensor in tensors {
            guard tensor.bytes.lowerBound == end else {
                throw Failure(
                    .corrupt,
                    "\(path): found tensor \(excerpt(tensor.name)) at byte \(tensor.bytes.lowerBound - start), "
                        + "expected \(end - start)")
            }
            end = tensor.bytes.upperBound
        }
        guard end == file.size else {
            throw Failure(.corrupt, "\(path): found \(file.size - start) bytes of tensors, expected \(end - start)")
        }
        self.tensors = tensors
        self.metadata = metadata
    }

    /// A file's header, and where it ends.
    private static func header(of file: OpenFile) throws(Failure) -> ([String: Safetensors.Item], end: Int) {
        func corrupt(_ what: String) -> Failure { Failure(.corrupt, "\(file.path): \(what)") }
        guard file.size >= 8 else {
            throw corrupt("found \(file.size) bytes, expected a safetensors header of 8 or more")
        }
        let start = try Bytes(count: 8)
        defer { withExtendedLifetime(start) {} }
        try file.read(from: 0, into: start.memory)
        let length = UInt64(littleEndian: start.raw.loadUnaligned(as: UInt64.self))
        let most = min(file.size - 8, Safetensors.longestHeader)
        guard length <= UInt64(most) else {
            throw corrupt("a header of \(length) bytes announced, at most \(most) possible")
        }
        let bytes = try Bytes(count: Int(length))
        defer { withExtendedLifetime(bytes) {} }
        try file.read(from: 8, into: bytes.memory)
        let header = try value(
            [String: Safetensors.Item].self,
            json: Data(bytesNoCopy: bytes.start, count: bytes.count, deallocator: .none),
            most: Safetensors.mostHeaderValues, name: "\(file.path): its safetensors header")
        return (header, 8 + bytes.count)
    }

    /// A tensor's place in a file whose tensors lie in `body`.
    private static func place(
        _ name: String, _ place: Safetensors.Place, _ body: Range<Int>, _ path: String
    ) throws(Failure) -> Place {
        func corrupt(_ what: String) -> Failure { Failure(.corrupt, "\(path): found tensor \(excerpt(name)) \(what)") }
        guard let type = Safetensors.ElementType(rawValue: place.dtype) else {
            throw corrupt("of type \(excerpt(place.dtype)), expected F32 or I64")
        }
        guard place.shape.count <= Safetensors.mostDimensions else {
            throw corrupt("of \(place.shape.count) dimensions, expected at most \(Safetensors.mostDimensions)")
        }
        var size = type.size
        for extent in place.shape {
            let (product, overflow) = size.multipliedReportingOverflow(by: extent)
            guard extent >= 0, !overflow else { throw corrupt("of shape \(place.shape)") }
            size = product
        }
        let offsets = place.data_offsets
        guard offsets.count == 2, offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= body.count,
            offsets[1] - offsets[0] == size
        else {
            throw corrupt(
                "of shape \(place.shape) at \(excerpt(offsets)), expected \(size) bytes within \(body.count)")
        }
        return Place(
            name: name, type: type, shape: place.shape,
            bytes: body.lowerBound + offsets[0]..<body.lowerBound + offsets[1])
    }

    // MARK: - Tensors

    /// Fills memory with the values of a tensor from one on.
    package func read(_ place: Place, from first: Int, into memory: UnsafeMutableRawBufferPointer) throws(Failure) {
        try file.read(from: place.bytes.lowerBound + first * place.type.size, into: memory)
    }

    /// All values of a tensor.
    package func values<Value: BitwiseCopyable>(of place: Place, zero: Value) throws(Failure) -> [Value] {
        try Memory.require(bytes: place.bytes.count, for: "\(file.path)'s tensor \(excerpt(place.name))")
        var values = [Value](repeating: zero, count: place.count)
        try values.withUnsafeMutableBufferPointer { (values) throws(Failure) in
            try read(place, from: 0, into: UnsafeMutableRawBufferPointer(values))
        }
        return values
    }
}
