// Batch normalization over NHWC maps, in the passes of a fused engine: statistics taken block by block while the
// convolution's output is in cache; scale, shift, residual sum and ReLU in one pass, or by whoever reads the output
// (Activation.swift); the backward pass in two.
//
// Forward, per channel over the n pixels of the mini-batch (Ioffe and Szegedy, arXiv 1502.03167):
//     mean = Σ y / n    variance = Σ (y − mean)² / n    x̂ = (y − mean) / √(variance + ε)    z = γ x̂ + β
// Moments of blocks are merged as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
// sample variances" (1979), for many sets at once.
//
// Backward, with dz′ = dz where ReLU let z through, else 0:
//     dβ = Σ dz′    dγ = Σ dz′ x̂    dy = γ / √(variance + ε) · (dz′ − dβ / n − x̂ dγ / n)
//
// Running statistics and the layout of parameters are the network's business.

/// Where a ReLU that followed the normalization let its input through.
public enum ReLUMask {
    /// There was no ReLU.
    case none
    /// Where its output is positive.
    case output(Maps)
    /// Where scale · y + shift is positive, computed again from y, which spares reading the output. Only where no
    /// residual was added.
    case recomputed(Activation)
}

public enum BatchNormalization {
    // MARK: Statistics

    /// Floats in the record of one block's moments: mean [C], sum of squared deviations [C], number of pixels.
    public static func momentsCount(channels: Int) -> Int { 2 * channels + 1 }

    /// The moments of some channels of a block of pixels, into the block's record. Two passes, the second one over what
    /// is in cache.
    public static func moments(
        of maps: Maps, pixels: Range<Int>, channels range: Range<Int>, into record: UnsafeMutablePointer<Float>
    ) {
        let (y, channels) = (maps.slice(range), range.count)
        let mean = record + range.lowerBound
        let squares = mean + maps.channels
        mean.update(repeating: 0, count: channels)
        squares.update(repeating: 0, count: channels)
        // Sums of differences from some pixel: a mean far from zero costs no digits.
        let pivot = y.base + pixels.lowerBound * y.stride
        Sums(y: y, pivot: pivot, sums: mean).run(channels: channels, pixels: pixels)
        let share = 1 / Float(pixels.count)
        for channel in 0..<channels { mean[channel] = pivot[channel] + share * mean[channel] }
        SquaredDeviations(y: y, mean: mean, squares: squares).run(channels: channels, pixels: pixels)
        if range.lowerBound == 0 { record[2 * maps.channels] = Float(pixels.count) }
    }

    /// Merges the records of `blocks` blocks, in float64 and in their order, to mean and biased variance.
    public static func mergeMoments(
        _ records: UnsafePointer<Float>, blocks: Int, channels: Int, mean: UnsafeMutablePointer<Float>,
        variance: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        let stride = momentsCount(channels: channels)
        func pixels(_ block: Int) -> Double { Double(records[block * stride + 2 * channels]) }
        let total = (0..<blocks).reduce(0) { $0 + pixels($1) }
        forEachVector(of: channels, threads) { channel, count in
            var sum = SIMD16<Double>()
            for block in 0..<blocks {
                sum += pixels(block) * SIMD16<Double>(at: records + block * stride + channel, count: count)
            }
            let center = sum / total
            var squares = SIMD16<Double>()
            for block in 0..<blocks {
                let record = records + block * stride + channel
                let deviation = SIMD16<Double>(at: record, count: count) - center
                squares += SIMD16<Double>(at: record + channels, count: count)
                squares += pixels(block) * deviation * deviation
            }
            center.store(to: mean + channel, count: count)
            (squares / total).store(to: variance + channel, count: count)
        }
    }

