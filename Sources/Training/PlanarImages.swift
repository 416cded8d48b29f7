// Images from a caller's memory, in the layout that Python and C have them in.

import PLPBase
import PLPKernels

/// Images as a caller has them, one after another, each as planes of red, green and blue [3][32][32].
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
    func count() throws(Failure) -> Int {
        try require(
            elements > 0 && elements % Images.values == 0, "images", "\(elements) values",
            expected: "a multiple of \(Images.values), 3 × 32 × 32 for each of one or more images")
        return elements / Images.values
    }

    /// Writes the images in `range` as the network takes them: float32, NHWC.
    func write(_ range: Range<Int>, normalization table: [Float], to destination: UnsafeMutablePointer<Float>) {
        switch self {
        case .bytes(let buffer):
            for (slot, image) in range.enumerated() {
                Images.write(
                    buffer.baseAddress! + image * Images.values, table: table, to: destination + slot * Images.values)
            }
        case .values(let buffer):
            Images.interleave(
                buffer.baseAddress! + range.lowerBound * Images.values, count: range.count, to: destination)
        }
    }
}
