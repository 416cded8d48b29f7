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
        to destination: UnsafeMutablePointer<Float>
    ) {
        switch self {
        case .bytes(let buffer):
            for (slot, image) in range.enumerated() {
                shape.write(
                    buffer.baseAddress! + image * shape.values, table: table, to: destination + slot * shape.values)
            }
        case .values(let buffer):
            shape.interleave(
                buffer.baseAddress! + range.lowerBound * shape.values, count: range.count, to: destination)
        }
    }
}