    /// scale = γ / √(variance + ε) and shift = β − mean · scale, so that z = scale · y + shift; 1 / √(variance + ε).
    public static func coefficients(
        mean: UnsafePointer<Float>, variance: UnsafePointer<Float>, gamma: UnsafePointer<Float>,
        beta: UnsafePointer<Float>, epsilon: Float, channels: Int, scale: UnsafeMutablePointer<Float>,
        shift: UnsafeMutablePointer<Float>, inverseDeviation: UnsafeMutablePointer<Float>? = nil
    ) {
        for channel in 0..<channels {
            let inverse = 1 / (variance[channel] + epsilon).squareRoot()
            scale[channel] = gamma[channel] * inverse
            shift[channel] = beta[channel] - mean[channel] * scale[channel]
            inverseDeviation?[channel] = inverse
        }
    }

    /// Moves running statistics by `momentum` towards those of a mini-batch of `count` pixels, the variance unbiased.
    public static func updateRunning(
        mean: UnsafePointer<Float>, variance: UnsafePointer<Float>, count: Int, momentum: Float, channels: Int,
        runningMean: UnsafeMutablePointer<Float>, runningVariance: UnsafeMutablePointer<Float>
    ) {
        let unbiased = Float(count) / Float(max(count - 1, 1))
        for channel in 0..<channels {
            runningMean[channel] = (1 - momentum) * runningMean[channel] + momentum * mean[channel]
            runningVariance[channel] =
                (1 - momentum) * runningVariance[channel] + momentum * (variance[channel] * unbiased)
        }
    }

    // MARK: Application

    /// z = scale · y + shift (+ residual), then ReLU if asked for, over a block of pixels. z may be y's own memory.
    public static func apply(
        pixels: Range<Int>, _ y: Maps, scale: UnsafePointer<Float>, shift: UnsafePointer<Float>, residual: Maps? = nil,
        relu: Bool, to z: Maps
    ) {
        assert(z.agree(with: y) && residual?.agree(with: y) != false && pixels.upperBound <= y.pixels)
        Application(y: y, scale: scale, shift: shift, residual: residual, relu: relu, z: z)
            .runInOrder(channels: y.channels, pixels: pixels)
    }

    /// The same over all pixels.
    public static func apply(
        _ y: Maps, scale: UnsafePointer<Float>, shift: UnsafePointer<Float>, residual: Maps? = nil, relu: Bool,
        to z: Maps, threads: Threads
    ) {
        let blocks = PixelBlocks(y)
        threads.sweep(blocks.count) {
            apply(pixels: blocks[$0], y, scale: scale, shift: shift, residual: residual, relu: relu, to: z)
        }
    }

    // MARK: Backward

    /// Σ dz′ [C] and Σ dz′ (y − mean) [C], in a record of 2 C floats for each of `PixelBlocks(y)`.
    public static func gradientSums(
        dz: Maps, mask: ReLUMask, y: Maps, mean: UnsafePointer<Float>, into records: UnsafeMutablePointer<Float>,
        threads: Threads
    ) {
        assert(dz.agree(with: y))
        let blocks = PixelBlocks(y)
        threads.sweep(blocks.count) { block in
            let record = records + block * 2 * y.channels
            record.update(repeating: 0, count: 2 * y.channels)
            GradientSums(dz: dz, mask: mask, y: y, mean: mean, record: record)
                .runInOrder(channels: y.channels, pixels: blocks[block])
        }
    }

    /// Adds up the records of `blocks` blocks, in float64 and in their order, to dγ and dβ.
    public static func mergeSums(
        _ records: UnsafePointer<Float>, blocks: Int, channels: Int, inverseDeviation: UnsafePointer<Float>,
        dgamma: UnsafeMutablePointer<Float>, dbeta: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        forEachVector(of: channels, threads) { channel, count in
            var sum = SIMD16<Double>()
            var products = SIMD16<Double>()
            for block in 0..<blocks {
                let record = records + block * 2 * channels + channel
                sum += SIMD16<Double>(at: record, count: count)
                products += SIMD16<Double>(at: record + channels, count: count)
            }
            products *= SIMD16<Double>(at: inverseDeviation + channel, count: count)
            sum.store(to: dbeta + channel, count: count)
            products.store(to: dgamma + channel, count: count)
        }
    }

