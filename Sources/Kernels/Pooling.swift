// Pooling over NHWC maps, vectorised over channels: maximum over square windows, and the mean of whole maps.
//
// The forward pass of max pooling notes for each output value which tap of its window it came from, in a byte; the
// backward pass gathers, for each input pixel, from the windows that cover it. No two threads write one pixel, so the
// sums have a fixed order, and every pixel is written once.
//
// Of equal values the first one in row-major order wins, and NaN beats every number, as in PyTorch.

/// The windows of max pooling. Windows start at multiples of `stride`, less `padding`, which is below `kernel`; those
/// that do not fit into the padded map are left out.
public struct PoolingShape: Hashable, Sendable {
    public let kernel: Int
    public let stride: Int
    public let padding: Int

    public init(kernel: Int, stride: Int, padding: Int = 0) {
        (self.kernel, self.stride, self.padding) = (kernel, stride, padding)
    }

    /// Windows along a side of `length` pixels.
    public func outputLength(_ length: Int) -> Int { (length + 2 * padding - kernel) / stride + 1 }

    /// The taps of window number `window` that lie within a side of `length` pixels.
    @inline(__always)
    func taps(ofWindow window: Int, length: Int) -> Range<Int> {
        let start = window * stride - padding
        return max(0, -start)..<min(kernel, length - start)
    }

    /// The windows, of `count`, that cover pixel number `pixel`.
    @inline(__always)
    func windows(covering pixel: Int, count: Int) -> Range<Int> {
        let padded = pixel + padding
        let end = min(padded / stride + 1, count)
        return min(max(0, (padded - kernel + stride) / stride), end)..<end
    }
}

public enum Pooling {
    /// y = the maximum of each window of x. `argmax` takes the number of its tap, row by row within the window, for
    /// each value of y, without gaps between pixels: [N][height][width][C].
    public static func max(
        _ x: Maps, _ shape: PoolingShape, to y: Maps, argmax: UnsafeMutablePointer<UInt8>? = nil, threads: Threads
    ) {
        threads.forEach(y.count * y.height) { line in
            let image = x.base + line / y.height * x.height * x.width * x.stride
            let window = line % y.height
            let rows = shape.taps(ofWindow: window, length: x.height)
            let top = image + (window * shape.stride - shape.padding) * x.width * x.stride
            for column in 0..<y.width {
                let columns = shape.taps(ofWindow: column, length: x.width)
                let corner = top + (column * shape.stride - shape.padding) * x.stride
                let output = line * y.width + column
                @inline(__always)
                func pixel(rows: Range<Int>, columns: Range<Int>, kernel: Int) {
                    forEachVector(in: 0..<y.channels) { channel, count in
                        let (value, tap) = maximum(
                            at: corner + channel, count: count, rows: rows, columns: columns, kernel: kernel,
                            rowStride: x.width * x.stride, stride: x.stride)
                        value.store(to: y.base + output * y.stride + channel, count: count)
                        if let argmax { tap.store(to: argmax + output * y.channels + channel, count: count) }
                    }
                }
                // With the usual windows' taps as literals, the loops over them are unrolled.
                switch (shape.kernel, rows.count, columns.count) {
                case (3, 3, 3): pixel(rows: 0..<3, columns: 0..<3, kernel: 3)
                case (2, 2, 2): pixel(rows: 0..<2, columns: 0..<2, kernel: 2)
                default: pixel(rows: rows, columns: columns, kernel: shape.kernel)
                }
            }
        }
    }

    /// The maximum over the taps `rows` × `columns` of the window at `corner`, for `count` channels, and its tap.
    @inline(__always)
    private static func maximum(
        at corner: UnsafePointer<Float>, count: Int, rows: Range<Int>, columns: Range<Int>, kernel: Int,
        rowStride: Int, stride: Int
    ) -> (value: Vector, tap: Taps) {
        let first = rows.lowerBound * rowStride + columns.lowerBound * stride
        var best = Vector(at: corner + first, count: count)
        var tap = Taps(repeating: rows.lowerBound * kernel + columns.lowerBound)
        for row in rows {
            for column in columns {
                let value = Vector(at: corner + row * rowStride + column * stride, count: count)
                let wins = (value .> best) .| (value .!= value)
                best.replace(with: value, where: wins)
                tap.replace(with: Taps(repeating: row * kernel + column), where: wins)
            }
        }
        return (best, tap)
    }

