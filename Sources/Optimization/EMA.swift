// An exponential moving average.

import PLPBase
import PLPKernels

/// An exponential moving average of the parameters, which the training itself never sees: the average is what is
/// evaluated and kept.
///
///     average ← β average + (1 − β) θ          β = min(decay, (1 + t)/(10 + t)) at iteration t, with `warmup`
///
/// Without the warm-up, the parameters from before the first iteration are in the average for a long time: after
/// thousand iterations with a decay of 0.999, they are a third of it. `statistics: .predicted` averages the running
/// statistics of batch normalization likewise, `.recomputed` measures them anew for the average; the run's own
/// (`.kept`), which were measured under the run's parameters, do not fit it.
public struct EMA: Predictor, Equatable {
    /// β, the part of the average that stays at each iteration; at least 0 and below 1.
    public var decay: Double
    /// Whether the decay is less at first.
    public var warmup: Bool
    public var statistics: StatisticsTreatment
    public var remembersStart: Bool { true }

    public init(decay: Double = 0.999, warmup: Bool = true, statistics: StatisticsTreatment = .predicted) {
        self.decay = decay
        self.warmup = warmup
        self.statistics = statistics
    }

    public func action(after iteration: Int) -> PredictionAction? {
        let decay = warmup ? min(decay, (1 + Double(iteration)) / (10 + Double(iteration))) : decay
        return PredictionAction(memory: (decay, 1 - decay), parameters: (1, 0))
    }

    public func hasAverage(after iteration: Int) -> Bool { true }

    public func validate() throws(Failure) {
        try require(decay >= 0 && decay < 1, "EMA's decay", decay, expected: "a number from 0 to below 1")
    }
}