    /// The gradient dy of the normalization's input. dy may be dz's memory or y's. With `residualGradient`, the
    /// gradient dz′ of a residual that was added before ReLU is stored there or added to what is there.
    public static func inputGradient(
        dz: Maps, mask: ReLUMask, y: Maps, mean: UnsafePointer<Float>, inverseDeviation: UnsafePointer<Float>,
        gamma: UnsafePointer<Float>, dgamma: UnsafePointer<Float>, dbeta: UnsafePointer<Float>, to dy: Maps,
        residualGradient: Maps? = nil, accumulateResidual: Bool = false, threads: Threads
    ) {
        assert(dz.agree(with: y) && dy.agree(with: y) && residualGradient?.agree(with: y) != false)
        let blocks = PixelBlocks(y)
        threads.sweep(blocks.count) { block in
            InputGradient(
                dz: dz, mask: mask, y: y, mean: mean, inverseDeviation: inverseDeviation, gamma: gamma, dgamma: dgamma,
                dbeta: dbeta, dy: dy, residual: residualGradient, accumulates: accumulateResidual
            ).runInOrder(channels: y.channels, pixels: blocks[block])
        }
    }
}

/// Float64 in registers, float32 in memory. Converted by halves: the initializers for 16 become calls.
extension SIMD16<Double> {
    @inline(__always)
    fileprivate init(at source: UnsafePointer<Float>, count: Int) {
        let vector = Vector(at: source, count: count)
        self.init(lowHalf: SIMD8(vector.lowHalf), highHalf: SIMD8(vector.highHalf))
    }

    @inline(__always)
    fileprivate func store(to target: UnsafeMutablePointer<Float>, count: Int) {
        Vector(lowHalf: SIMD8(lowHalf), highHalf: SIMD8(highHalf)).store(to: target, count: count)
    }
}

/// Calls `body` for each 16 channels, and for what is left over, as parts of a loop.
@inline(__always)
private func forEachVector(of channels: Int, _ threads: Threads, _ body: (_ start: Int, _ count: Int) -> Void) {
    threads.forEach(divideUp(channels, by: Vector.lanes)) { index in
        let start = index * Vector.lanes
        body(start, min(Vector.lanes, channels - start))
    }
}

// MARK: - Loops

/// Σ (y − pivot)
private struct Sums: ChannelLoop {
    let y: Maps
    let pivot: UnsafePointer<Float>
    let sums: UnsafeMutablePointer<Float>

    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int, pixels: Range<Int>) {
        let pivot = V(at: pivot + channel, count: count)
        var sum = V(at: sums + channel, count: count)
        for pixel in pixels { sum = sum + (V(at: y.base + channel + pixel * y.stride, count: count) - pivot) }
        sum.store(to: sums + channel, count: count)
    }
}

/// Σ (y − mean)²
private struct SquaredDeviations: ChannelLoop {
    let y: Maps
    let mean: UnsafePointer<Float>
    let squares: UnsafeMutablePointer<Float>

    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int, pixels: Range<Int>) {
        let mean = V(at: mean + channel, count: count)
        var square = V(at: squares + channel, count: count)
        for pixel in pixels {
            let deviation = V(at: y.base + channel + pixel * y.stride, count: count) - mean
            square = square.addingProduct(deviation, deviation)
        }
        square.store(to: squares + channel, count: count)
    }
}

private struct Application: ChannelLoop {
    let y: Maps
    let scale: UnsafePointer<Float>
    let shift: UnsafePointer<Float>
    let residual: Maps?
    let relu: Bool
    let z: Maps

    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int, pixels: Range<Int>) {
        let scale = V(at: scale + channel, count: count)
        let shift = V(at: shift + channel, count: count)
        let source = y.base + channel
        let target = z.base + channel
        @inline(__always)
        func each(_ value: (_ pixel: Int) -> V) {
            for pixel in pixels { value(pixel).store(to: target + pixel * z.stride, count: count) }
        }
        @inline(__always)
        func normalized(_ pixel: Int) -> V {
            shift.addingProduct(V(at: source + pixel * y.stride, count: count), scale)
        }
        if let residual {
            @inline(__always)
            func summed(_ pixel: Int) -> V {
                normalized(pixel) + V(at: residual.base + channel + pixel * residual.stride, count: count)
            }
            if relu { each { summed($0).rectified } } else { each(summed) }
        } else {
            if relu { each { normalized($0).rectified } } else { each(normalized) }
        }
    }
}

