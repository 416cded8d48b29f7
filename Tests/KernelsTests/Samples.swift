// Random values for the tests, and comparisons with references in float64.

import Glibc
import PLPBase
import PLPKernels
import Testing

let threadCounts = [1, 2, 3, 8]

/// Normally distributed values, the same on each run (Box, Muller, 1958).
func normals(_ count: Int, seed: UInt64, mean: Float = 0, deviation: Float = 1) -> [Float] {
    var random = RandomStream(seed: seed, .synthesis)
    func uniform() -> Double { Double(random.next() >> 11) * 0x1p-53 }
    return (0..<count).map { _ in
        let radius = (-2 * log(uniform() + 0x1p-54)).squareRoot()
        return mean + deviation * Float(radius * cos(2 * Double.pi * uniform()))
    }
}

/// Maps with memory of their own. What lies between the channels of neighbouring pixels is `gap`, and has to stay.
final class Sample {
    static let gap: Float = 1e30

    let buffer: FloatBuffer
    let maps: Maps

    init(_ shape: MapShape, seed: UInt64? = nil, mean: Float = 0, deviation: Float = 1) {
        buffer = try! FloatBuffer(count: shape.pixels * shape.stride)
        maps = Maps(
            buffer.pointer, count: shape.images, height: shape.height, width: shape.width, channels: shape.channels,
            stride: shape.stride)
        buffer.values.update(repeating: Sample.gap)
        set(
            seed.map { normals(shape.pixels * shape.channels, seed: $0, mean: mean, deviation: deviation) }
                ?? [Float](repeating: .nan, count: shape.pixels * shape.channels))
    }

    func set(_ values: [Float]) {
        for (index, value) in values.enumerated() {
            maps.base[index / maps.channels * maps.stride + index % maps.channels] = value
        }
    }

    /// All values without the gaps, [pixels][channels].
    var values: [Float] {
        (0..<maps.pixels * maps.channels).map { maps.base[$0 / maps.channels * maps.stride + $0 % maps.channels] }
    }

    var gapsAreIntact: Bool {
        buffer.values.indices.allSatisfy { $0 % maps.stride < maps.channels || buffer.values[$0] == Sample.gap }
    }
}

struct MapShape: CustomTestStringConvertible {
    var images = 2
    var height = 5
    var width = 7
    var channels: Int
    var stride: Int

    var pixels: Int { images * height * width }
    var testDescription: String { "\(images)×\(height)×\(width)×\(channels) every \(stride)" }

    /// Odd channel counts, slices of wider maps, few pixels, and more pixels than one block has.
    static let all = [
        MapShape(channels: 1, stride: 1), MapShape(channels: 3, stride: 3), MapShape(channels: 5, stride: 9),
        MapShape(channels: 16, stride: 16), MapShape(channels: 24, stride: 24), MapShape(channels: 40, stride: 57),
        MapShape(channels: 64, stride: 96), MapShape(channels: 187, stride: 187),
        MapShape(images: 5, height: 1, width: 1, channels: 20, stride: 20),
        MapShape(images: 3, height: 28, width: 27, channels: 83, stride: 90),
    ]
}

/// Whether all values differ from the reference by no more than `tolerance` times its largest magnitude.
func agree(_ values: some Sequence<Float>, _ reference: [Double], tolerance: Double) -> Bool {
    let values = Array(values)
    let scale = reference.reduce(1e-30) { max($0, abs($1)) }
    return values.count == reference.count
        && zip(values, reference).allSatisfy { abs(Double($0) - $1) <= tolerance * scale }
}

/// Calls `result` with each number of threads and expects the same bits from all.
func expectSame(_ result: (Threads) -> [Float]) {
    let expected = result(Threads(1)).map(\.bitPattern)
    for count in threadCounts.dropFirst() {
        #expect(result(Threads(count, processors: count)).map(\.bitPattern) == expected, "\(count) threads")
    }
}
