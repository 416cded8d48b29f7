// Lookahead: slow parameters behind the fast ones.

import PLPBase
import PLPKernels

/// Lookahead (Zhang, Lucas, Hinton, Ba, arXiv 1907.08610): every `period` iterations the slow parameters φ, which are
/// the memory, move towards the fast ones, which then start from there.
///
///     φ ← φ + α (θ − φ),   θ ← φ
public struct Lookahead: Predictor, Equatable {
    /// k, the iterations between two moves of the slow parameters.
    public var period: Int
    /// α, the part of the way that the slow parameters move; 0 to 1.
    public var rate: Double
    public var momentum: MomentumTreatment
    public var statistics: StatisticsTreatment
    public var remembersStart: Bool { true }

    public init(
        period: Int = 5, rate: Double = 0.5, momentum: MomentumTreatment = .kept,
        statistics: StatisticsTreatment = .kept
    ) {
        self.period = period
        self.rate = rate
        self.momentum = momentum
        self.statistics = statistics
    }

    public func action(after iteration: Int) -> PredictionAction? {
        (iteration + 1) % period == 0
            ? PredictionAction(memory: (1 - rate, rate), parameters: (0, 1)) : nil
    }

    public func validate() throws(Failure) {
        try require("Lookahead's period", period, in: 1...largestCount)
        try require("Lookahead's rate", rate, in: 0...1)
        try requireNoAverage("Lookahead's statistics")
    }
}
