// Parameter Linear Prediction: Ying, Song, Tang, Xiao, Xiao, "Enhancing deep neural network training efficiency and
// performance through linear prediction", Scientific Reports 14, 15197 (2024), doi 10.1038/s41598-024-65691-0.

import PLPBase
import PLPKernels

/// Parameter Linear Prediction. `PLP()` is the paper's.
///
/// Three iterations make a cycle. With θ₁, θ₂, θ₃ the parameters after each of its three steps:
///
///     m₁₂ = (θ₁ + θ₂)/2,   m₂₃ = (θ₂ + θ₃)/2       midpoints
///     s = m₂₃ − m₁₂                                 slope
///     θ′ = m₂₃ + h s                                prediction, with step h = 1; it replaces θ₃
///
/// which is θ′ = −h/2 θ₁ + 1/2 θ₂ + (1 + h)/2 θ₃, and θ₃ + (θ₂ − θ₁)/2 for h = 1: a linear combination of the iterates,
/// summed up in one vector as they come. In general it has any coefficients, over the last iterates of a period that
/// may be longer than their number. Where the optimizer's step s is the same in all iterations, θ₃ + s/2 is where SGD
/// with 7/6 of the learning rate would be.
public struct PLP: Predictor, Equatable {
    /// What the iterates are multiplied by, the oldest first; two or more.
    public var coefficients: [Double]
    /// Iterations in a cycle, at least as many as there are coefficients; the last ones of a cycle count.
    public var period: Int
    /// The first iteration, counted from 0, of the first cycle.
    public var start: Int
    /// The iteration before which predicting ends; nil for never. A cycle not complete by then predicts nothing.
    public var end: Int?
    public var momentum: MomentumTreatment
    public var statistics: StatisticsTreatment

    /// h in the paper.
    public static let paperStep = 1.0

    /// - Parameter step: h, how many slopes from the last midpoint the prediction lies.
    public init(
        step: Double = paperStep, period: Int = 3, start: Int = 0, end: Int? = nil,
        momentum: MomentumTreatment = .kept, statistics: StatisticsTreatment = .kept
    ) {
        self.init(
            coefficients: PLP.coefficients(step: step), period: period, start: start, end: end,
            momentum: momentum, statistics: statistics)
    }

    /// - Parameter period: the number of coefficients where it is nil.
    public init(
        coefficients: [Double], period: Int? = nil, start: Int = 0, end: Int? = nil,
        momentum: MomentumTreatment = .kept, statistics: StatisticsTreatment = .kept
    ) {
        self.coefficients = coefficients
        self.period = period ?? coefficients.count
        self.start = start
        self.end = end
        self.momentum = momentum
        self.statistics = statistics
    }

    /// (−h/2, 1/2, (1 + h)/2): the paper's prediction from three iterates with a prediction step h.
    public static func coefficients(step: Double) -> [Double] { [-step / 2, 0.5, (1 + step) / 2] }

    public func action(after iteration: Int) -> PredictionAction? {
        guard iteration >= start, iteration < end ?? .max else { return nil }
        let place = (iteration - start) % period - (period - coefficients.count)
        guard place >= 0 else { return nil }
        let coefficient = coefficients[place]
        switch place {
        case 0: return PredictionAction(memory: (0, coefficient), parameters: (1, 0))
        case coefficients.count - 1: return PredictionAction(memory: (1, 0), parameters: (coefficient, 1))
        default: return PredictionAction(memory: (1, coefficient), parameters: (1, 0))
        }
    }

    public func validate() throws(Failure) {
        try require(
            (2...1000).contains(coefficients.count) && coefficients.allSatisfy { abs($0) <= 1e6 },
            "PLP's coefficients", coefficients, expected: "2 to 1000 numbers from -1000000 to 1000000")
        try require("PLP's period", period, in: coefficients.count...largestCount)
        try require("PLP's start", start, in: 0...largestCount)
        if let end {
            try require(end > start, "PLP's end", end, expected: "an iteration after its start, \(start)")
        }
        try requireNoAverage("PLP's statistics")
    }
}

/// The bare prediction: Σ coefficients[i] · iterates[i], for any vectors of one length, rounded as in training.
///
/// - Parameters:
///   - iterates: vectors of one length, the oldest first, as many as there are coefficients.
///   - coefficients: the paper's by default, for three iterates. Computed with in float32.
///   - result: as long as each iterate; may be the memory of one of them, but not overlap one in part.
public func predict(
    _ iterates: [UnsafeBufferPointer<Float>], coefficients: [Double] = PLP.coefficients(step: PLP.paperStep),
    into result: UnsafeMutableBufferPointer<Float>
) throws(Failure) {
    try require(
        !coefficients.isEmpty && iterates.count == coefficients.count, "iterates", iterates.count,
        expected: "\(coefficients.count), one for each coefficient")
    for (number, iterate) in iterates.enumerated() {
        try require(
            iterate.count == result.count, "length of iterate \(number + 1)", iterate.count,
            expected: "\(result.count), the result's")
        if let start = iterate.baseAddress, let place = result.baseAddress {
            let offset = (UnsafeRawPointer(place) - UnsafeRawPointer(start)).magnitude
            try require(
                offset == 0 || offset >= UnsafeRawBufferPointer(iterate).count, "result",
                "memory \(offset) bytes beside iterate \(number + 1)'s",
                expected: "an iterate's own, or none of theirs")
        }
    }
    try require(
        coefficients.allSatisfy { Float($0).isFinite }, "coefficients", coefficients, expected: "finite numbers")
    guard let target = result.baseAddress, result.count > 0 else { return }
    Updates.weightedSum(
        of: iterates.map { $0.baseAddress! }, weights: coefficients.map { Float($0) }, count: result.count, to: target)
}

/// The bare prediction for three arrays: m₂₃ + h (m₂₃ − m₁₂).
///
/// - Parameter step: h, the paper's being 1.
public func predict(
    _ first: [Float], _ second: [Float], _ third: [Float], step: Double = PLP.paperStep
) throws(Failure) -> [Float] {
    var result = third
    try first.withUnsafeBufferPointer { first throws(Failure) in
        try second.withUnsafeBufferPointer { second throws(Failure) in
            try result.withUnsafeMutableBufferPointer { result throws(Failure) in
                try predict(
                    [first, second, UnsafeBufferPointer(result)], coefficients: PLP.coefficients(step: step),
                    into: result)
            }
        }
    }
    return result
}
