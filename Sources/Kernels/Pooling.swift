// Pooling over NHWC maps, vectorised over channels: maximum over square windows, and the mean of whole maps.
//
// The forward pass of max pooling notes for each output value which tap of its window it came from, in a byte; the
// backward pass gathers, for each input pixel, from the windows that cover it. No two threads write one pixel, so the
// sums have a fixed order, and every pixel is written once.
//
// Of equal values the first one in row-major order wins, and NaN beats every number, as in PyTorch.

/// The windows of max pooling. Windows start at multiples of `stride`, less `padding`, which is below `kernel`; those
/// that do not fit into the padded map are left out. `kernel` is 16 at most, so that a byte can tell its taps apart.
public struct PoolingShape: Hashable, Sendable {
    public let kernel: Int
    public let stride: Int
    public let padding: Int

    public init(kernel: Int, stride: Int, padding: Int = 0) {
        (self.kernel, self.stride, self.padding) = (kernel, stride, padding)
    }

    /// Windows along a side of `length` pixels.
    public func outputLength(_ length: Int) -> Int { (length + 2 * padding - kernel) / stride + 1 }

    /// Whether y may be what x is pooled to.
    func fits(_ x: Maps, _ y: Maps) -> Bool {
        (y.count, y.height, y.width, y.channels) == (x.count, outputLength(x.height), outputLength(x.width), x.channels)
    }

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
    /// y = the maximum of each window of x, whose values are read through `activation`. `argmax` takes the number of its
    /// tap, row by row within the window, for each value of y, without gaps between pixels: [N][height][width][C].
    public static func max(
        _ x: Maps, through activation: Activation? = nil, _ shape: PoolingShape, to y: Maps,
        argmax: UnsafeMutablePointer<UInt8>? = nil, threads: Threads
    ) {
        assert(shape.fits(x, y))
        if let activation {
            max(x, activation, shape, to: y, argmax: argmax, threads: threads)
        } else {
            max(x, PlainReading(), shape, to: y, argmax: argmax, threads: threads)
        }
    }

    private static func max(
        _ x: Maps, _ reading: some Reading, _ shape: PoolingShape, to y: Maps, argmax: UnsafeMutablePointer<UInt8>?,
        threads: Threads
    ) {
        let windows = Windows(x: x, reading: reading, kernel: shape.kernel, y: y, argmax: argmax)
        threads.sweep(y.count * y.height) { line in
            let (image, row) = line.quotientAndRemainder(dividingBy: y.height)
            let rows = shape.taps(ofWindow: row, length: x.height)
            for column in 0..<y.width {
                let columns = shape.taps(ofWindow: column, length: x.width)
                let top = image * x.height + row * shape.stride - shape.padding + rows.lowerBound
                let left = column * shape.stride - shape.padding + columns.lowerBound
                windows.run(
                    pixel: line * y.width + column, first: top * x.width + left,
                    tap: rows.lowerBound * shape.kernel + columns.lowerBound, rows: rows.count, columns: columns.count)
            }
        }
    }

    /// dx = the gradient of x, from the gradient of y and the taps that `max` noted; added to what is there with
    /// `accumulate`.
    public static func maxGradient(
        _ dy: Maps, argmax: UnsafePointer<UInt8>, _ shape: PoolingShape, to dx: Maps, accumulate: Bool,
        threads: Threads
    ) {
        assert(shape.fits(dx, dy))
        let windows = WindowsGradient(dy: dy, argmax: argmax, shape: shape, dx: dx, accumulates: accumulate)
        threads.sweep(dx.count * dx.height) { line in
            let (image, row) = line.quotientAndRemainder(dividingBy: dx.height)
            let rows = shape.windows(covering: row, count: dy.height)
            for column in 0..<dx.width {
                let columns = shape.windows(covering: column, count: dy.width)
                let tapRow = row + shape.padding - rows.lowerBound * shape.stride
                let tapColumn = column + shape.padding - columns.lowerBound * shape.stride
                windows.run(
                    pixel: line * dx.width + column,
                    first: (image * dy.height + rows.lowerBound) * dy.width + columns.lowerBound,
                    tap: tapRow * shape.kernel + tapColumn, rows: rows.count, columns: columns.count)
            }
        }
    }

