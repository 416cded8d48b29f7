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
    /// y = the maximum of each window of x. `argmax` takes the number of its tap, row by row within the window, for each
    /// value of y, without gaps between pixels: [N][height][width][C].
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
                for channel in stride(from: 0, to: y.channels, by: 16) {
                    let count = min(16, y.channels - channel)
                    let (value, tap) = maximum(
                        at: corner + channel, count: count, rows: rows, columns: columns, kernel: shape.kernel,
                        rowStride: x.width * x.stride, stride: x.stride)
                    value.store(to: y.base + output * y.stride + channel, count: count)
                    tap.store(to: argmax.map { $0 + output * y.channels + channel }, count: count)
                }
            }
        }
    }

    /// The maximum over the taps `rows` × `columns` of the window at `corner`, for `count` channels, and its tap.
    @inline(__always)
    private static func maximum(
        at corner: UnsafePointer<Float>, count: Int, rows: Range<Int>, columns: Range<Int>, kernel: Int,
        rowStride: Int, stride: Int
    ) -> (value: Vector, tap: SIMD16<Int32>) {
        let first = rows.lowerBound * rowStride + columns.lowerBound * stride
        var best = Vector(at: corner + first, count: count)
        var tap = SIMD16<Int32>(repeating: Int32(truncatingIfNeeded: rows.lowerBound * kernel + columns.lowerBound))
        for row in rows {
            for column in columns {
                let value = Vector(at: corner + row * rowStride + column * stride, count: count)
                let wins = (value .> best) .| (value .!= value)
                best.replace(with: value, where: wins)
                tap.replace(with: Int32(truncatingIfNeeded: row * kernel + column), where: wins)
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
            let image = line / dx.height * dy.height * dy.width
            let row = line % dx.height
            let windowRows = shape.windows(covering: row, count: dy.height)
            for column in 0..<dx.width {
                let windowColumns = shape.windows(covering: column, count: dy.width)
                for channel in stride(from: 0, to: dx.channels, by: 16) {
                    let count = min(16, dx.channels - channel)
                    let target = dx.base + (line * dx.width + column) * dx.stride + channel
                    var sum = accumulate ? Vector(at: target, count: count) : Vector()
                    for windowRow in windowRows {
                        let rowTap = (row + shape.padding - windowRow * shape.stride) * shape.kernel
                        for windowColumn in windowColumns {
                            let tap = rowTap + column + shape.padding - windowColumn * shape.stride
                            let window = image + windowRow * dy.width + windowColumn
                            let taps = SIMD16<Int32>(at: argmax + window * dy.channels + channel, count: count)
                            let value = Vector(at: dy.base + window * dy.stride + channel, count: count)
                            sum += Vector().replacing(with: value, where: taps .== Int32(truncatingIfNeeded: tap))
                        }
                    }
                    sum.store(to: target, count: count)
                }
            }
        }
    }

    /// y[n][c] = the mean of channel c of image n.
    public static func average(_ x: Maps, to y: UnsafeMutablePointer<Float>, threads: Threads) {
        let pixels = x.height * x.width
        threads.forEach(x.count) { image in
            Average(
                source: x.base + image * pixels * x.stride, stride: x.stride, pixels: pixels,
                target: y + image * x.channels
            ).run(channels: x.channels)
        }
    }

    /// dx = the gradient of x, from the gradient dy[n][c] of its means.
    public static func averageGradient(_ dy: UnsafePointer<Float>, to dx: Maps, threads: Threads) {
        let pixels = dx.height * dx.width
        threads.forEach(dx.count) { image in
            AverageGradient(
                source: dy + image * dx.channels, target: dx.base + image * pixels * dx.stride, stride: dx.stride,
                pixels: pixels
            ).run(channels: dx.channels)
        }
    }
}

private struct Average: ChannelLoop {
    let source: UnsafePointer<Float>
    let stride: Int
    let pixels: Int
    let target: UnsafeMutablePointer<Float>

    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int) {
        var sum = V(repeating: 0)
        for pixel in 0..<pixels { sum = sum + V(at: source + pixel * stride + channel, count: count) }
        (sum * V(repeating: 1 / Float(pixels))).store(to: target + channel, count: count)
    }
}

private struct AverageGradient: ChannelLoop {
    let source: UnsafePointer<Float>
    let target: UnsafeMutablePointer<Float>
    let stride: Int
    let pixels: Int

    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int) {
        let value = V(at: source + channel, count: count) * V(repeating: 1 / Float(pixels))
        for pixel in 0..<pixels { value.store(to: target + pixel * stride + channel, count: count) }
    }
}

/// Tap numbers: bytes in memory, as wide as floats in registers.
extension SIMD16<Int32> {
    @inline(__always)
    fileprivate init(at pointer: UnsafePointer<UInt8>, count: Int) {
        var bytes = SIMD16<UInt8>()
        if count == 16 {
            bytes = UnsafeRawPointer(pointer).loadUnaligned(as: SIMD16<UInt8>.self)
        } else {
            for lane in 0..<count { bytes[lane] = pointer[lane] }
        }
        self.init(truncatingIfNeeded: bytes)
    }

    @inline(__always)
    fileprivate func store(to pointer: UnsafeMutablePointer<UInt8>?, count: Int) {
        guard let pointer else { return }
        let bytes = SIMD16<UInt8>(truncatingIfNeeded: self)
        if count == 16 {
            UnsafeMutableRawPointer(pointer).storeBytes(of: bytes, as: SIMD16<UInt8>.self)
        } else {
            for lane in 0..<count { pointer[lane] = bytes[lane] }
        }
    }
}
