// Loops over channels, written once for three widths: 64 channels at a time, 16, and what is left over.
//
// Four vectors at a time have four independent chains of additions, which hide the latency of one, and read each pixel
// in runs of four cache lines. SIMD64 is no way to say so: Swift takes it apart element by element.

/// Values of neighbouring channels that are computed together.
protocol Lanes {
    init(repeating value: Float)
    /// The first `count` values at `source`; zero in the lanes behind them.
    init(at source: UnsafePointer<Float>, count: Int)
    func store(to target: UnsafeMutablePointer<Float>, count: Int)
    static func + (a: Self, b: Self) -> Self
    static func - (a: Self, b: Self) -> Self
    static func * (a: Self, b: Self) -> Self
    /// self + a·b, rounded once
    func addingProduct(_ a: Self, _ b: Self) -> Self
    /// max(self, 0), but NaN stays NaN
    var rectified: Self { get }
    /// self where `other` > 0, else 0
    func kept(wherePositive other: Self) -> Self
}

extension SIMD16<Float>: Lanes {
    @inline(__always)
    var rectified: Self { replacing(with: 0, where: self .< 0) }

    @inline(__always)
    func kept(wherePositive other: Self) -> Self { Self().replacing(with: self, where: other .> 0) }
}

/// Four vectors: 64 channels.
struct Vector4: Lanes {
    var a, b, c, d: Vector

    @inline(__always)
    init(_ a: Vector, _ b: Vector, _ c: Vector, _ d: Vector) { (self.a, self.b, self.c, self.d) = (a, b, c, d) }

    @inline(__always)
    init(repeating value: Float) {
        let vector = Vector(repeating: value)
        self.init(vector, vector, vector, vector)
    }

    @inline(__always)
    init(at source: UnsafePointer<Float>, count: Int) {
        self.init(
            Vector(at: source), Vector(at: source + 16), Vector(at: source + 32), Vector(at: source + 48))
    }

    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>, count: Int) {
        a.store(to: target)
        b.store(to: target + 16)
        c.store(to: target + 32)
        d.store(to: target + 48)
    }

    @inline(__always)
    static func + (x: Self, y: Self) -> Self { Self(x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d) }

    @inline(__always)
    static func - (x: Self, y: Self) -> Self { Self(x.a - y.a, x.b - y.b, x.c - y.c, x.d - y.d) }

    @inline(__always)
    static func * (x: Self, y: Self) -> Self { Self(x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d) }

    @inline(__always)
    func addingProduct(_ x: Self, _ y: Self) -> Self {
        Self(
            a.addingProduct(x.a, y.a), b.addingProduct(x.b, y.b), c.addingProduct(x.c, y.c), d.addingProduct(x.d, y.d))
    }

    @inline(__always)
    var rectified: Self { Self(a.rectified, b.rectified, c.rectified, d.rectified) }

    @inline(__always)
    func kept(wherePositive x: Self) -> Self {
        Self(
            a.kept(wherePositive: x.a), b.kept(wherePositive: x.b), c.kept(wherePositive: x.c),
            d.kept(wherePositive: x.d))
    }
}

/// A loop over pixels and their channels, whose body is compiled for 64 channels, for 16, and for the rest.
protocol ChannelLoop {
    /// Computes the `count` channels from `channel` on, over some pixels; `count` is all lanes of `V`, or less for the
    /// last channels. Called once or more for the same channels, each time with the next pixels.
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int, pixels: Range<Int>)
}

extension ChannelLoop {
    /// Takes some channels through all pixels before the next ones: what belongs to a channel stays in registers. For
    /// pixels that are in cache.
    @inline(__always)
    func run(channels: Int, pixels: Range<Int>) {
        var channel = 0
        while channel + 64 <= channels {
            body(Vector4.self, channel: channel, count: 64, pixels: pixels)
            channel += 64
        }
        while channel + 16 <= channels {
            body(Vector.self, channel: channel, count: 16, pixels: pixels)
            channel += 16
        }
        if channel < channels {
            body(Vector.self, channel: channel, count: channels - channel, pixels: pixels)
        }
    }

    /// Takes each pixel through all channels before the next one: memory is read in order, which is up to twice as fast
    /// where several maps come from there, because the processor sees it coming.
    @inline(__always)
    func runInOrder(channels: Int, pixels: Range<Int>) {
        let step = channels <= 64 ? pixels.count : 1
        var pixel = pixels.lowerBound
        while pixel < pixels.upperBound {
            run(channels: channels, pixels: pixel..<pixel + step)
            pixel += step
        }
    }
}

/// Calls `body` for each 16 values of a range, and for what is left over.
@inline(__always)
func forEachVector(in range: Range<Int>, _ body: (_ start: Int, _ count: Int) -> Void) {
    var start = range.lowerBound
    while start + 16 <= range.upperBound {
        body(start, 16)
        start += 16
    }
    if start < range.upperBound { body(start, range.upperBound - start) }
}

/// Pixels in blocks of equal size, the last one shorter; the size follows from the shape alone.
public struct PixelBlocks: Sendable {
    public let pixels: Int
    /// Pixels in each block but the last.
    public let size: Int

    /// Blocks of about 64 KB: a few maps' blocks fit into the second-level cache together. At most 1024 pixels, because
    /// sums over a block are float32.
    public init(pixels: Int, channels: Int) {
        self.pixels = pixels
        size = min(max(Cut.block / max(channels, 1), 16), 1024)
    }

    public init(_ maps: Maps) { self.init(pixels: maps.pixels, channels: maps.channels) }

    public var count: Int { divideUp(pixels, by: size) }

    public subscript(block: Int) -> Range<Int> { block * size..<min((block + 1) * size, pixels) }
}
