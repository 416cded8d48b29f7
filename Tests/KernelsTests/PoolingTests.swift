import PLPKernels
import Testing

/// Max pooling of one plane as PyTorch does it: value and tap of each window.
private func maximum(
    _ x: Sample, _ shape: PoolingShape, _ image: Int, _ row: Int, _ column: Int, _ channel: Int
) -> (value: Float, tap: Int) {
    let maps = x.maps
    var best: (value: Float, tap: Int)?
    for tapRow in 0..<shape.kernel {
        for tapColumn in 0..<shape.kernel {
            let y = row * shape.stride - shape.padding + tapRow
            let x = column * shape.stride - shape.padding + tapColumn
            guard (0..<maps.height).contains(y), (0..<maps.width).contains(x) else { continue }
            let value = maps.base[((image * maps.height + y) * maps.width + x) * maps.stride + channel]
            if best == nil || value > best!.value || value.isNaN {
                best = (value, tapRow * shape.kernel + tapColumn)
            }
        }
    }
    return best!
}

struct PoolingTests {
    let threads = Threads(2)
    static let windows = [
        PoolingShape(kernel: 2, stride: 2), PoolingShape(kernel: 3, stride: 2, padding: 1),
        PoolingShape(kernel: 3, stride: 1, padding: 1), PoolingShape(kernel: 3, stride: 3),
        PoolingShape(kernel: 5, stride: 2, padding: 2), PoolingShape(kernel: 1, stride: 2),
        PoolingShape(kernel: 16, stride: 7, padding: 8),
    ]

    private func output(_ shape: MapShape, _ window: PoolingShape) -> MapShape {
        var result = shape
        (result.height, result.width) = (window.outputLength(shape.height), window.outputLength(shape.width))
        result.stride = shape.channels + 3
        return result
    }

    @Test(arguments: MapShape.all.filter { $0.height > 1 }, PoolingTests.windows)
    func maximum(_ shape: MapShape, _ window: PoolingShape) {
        let x = Sample(shape, seed: 1)
        // Few different values, so that many are equal; some of them NaN.
        x.set(x.values.map { $0 > 2 ? .nan : ($0 * 2).rounded() })
        let y = Sample(output(shape, window))
        var argmax = [UInt8](repeating: 255, count: y.maps.pixels * shape.channels)
        Pooling.max(x.maps, window, to: y.maps, argmax: &argmax, threads: threads)
        #expect(y.gapsAreIntact)

        // The gradient, by scattering.
        let dy = Sample(output(shape, window), seed: 2)
        let dx = Sample(shape, seed: 3)
        var expected = dx.values.map(Double.init)
        var place = 0
        let values = y.values
        let gradient = dy.values
        for image in 0..<shape.images {
            for row in 0..<y.maps.height {
                for column in 0..<y.maps.width {
                    for channel in 0..<shape.channels {
                        let (value, tap) = KernelsTests.maximum(x, window, image, row, column, channel)
                        #expect(value == values[place] || value.isNaN && values[place].isNaN)
                        #expect(tap == Int(argmax[place]))
                        let inputRow = row * window.stride - window.padding + tap / window.kernel
                        let inputColumn = column * window.stride - window.padding + tap % window.kernel
                        expected[
                            ((image * shape.height + inputRow) * shape.width + inputColumn) * shape.channels + channel
                        ] += Double(gradient[place])
                        place += 1
                    }
                }
            }
        }
        Pooling.maxGradient(dy.maps, argmax: argmax, window, to: dx.maps, accumulate: true, threads: threads)
        #expect(agree(dx.values, expected, tolerance: 1e-6))
        #expect(dx.gapsAreIntact)

        let before = Sample(shape, seed: 3).values
        Pooling.maxGradient(dy.maps, argmax: argmax, window, to: dx.maps, accumulate: false, threads: threads)
        #expect(agree(dx.values, zip(expected, before).map { $0 - Double($1) }, tolerance: 1e-6))

        expectSame { threads in
            Pooling.maxGradient(dy.maps, argmax: argmax, window, to: dx.maps, accumulate: false, threads: threads)
            return dx.values
        }
    }

    @Test func maximumWithoutTaps() {
        let shape = MapShape(channels: 24, stride: 24)
        let window = PoolingShape(kernel: 3, stride: 1, padding: 1)
        let x = Sample(shape, seed: 1)
        let (with, without) = (Sample(shape), Sample(shape))
        var argmax = [UInt8](repeating: 0, count: x.maps.pixels * shape.channels)
        Pooling.max(x.maps, window, to: with.maps, argmax: &argmax, threads: threads)
        Pooling.max(x.maps, window, to: without.maps, threads: threads)
        #expect(with.values == without.values)
    }

    /// The same values and the same taps; NaN stays NaN.
    @Test(arguments: MapShape.all.filter { $0.height > 1 }, PoolingTests.windows)
    func maximumThroughActivation(_ shape: MapShape, _ window: PoolingShape) {
        let (x, z) = (Sample(shape, seed: 1), Sample(shape))
        x.set(x.values.map { $0 > 2 ? .nan : $0 })
        let (scale, shift) = (normals(shape.channels, seed: 2), normals(shape.channels, seed: 3))
        scale.withUnsafeBufferPointer { scale in
            shift.withUnsafeBufferPointer { shift in
                let activation = Activation(scale: scale.baseAddress!, shift: shift.baseAddress!)
                BatchNormalization.apply(
                    x.maps, scale: scale.baseAddress!, shift: shift.baseAddress!, relu: true, to: z.maps,
                    threads: threads)
                func pooled(_ x: Maps, through activation: Activation?) -> ([UInt32], [UInt8]) {
                    let y = Sample(output(shape, window))
                    var taps = [UInt8](repeating: 255, count: y.maps.pixels * shape.channels)
                    Pooling.max(x, through: activation, window, to: y.maps, argmax: &taps, threads: threads)
                    return (y.values.map(\.bitPattern), taps)
                }
                #expect(pooled(x.maps, through: activation) == pooled(z.maps, through: nil))
            }
        }
    }

    @Test(arguments: MapShape.all)
    func average(_ shape: MapShape) {
        let x = Sample(shape, seed: 1)
        var y = [Float](repeating: .nan, count: shape.images * shape.channels)
        Pooling.average(x.maps, to: &y, threads: threads)
        var expected = [Double](repeating: 0, count: y.count)
        let pixels = shape.height * shape.width
        for (index, value) in x.values.enumerated() {
            expected[index / (pixels * shape.channels) * shape.channels + index % shape.channels] +=
                Double(value) / Double(pixels)
        }
        #expect(agree(y, expected, tolerance: 3e-6))

        let dx = Sample(shape)
        Pooling.averageGradient(y, to: dx.maps, threads: threads)
        let spread = (0..<shape.pixels * shape.channels).map {
            expected[$0 / (pixels * shape.channels) * shape.channels + $0 % shape.channels] / Double(pixels)
        }
        #expect(agree(dx.values, spread, tolerance: 3e-6))
        #expect(dx.gapsAreIntact)
    }
}
