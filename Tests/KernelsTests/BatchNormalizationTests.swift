import PLPKernels
import Testing

/// The layer in float64, over values [pixels][channels].
private struct Reference {
    let channels: Int
    let gamma: [Double]
    let beta: [Double]
    let epsilon = 1e-5
    let relu: Bool

    func statistics(_ y: [Double]) -> (mean: [Double], variance: [Double]) {
        let pixels = Double(y.count / channels)
        var mean = [Double](repeating: 0, count: channels)
        var variance = mean
        for (index, value) in y.enumerated() { mean[index % channels] += value / pixels }
        for (index, value) in y.enumerated() {
            variance[index % channels] += (value - mean[index % channels]) * (value - mean[index % channels]) / pixels
        }
        return (mean, variance)
    }

    func output(_ y: [Double], residual: [Double]?) -> [Double] {
        let (mean, variance) = statistics(y)
        return y.enumerated().map { index, value in
            let channel = index % channels
            let z =
                gamma[channel] * (value - mean[channel]) / (variance[channel] + epsilon).squareRoot() + beta[channel]
                + (residual?[index] ?? 0)
            return relu ? max(z, 0) : z
        }
    }

    func gradients(
        _ y: [Double], dz: [Double], residual: [Double]?
    ) -> (dy: [Double], dgamma: [Double], dbeta: [Double], masked: [Double]) {
        let (mean, variance) = statistics(y)
        let z = output(y, residual: residual)
        let masked = zip(dz, z).map { relu && $1 <= 0 ? 0 : $0 }
        let pixels = Double(y.count / channels)
        let inverse = variance.map { 1 / ($0 + epsilon).squareRoot() }
        var dgamma = [Double](repeating: 0, count: channels)
        var dbeta = dgamma
        for (index, gradient) in masked.enumerated() {
            let channel = index % channels
            dbeta[channel] += gradient
            dgamma[channel] += gradient * (y[index] - mean[channel]) * inverse[channel]
        }
        let dy = masked.enumerated().map { index, gradient in
            let channel = index % channels
            let normalized = (y[index] - mean[channel]) * inverse[channel]
            return gamma[channel] * inverse[channel]
                * (gradient - dbeta[channel] / pixels - normalized * dgamma[channel] / pixels)
        }
        return (dy, dgamma, dbeta, masked)
    }
}

/// One layer's vectors and its passes, as a network would call them.
private final class Layer {
    let y: Sample
    let channels: Int
    let gamma, beta: [Float]
    var mean, variance, scale, shift, inverse, dgamma, dbeta: [Float]
    let records: FloatBuffer
    let blocks: PixelBlocks

    init(_ shape: MapShape, mean: Float = 2) {
        y = Sample(shape, seed: 1, mean: mean, deviation: 3)
        channels = shape.channels
        gamma = normals(channels, seed: 2, mean: 1, deviation: 0.3)
        beta = normals(channels, seed: 3)
        let zeros = [Float](repeating: 0, count: channels)
        (self.mean, variance, scale, shift, inverse, dgamma, dbeta) = (zeros, zeros, zeros, zeros, zeros, zeros, zeros)
        blocks = PixelBlocks(y.maps)
        records = try! FloatBuffer(count: blocks.count * BatchNormalization.momentsCount(channels: channels))
    }

    func reference(relu: Bool) -> Reference {
        Reference(channels: channels, gamma: gamma.map(Double.init), beta: beta.map(Double.init), relu: relu)
    }

    func takeStatistics(_ threads: Threads) {
        let stride = BatchNormalization.momentsCount(channels: channels)
        threads.forEach(blocks.count) {
            BatchNormalization.moments(
                of: y.maps, pixels: blocks[$0], channels: 0..<y.maps.channels, into: records.pointer + $0 * stride)
        }
        BatchNormalization.mergeMoments(
            records.pointer, blocks: blocks.count, channels: channels, mean: &mean, variance: &variance,
            threads: threads)
        BatchNormalization.coefficients(
            mean: mean, variance: variance, gamma: gamma, beta: beta, epsilon: 1e-5, channels: channels, scale: &scale,
            shift: &shift, inverseDeviation: &inverse)
    }