    /// y[n][c] = the mean of channel c of image n.
    public static func average(_ x: Maps, to y: UnsafeMutablePointer<Float>, threads: Threads) {
        let pixels = x.height * x.width
        threads.sweep(x.count) { image in
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
        threads.sweep(dx.count) { image in
            forEachVector(in: 0..<dx.channels) { channel, count in
                let target = dx.base + image * pixels * dx.stride + channel
                let share = Vector(at: dy + image * dx.channels + channel, count: count) / Float(pixels)
                for pixel in 0..<pixels { share.store(to: target + pixel * dx.stride, count: count) }
            }
        }
    }
}

/// Computes a pixel from a rectangle of `rows` × `columns` pixels of other maps, of which `first` is the first, counted
/// over all images; `tap` is the number of the tap that joins the two.
private protocol RectangleLoop {
    func body(pixel: Int, first: Int, tap: Int, rows: Int, columns: Int)
}

/// A rectangle whose size the compiler knows.
private enum Rectangle<let rows: Int, let columns: Int> {}

extension RectangleLoop {
    /// The body, compiled for each of the usual sizes, with its loops unrolled.
    @inline(__always)
    func run(pixel: Int, first: Int, tap: Int, rows: Int, columns: Int) {
        switch (rows, columns) {
        case (3, 3): unrolled(Rectangle<3, 3>.self, pixel, first, tap)
        case (3, 2): unrolled(Rectangle<3, 2>.self, pixel, first, tap)
        case (2, 3): unrolled(Rectangle<2, 3>.self, pixel, first, tap)
        case (2, 2): unrolled(Rectangle<2, 2>.self, pixel, first, tap)
        case (2, 1): unrolled(Rectangle<2, 1>.self, pixel, first, tap)
        case (1, 2): unrolled(Rectangle<1, 2>.self, pixel, first, tap)
        case (1, 1): unrolled(Rectangle<1, 1>.self, pixel, first, tap)
        default: body(pixel: pixel, first: first, tap: tap, rows: rows, columns: columns)
        }
    }

    @inline(never)
    private func unrolled<let rows: Int, let columns: Int>(
        _: Rectangle<rows, columns>.Type, _ pixel: Int, _ first: Int, _ tap: Int
    ) {
        body(pixel: pixel, first: first, tap: tap, rows: rows, columns: columns)
    }
}

/// Pixel `pixel` of y: the maximum of a window of x.
private struct Windows<Input: Reading>: RectangleLoop {
    let x: Maps
    let reading: Input
    let kernel: Int
    let y: Maps
    let argmax: UnsafeMutablePointer<UInt8>?

    @inline(__always)
    func body(pixel: Int, first: Int, tap: Int, rows: Int, columns: Int) {
        let (source, target) = (x.base + first * x.stride, y.base + pixel * y.stride)
        let taps = argmax.map { $0 + pixel * y.channels }
        forEachVector(in: 0..<y.channels) { channel, count in
            let read = reading.lanes(channel: channel, count: count)
            var best = read(Vector(at: source + channel, count: count))
            var bestTap = Taps(repeating: tap)
            for row in 0..<rows {
                for column in 0..<columns {
                    let place = source + (row * x.width + column) * x.stride + channel
                    let value = read(Vector(at: place, count: count))
                    let wins = (value .> best) .| (value .!= value)
                    best.replace(with: value, where: wins)
                    bestTap.replace(with: Taps(repeating: tap + row * kernel + column), where: wins)
                }
            }
            best.store(to: target + channel, count: count)
            if let taps { bestTap.store(to: taps + channel, count: count) }
        }
    }
}

/// Pixel `pixel` of dx: the sum over the windows, a rectangle of dy, whose maximum it was. It is a tap of the first of
/// them, and `stride` taps less in each of the next ones.
private struct WindowsGradient: RectangleLoop {
    let dy: Maps
    let argmax: UnsafePointer<UInt8>
    let shape: PoolingShape
    let dx: Maps
    let accumulates: Bool

    @inline(__always)
    func body(pixel: Int, first: Int, tap: Int, rows: Int, columns: Int) {
        let target = dx.base + pixel * dx.stride
        forEachVector(in: 0..<dx.channels) { channel, count in
            var sum = accumulates ? Vector(at: target + channel, count: count) : .zero
            for row in 0..<rows {
                for column in 0..<columns {
                    let window = first + row * dy.width + column
                    let mine = Taps(repeating: tap - (row * shape.kernel + column) * shape.stride)
                    let won = Taps(at: argmax + window * dy.channels + channel, count: count) .== mine
                    sum += Vector.zero.replacing(
                        with: Vector(at: dy.base + window * dy.stride + channel, count: count), where: won)
                }
            }
            sum.store(to: target + channel, count: count)
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