    /// dx = the gradient of x, from the gradient of y and the taps that `max` noted; added to what is there with
    /// `accumulate`.
    public static func maxGradient(
        _ dy: Maps, argmax: UnsafePointer<UInt8>, _ shape: PoolingShape, to dx: Maps, accumulate: Bool,
        threads: Threads
    ) {
        threads.forEach(dx.count * dx.height) { line in
            let (image, row) = line.quotientAndRemainder(dividingBy: dx.height)
            let rows = shape.windows(covering: row, count: dy.height)
            for column in 0..<dx.width {
                let columns = shape.windows(covering: column, count: dy.width)
                let first = (image * dy.height + rows.lowerBound) * dy.width + columns.lowerBound
                // The pixel's tap in the first of the windows; it is `stride` taps less in each of the next ones.
                let tapRow = row + shape.padding - rows.lowerBound * shape.stride
                let tapColumn = column + shape.padding - columns.lowerBound * shape.stride
                @inline(__always)
                func pixel(rows: Int, columns: Int) {
                    forEachVector(in: 0..<dx.channels) { channel, count in
                        let target = dx.base + (line * dx.width + column) * dx.stride + channel
                        var sum = accumulate ? Vector(at: target, count: count) : Vector()
                        for windowRow in 0..<rows {
                            for windowColumn in 0..<columns {
                                let window = first + windowRow * dy.width + windowColumn
                                let tap = Taps(
                                    repeating: (tapRow - windowRow * shape.stride) * shape.kernel + tapColumn
                                        - windowColumn * shape.stride)
                                sum += Vector().replacing(
                                    with: Vector(at: dy.base + window * dy.stride + channel, count: count),
                                    where: Taps(at: argmax + window * dy.channels + channel, count: count) .== tap)
                            }
                        }
                        sum.store(to: target, count: count)
                    }
                }
                switch (rows.count, columns.count) {
                case (1, 1): pixel(rows: 1, columns: 1)
                case (1, 2): pixel(rows: 1, columns: 2)
                case (2, 1): pixel(rows: 2, columns: 1)
                case (2, 2): pixel(rows: 2, columns: 2)
                case (2, 3): pixel(rows: 2, columns: 3)
                case (3, 2): pixel(rows: 3, columns: 2)
                case (3, 3): pixel(rows: 3, columns: 3)
                default: pixel(rows: rows.count, columns: columns.count)
                }
            }
        }
    }

    /// y[n][c] = the mean of channel c of image n.
    public static func average(_ x: Maps, to y: UnsafeMutablePointer<Float>, threads: Threads) {
        let pixels = x.height * x.width
        threads.forEach(x.count) { image in
            forEachVector(in: 0..<x.channels) { channel, count in
                let source = x.base + image * pixels * x.stride + channel
                var sum = Vector()
                for pixel in 0..<pixels { sum += Vector(at: source + pixel * x.stride, count: count) }
                (sum / Float(pixels)).store(to: y + image * x.channels + channel, count: count)
            }
        }
    }

    /// dx = the gradient of x, from the gradient dy[n][c] of its means.
    public static func averageGradient(_ dy: UnsafePointer<Float>, to dx: Maps, threads: Threads) {
        let pixels = dx.height * dx.width
        threads.forEach(dx.count) { image in
            forEachVector(in: 0..<dx.channels) { channel, count in
                let target = dx.base + image * pixels * dx.stride + channel
                let share = Vector(at: dy + image * dx.channels + channel, count: count) / Float(pixels)
                for pixel in 0..<pixels { share.store(to: target + pixel * dx.stride, count: count) }
            }
        }
    }
}

/// Numbers of taps: bytes in memory, as wide as floats in registers. The conversions are loops, which become one
/// instruction each, where the initializers of the standard library become calls.
private typealias Taps = SIMD16<Int32>

extension Taps {
    @inline(__always)
    fileprivate init(repeating tap: Int) { self.init(repeating: Int32(truncatingIfNeeded: tap)) }

    @inline(__always)
    fileprivate init(at source: UnsafePointer<UInt8>, count: Int) {
        self.init()
        for lane in 0..<count { self[lane] = Int32(source[lane]) }
    }

    @inline(__always)
    fileprivate func store(to target: UnsafeMutablePointer<UInt8>, count: Int) {
        for lane in 0..<count { target[lane] = UInt8(truncatingIfNeeded: self[lane]) }
    }
}