    func takeSums(_ dz: Maps, _ mask: ReLUMask, _ threads: Threads) {
        BatchNormalization.gradientSums(
            dz: dz, mask: mask, y: y.maps, mean: mean, into: records.pointer, threads: threads)
        BatchNormalization.mergeSums(
            records.pointer, blocks: blocks.count, channels: channels, inverseDeviation: inverse, dgamma: &dgamma,
            dbeta: &dbeta, threads: threads)
    }
}

struct BatchNormalizationTests {
    let threads = Threads(2)

    @Test(arguments: MapShape.all)
    func statistics(_ shape: MapShape) {
        let layer = Layer(shape)
        layer.takeStatistics(threads)
        let (mean, variance) = layer.reference(relu: false).statistics(layer.y.values.map(Double.init))
        #expect(agree(layer.mean, mean, tolerance: 1e-6))
        #expect(agree(layer.variance, variance, tolerance: 2e-6))
    }

    /// A mean far from zero, where Σ y² / n − mean² would have lost the variance.
    @Test func statisticsFarFromZero() {
        let layer = Layer(MapShape(images: 4, height: 32, width: 32, channels: 20, stride: 20), mean: 30_000)
        layer.takeStatistics(threads)
        let (mean, variance) = layer.reference(relu: false).statistics(layer.y.values.map(Double.init))
        #expect(agree(layer.mean, mean, tolerance: 1e-7))
        #expect(agree(layer.variance, variance, tolerance: 3e-5))
    }

    @Test(arguments: MapShape.all, [false, true])
    func application(_ shape: MapShape, relu: Bool) {
        for residual in [nil, Sample(shape, seed: 4)] {
            let layer = Layer(shape)
            layer.takeStatistics(threads)
            let expected = layer.reference(relu: relu).output(
                layer.y.values.map(Double.init), residual: residual?.values.map(Double.init))
            let z = Sample(shape)
            for target in [z, layer.y] {
                BatchNormalization.apply(
                    layer.y.maps, scale: layer.scale, shift: layer.shift, residual: residual?.maps, relu: relu,
                    to: target.maps, threads: threads)
                #expect(agree(target.values, expected, tolerance: 1e-6))
                #expect(target.gapsAreIntact)
            }
        }
    }

    @Test func notANumberPassesThroughReLU() {
        let y = Sample(MapShape(channels: 17, stride: 17), seed: 1)
        y.maps.base[0] = .nan
        y.maps.base[16] = .nan
        let (ones, zeros) = ([Float](repeating: 1, count: 17), [Float](repeating: 0, count: 17))
        BatchNormalization.apply(y.maps, scale: ones, shift: zeros, relu: true, to: y.maps, threads: threads)
        #expect(y.values[0].isNaN && y.values[16].isNaN)
        #expect(y.values.filter { !$0.isNaN }.allSatisfy { $0 >= 0 })
    }

    /// All kinds of masks; in place of dz, of y and elsewhere.
    @Test(arguments: MapShape.all, [false, true])
    func gradients(_ shape: MapShape, relu: Bool) {
        for residual in [nil, Sample(shape, seed: 4)] {
            let layer = Layer(shape)
            layer.takeStatistics(threads)
            let z = Sample(shape)
            BatchNormalization.apply(
                layer.y.maps, scale: layer.scale, shift: layer.shift, residual: residual?.maps, relu: relu, to: z.maps,
                threads: threads)
            let (y, dz) = (layer.y.values, Sample(shape, seed: 5))
            let expected = layer.reference(relu: relu).gradients(
                y.map(Double.init), dz: dz.values.map(Double.init), residual: residual?.values.map(Double.init))

            layer.scale.withUnsafeBufferPointer { scale in
                layer.shift.withUnsafeBufferPointer { shift in
                    var masks = relu ? [ReLUMask.output(z.maps)] : [.none]
                    if relu && residual == nil {
                        masks.append(.recomputed(Activation(scale: scale.baseAddress!, shift: shift.baseAddress!)))
                    }
                    for mask in masks {
                        layer.takeSums(dz.maps, mask, threads)
                        #expect(agree(layer.dgamma, expected.dgamma, tolerance: 3e-6))
                        #expect(agree(layer.dbeta, expected.dbeta, tolerance: 3e-6))
                        for place in ["elsewhere", "dz", "y"] {
                            let (dy, gradient, input) = (Sample(shape), Sample(shape, seed: 5), layer.y)
                            input.set(y)
                            let target = place == "dz" ? gradient : place == "y" ? input : dy
                            BatchNormalization.inputGradient(
                                dz: gradient.maps, mask: mask, y: input.maps, mean: layer.mean,
                                inverseDeviation: layer.inverse, gamma: layer.gamma, dgamma: layer.dgamma,
                                dbeta: layer.dbeta, to: target.maps, threads: threads)
                            #expect(agree(target.values, expected.dy, tolerance: 3e-6), "\(place)")
                            #expect(target.gapsAreIntact)
                        }
                        layer.y.set(y)
                    }
                }
            }
        }
    }

