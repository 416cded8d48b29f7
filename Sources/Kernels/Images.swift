// From bytes to the network's input: square RGB images, as the data sets store them (planes of red, green and blue, row
// by row), become normalised float32 values in NHWC order, moved about on the way. Decides nothing by itself: what is
// drawn at random is drawn by Datasets.

import Glibc
import PLPBase

/// Mean and standard deviation of each colour channel, on the scale from 0 (black) to 1.
public struct Normalization: Sendable, Equatable {
    /// Red, green, blue.
    public let mean: [Float]
    public let deviation: [Float]

    /// - Throws: `Failure(.invalidArgument)` unless there are three finite means and three finite positive deviations.
    public init(mean: [Float], deviation: [Float]) throws(Failure) {
        try require(
            mean.count == ImageShape.channels && mean.allSatisfy(\.isFinite), "mean", mean,
            expected: "three finite numbers")
        try require(
            deviation.count == ImageShape.channels && deviation.allSatisfy { $0.isFinite && $0 > 0 },
            "standard deviation", deviation, expected: "three finite numbers above 0")
        self.init(known: mean, deviation)
    }

    private init(known mean: [Float], _ deviation: [Float]) {
        self.mean = mean
        self.deviation = deviation
    }

    /// Over the pixels of CIFAR-100's 50,000 training images.
    public static let cifar100 = Normalization(
        known: [0.507075159, 0.486548873, 0.440917843], [0.267334286, 0.256438463, 0.276150471])

    /// The value of each byte in each channel, [3][256]: `(byte / 255 - mean) / deviation`, in the order of operations
    /// of torchvision's `ToTensor` and `Normalize`, and so to the bit what they give.
    public func table() -> [Float] {
        (0..<ImageShape.channels).flatMap { channel in
            (0..<256).map { (Float($0) / 255 - mean[channel]) / deviation[channel] }
        }
    }
}

/// How an image is moved: shifted first, then mirrored, then rotated about its centre. What comes in from outside is
/// black.
public struct Placement: Sendable, Equatable {
    /// Pixel (x, y) shows what was at (x + dx, y + dy).
    public var dx: Int
    public var dy: Int
    public var mirrored: Bool
    /// Degrees, counterclockwise.
    public var angle: Float

    public init(dx: Int = 0, dy: Int = 0, mirrored: Bool = false, angle: Float = 0) {
        self.dx = dx
        self.dy = dy
        self.mirrored = mirrored
        self.angle = angle
    }

    public static let unmoved = Placement()
}

/// RGB images of `size` × `size` pixels.
package struct ImageShape: Sendable, Hashable, CustomStringConvertible {
    /// The sizes there may be: from half of CIFAR's to three times that.
    package static let sizes = 16...96
    package static let channels = 3
    package let size: Int

    /// - Throws: `Failure(.invalidArgument)` unless `size` is one of `sizes`.
    package init(size: Int) throws(Failure) {
        try require("image size", size, in: Self.sizes)
        self.init(known: size)
    }

    /// Of a size that has been checked.
    package init(known size: Int) { self.size = size }

    package static let cifar = ImageShape(known: 32)

    /// "3 × 32 × 32".
    package var description: String { "\(Self.channels) × \(size) × \(size)" }

    /// Values in a channel of an image.
    package var plane: Int { size * size }
    /// Values in an image.
    package var values: Int { Self.channels * plane }

    /// Writes one image.
    ///
    /// - Parameters:
    ///   - pixels: [3][size][size] bytes.
    ///   - table: `Normalization.table()`, [3][256].
    ///   - destination: [size][size][3] values.
    package func write(
        _ pixels: UnsafePointer<UInt8>, _ placement: Placement = .unmoved, table: UnsafePointer<Float>,
        to destination: UnsafeMutablePointer<Float>
    ) {
        if placement.angle == 0 {
            writeShifted(pixels, placement, table, destination)
        } else {
            writeRotated(pixels, placement, table, destination)
        }
    }

    /// Without rotation, rows remain rows: a row is a run of pixels with a margin of black on either side, or all
    /// black.
    private func writeShifted(
        _ pixels: UnsafePointer<UInt8>, _ placement: Placement, _ table: UnsafePointer<Float>,
        _ destination: UnsafeMutablePointer<Float>
    ) {
        // Columns of the shifted image, before it is mirrored, that come from inside.
        let first = min(max(-placement.dx, 0), size)
        let last = max(min(size - placement.dx, size), first)
        let step = placement.mirrored ? -Self.channels : Self.channels
        for y in 0..<size {
            let row = destination + y * size * Self.channels
            // Where column 0 of the shifted image goes.
            let origin = placement.mirrored ? row + (size - 1) * Self.channels : row
            let inside = (0..<size).contains(y + placement.dy) ? first..<last : 0..<0
            let source = pixels + (y + placement.dy) * size + placement.dx
            for channel in 0..<Self.channels {
                let values = table + channel * 256
                var target = origin + channel
                for _ in 0..<inside.lowerBound {
                    target.pointee = values[0]
                    target += step
                }
                for x in inside {
                    target.pointee = values[Int(source[channel * plane + x])]
                    target += step
                }
                for _ in inside.upperBound..<size {
                    target.pointee = values[0]
                    target += step
                }
            }
        }
    }

    /// Takes the nearest pixel, as torchvision's `RandomRotation` does unless told otherwise, in Pillow's arithmetic
    /// (16 bits behind the point), so that the same angle gives the same image to the last bit.
    private func writeRotated(
        _ pixels: UnsafePointer<UInt8>, _ placement: Placement, _ table: UnsafePointer<Float>,
        _ destination: UnsafeMutablePointer<Float>
    ) {
        let radians = Double(placement.angle) * Double.pi / 180
        let (cosine, sine) = (cos(radians), sin(radians))
        func fixed(_ value: Double) -> Int { Int((value * 65536 + 0.5).rounded(.down)) }
        // Centre of the first pixel, relative to the centre of the image.
        let corner = 0.5 - Double(size) / 2
        var rowX = fixed((cosine - sine) * corner + Double(size) / 2)
        var rowY = fixed((sine + cosine) * corner + Double(size) / 2)
        var target = destination
        for _ in 0..<size {
            var (fixedX, fixedY) = (rowX, rowY)
            for _ in 0..<size {
                let (x, y) = (fixedX >> 16, fixedY >> 16)
                let column = (placement.mirrored ? size - 1 - x : x) + placement.dx
                let row = y + placement.dy
                let inside =
                    (0..<size).contains(x) && (0..<size).contains(y)
                    && (0..<size).contains(column) && (0..<size).contains(row)
                let source = pixels + row * size + column
                for channel in 0..<Self.channels {
                    target[channel] = table[channel * 256 + (inside ? Int(source[channel * plane]) : 0)]
                }
                target += Self.channels
                fixedX += fixed(cosine)
                fixedY += fixed(sine)
            }
            rowX += fixed(-sine)
            rowY += fixed(cosine)
        }
    }

    /// Copies images that are floats already from NCHW to NHWC order.
    package func interleave(
        _ planes: UnsafePointer<Float>, count: Int, to destination: UnsafeMutablePointer<Float>
    ) {
        for image in 0..<count {
            let source = planes + image * values
            var target = destination + image * values
            for pixel in 0..<plane {
                for channel in 0..<Self.channels { target[channel] = source[channel * plane + pixel] }
                target += Self.channels
            }
        }
    }
}
