// What batch normalisation keeps from the forward to the backward pass.

import PLPKernels

/// What one batch normalisation keeps for each channel: the batch's statistics and the affine map they amount to.
struct NormalizationChannels {
    let count: Int
    let mean: UnsafeMutablePointer<Float>
    let variance: UnsafeMutablePointer<Float>
    let inverseDeviation: UnsafeMutablePointer<Float>
    let scale: UnsafeMutablePointer<Float>
    let shift: UnsafeMutablePointer<Float>

    /// What these and ReLU make of the convolution's output.
    var activation: Activation { Activation(scale: scale, shift: shift) }

    static func floats(_ count: Int) -> Int { 5 * count.roundedToLine }

    /// The channels `range` of `count`, whose values lie at `base`.
    init(_ base: UnsafeMutablePointer<Float>, count: Int, _ range: Range<Int>) {
        self.count = range.count
        func values(_ number: Int) -> UnsafeMutablePointer<Float> {
            base + number * count.roundedToLine + range.lowerBound
        }
        (mean, variance, inverseDeviation, scale, shift) = (values(0), values(1), values(2), values(3), values(4))
    }

    /// Training: the batch's own mean and variance, which also move the running ones by a part of the difference, in
    /// steps a tenth of it, as in PyTorch. A convolution's bias would shift nothing but the mean, so it is never added to the maps.
    func useBatchStatistics(
        _ layer: Graph.NormalizedConvolution, _ parameters: UnsafePointer<Float>,
        _ statistics: UnsafeMutablePointer<Float>, pixels: Int, momentum: Float
    ) {
        BatchNormalization.coefficients(
            mean: mean, variance: variance, gamma: parameters + layer.gamma, beta: parameters + layer.beta,
            epsilon: layer.epsilon, channels: count, scale: scale, shift: shift, inverseDeviation: inverseDeviation)
        let runningMean = statistics + layer.mean
        BatchNormalization.updateRunning(
            mean: mean, variance: variance, count: pixels, momentum: momentum, channels: count,
            runningMean: runningMean, runningVariance: statistics + layer.variance)
        guard let bias = layer.bias.map({ parameters + $0 }) else { return }
        for channel in 0..<count { runningMean[channel] += momentum * bias[channel] }
    }

    /// Evaluation: the running statistics and the convolution's bias become one affine map.
    func useRunningStatistics(
        _ layer: Graph.NormalizedConvolution, _ parameters: UnsafePointer<Float>, _ statistics: UnsafePointer<Float>
    ) {
        BatchNormalization.coefficients(
            mean: statistics + layer.mean, variance: statistics + layer.variance, gamma: parameters + layer.gamma,
            beta: parameters + layer.beta, epsilon: layer.epsilon, channels: count, scale: scale, shift: shift)
        guard let bias = layer.bias.map({ parameters + $0 }) else { return }
        for channel in 0..<count { shift[channel] += bias[channel] * scale[channel] }
    }
}