extension ReLUMask {
    /// Calls `loop` with the function that computes dz′ from dz, y and the pixel. There is a call for each kind of
    /// mask, so that the loop is compiled for it.
    @inline(__always)
    fileprivate func select<V: Lanes>(
        _: V.Type, channel: Int, count: Int, _ loop: (_ masked: (_ dz: V, _ y: V, _ pixel: Int) -> V) -> Void
    ) {
        switch self {
        case .none:
            loop { dz, _, _ in dz }
        case .output(let z):
            loop { dz, _, pixel in dz.kept(wherePositive: V(at: z.base + channel + pixel * z.stride, count: count)) }
        case .recomputed(let activation):
            let activation = activation.lanes(V.self, channel: channel, count: count)
            loop { dz, y, _ in dz.kept(wherePositive: activation.normalized(y)) }
        }
    }
}

private struct GradientSums: ChannelLoop {
    let dz: Maps
    let mask: ReLUMask
    let y: Maps
    let mean: UnsafePointer<Float>
    let record: UnsafeMutablePointer<Float>

    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int, pixels: Range<Int>) {
        let mean = V(at: mean + channel, count: count)
        mask.select(V.self, channel: channel, count: count) { masked in
            var sum = V(at: record + channel, count: count)
            var products = V(at: record + self.y.channels + channel, count: count)
            for pixel in pixels {
                let y = V(at: y.base + channel + pixel * y.stride, count: count)
                let dz = masked(V(at: dz.base + channel + pixel * dz.stride, count: count), y, pixel)
                sum = sum + dz
                products = products.addingProduct(dz, y - mean)
            }
            sum.store(to: record + channel, count: count)
            products.store(to: record + self.y.channels + channel, count: count)
        }
    }
}

private struct InputGradient: ChannelLoop {
    let dz: Maps
    let mask: ReLUMask
    let y: Maps
    let mean: UnsafePointer<Float>
    let inverseDeviation: UnsafePointer<Float>
    let gamma: UnsafePointer<Float>
    let dgamma: UnsafePointer<Float>
    let dbeta: UnsafePointer<Float>
    let dy: Maps
    let residual: Maps?
    let accumulates: Bool

    /// Per channel, dy = a dz′ + b (y − mean) + c with
    ///     a = γ / √(variance + ε)    b = −a dγ / √(variance + ε) / n    c = −a dβ / n
    @inline(__always)
    func body<V: Lanes>(_: V.Type, channel: Int, count: Int, pixels: Range<Int>) {
        let share = V(repeating: -1 / Float(y.pixels))
        let inverse = V(at: inverseDeviation + channel, count: count)
        let a = V(at: gamma + channel, count: count) * inverse
        let b = a * inverse * V(at: dgamma + channel, count: count) * share
        let c = a * V(at: dbeta + channel, count: count) * share
        let mean = V(at: mean + channel, count: count)
        mask.select(V.self, channel: channel, count: count) { masked in
            @inline(__always)
            func each(_ passOn: (_ dz: V, _ pixel: Int) -> Void) {
                for pixel in pixels {
                    let y = V(at: y.base + channel + pixel * y.stride, count: count)
                    let dz = masked(V(at: dz.base + channel + pixel * dz.stride, count: count), y, pixel)
                    passOn(dz, pixel)
                    c.addingProduct(b, y - mean).addingProduct(a, dz).store(
                        to: dy.base + channel + pixel * dy.stride, count: count)
                }
            }
            if let residual {
                let target = residual.base + channel
                if accumulates {
                    each { dz, pixel in
                        let place = target + pixel * residual.stride
                        (V(at: place, count: count) + dz).store(to: place, count: count)
                    }
                } else {
                    each { dz, pixel in dz.store(to: target + pixel * residual.stride, count: count) }
                }
            } else {
                each { _, _ in }
            }
        }
    }
}
