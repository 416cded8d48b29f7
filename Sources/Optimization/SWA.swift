// Stochastic weight averaging.

import PLPBase
import PLPKernels

/// Stochastic weight averaging (Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, arXiv 1803.05407): from a start on, the
/// mean of the parameters after every so many iterations, which the training itself never sees. Before the first of
/// them the run's parameters are evaluated and kept, then the mean.
///
///     mean ← n/(n + 1) mean + 1/(n + 1) θ          with the mean of n so far
///
/// The paper starts after three quarters of the run, takes an epoch's iterations for the period, and measures the
/// running statistics of batch normalization anew for the mean.
public struct SWA: Predictor, Equatable {
    /// The first iteration, counted from 0, of the first period.
    public var start: Int
    /// Iterations in a period, the last of which is averaged.
    public var period: Int
    public var statistics: StatisticsTreatment

    public init(start: Int, period: Int = 1, statistics: StatisticsTreatment = .recomputed) {
        self.start = start
        self.period = period
        self.statistics = statistics
    }

    public func action(after iteration: Int) -> PredictionAction? {
        let (periods, rest) = (iteration - start + 1).quotientAndRemainder(dividingBy: period)
        guard periods > 0, rest == 0 else { return nil }
        return PredictionAction(
            memory: (Double(periods - 1) / Double(periods), 1 / Double(periods)), parameters: (1, 0))
    }

    public func hasAverage(after iteration: Int) -> Bool { iteration - start + 1 >= period }

    public func validate() throws(Failure) {
        try require("SWA's start", start, in: 0...largestCount)
        try require("SWA's period", period, in: 1...largestCount)
    }
}
