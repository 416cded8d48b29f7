// Images from a caller's memory, in the layout that Python and C have them in.

import PLPBase
import PLPKernels

/// Images as a caller has them, one after another, each as planes of red, green and blue [3][size][size].
public enum PlanarImages {
    /// Bytes as in the data sets' files; they are normalised as the model's configuration says.
    case bytes(UnsafeBufferPointer<UInt8>)
    /// Values taken as they are.
    case values(UnsafeBufferPointer<Float>)

    private var elements: Int {
        switch self {
        case .bytes(let buffer): buffer.count
        case .values(let buffer): buffer.count
        }
    }

    /// How many images there are.
    func count(_ shape: ImageShape) throws(Failure) -> Int {
        try require(
            elements > 0 && elements % shape.values == 0, "images", "\(elements) values",
            expected: "a multiple of \(shape.values), \(shape) for each of one or more images")
        return elements / shape.values
    }

    /// Writes the images in `range` as the network takes them: float32, NHWC.
    func write(
        _ range: Range<Int>, of shape: ImageShape, normalization table: [Float],
        to destination: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        threads.forEach(range.count) { slot in
            let (source, target) = ((range.lowerBound + slot) * shape.values, destination + slot * shape.values)
            switch self {
            case .bytes(let buffer): shape.write(buffer.baseAddress! + source, table: table, to: target)
            case .values(let buffer): shape.interleave(buffer.baseAddress! + source, count: 1, to: target)
            }
        }
    }
}