    @Test(arguments: [false, true])
    func residualGradient(accumulate: Bool) {
        let shape = MapShape(channels: 40, stride: 57)
        let (layer, residual, dz) = (Layer(shape), Sample(shape, seed: 4), Sample(shape, seed: 5))
        layer.takeStatistics(threads)
        let z = Sample(shape)
        BatchNormalization.apply(
            layer.y.maps, scale: layer.scale, shift: layer.shift, residual: residual.maps, relu: true, to: z.maps,
            threads: threads)
        layer.takeSums(dz.maps, .output(z.maps), threads)
        let expected = layer.reference(relu: true).gradients(
            layer.y.values.map(Double.init), dz: dz.values.map(Double.init), residual: residual.values.map(Double.init))
        let target = Sample(shape, seed: 6)
        let before = target.values
        BatchNormalization.inputGradient(
            dz: dz.maps, mask: .output(z.maps), y: layer.y.maps, mean: layer.mean, inverseDeviation: layer.inverse,
            gamma: layer.gamma, dgamma: layer.dgamma, dbeta: layer.dbeta, to: dz.maps, residualGradient: target.maps,
            accumulateResidual: accumulate, threads: threads)
        #expect(agree(dz.values, expected.dy, tolerance: 3e-6))
        let sum = zip(before, expected.masked).map { accumulate ? Double($0) + $1 : $1 }
        #expect(agree(target.values, sum, tolerance: 1e-7))
        #expect(target.gapsAreIntact)
    }

    /// The reference's own gradient against differences of the reference: Σ dz · z is the loss.
    @Test func referenceAgainstFiniteDifferences() {
        let shape = MapShape(images: 1, height: 3, width: 3, channels: 3, stride: 3)
        let layer = Layer(shape)
        let reference = layer.reference(relu: true)
        let y = layer.y.values.map(Double.init)
        let residual = normals(y.count, seed: 7).map(Double.init)
        let dz = normals(y.count, seed: 8).map(Double.init)
        func loss(_ y: [Double]) -> Double {
            zip(reference.output(y, residual: residual), dz).reduce(0) { $0 + $1.0 * $1.1 }
        }
        let gradients = reference.gradients(y, dz: dz, residual: residual)
        for index in y.indices {
            var (above, below) = (y, y)
            above[index] += 1e-5
            below[index] -= 1e-5
            #expect(abs((loss(above) - loss(below)) / 2e-5 - gradients.dy[index]) < 1e-7)
        }
    }

    @Test func sameOnAnyNumberOfThreads() {
        let shape = MapShape(images: 3, height: 28, width: 27, channels: 83, stride: 90)
        expectSame { threads in
            let (layer, dz) = (Layer(shape), Sample(shape, seed: 5))
            layer.takeStatistics(threads)
            layer.takeSums(dz.maps, .none, threads)
            BatchNormalization.inputGradient(
                dz: dz.maps, mask: .none, y: layer.y.maps, mean: layer.mean, inverseDeviation: layer.inverse,
                gamma: layer.gamma, dgamma: layer.dgamma, dbeta: layer.dbeta, to: dz.maps, threads: threads)
            return layer.mean + layer.variance + layer.dgamma + layer.dbeta + dz.values
        }
    }

    @Test func runningStatistics() {
        var (mean, variance): ([Float], [Float]) = ([0, 1], [1, 2])
        BatchNormalization.updateRunning(
            mean: [10, 20], variance: [3, 6], count: 4, momentum: 0.1, channels: 2, runningMean: &mean,
            runningVariance: &variance)
        #expect(agree(mean, [1, 2.9], tolerance: 1e-6))
        #expect(agree(variance, [0.9 + 0.4, 1.8 + 0.8], tolerance: 1e-6))
    }
}
