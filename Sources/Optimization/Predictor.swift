// What all parameter predictors have in common. Each works on one more vector of the size of the parameters, the
// memory, and after each step of the optimizer does, for every element,
//
//     memory ← a memory + b θ,   then   θ ← c θ + d memory
//
// with four numbers that depend on the iteration alone. That is all the engine has to know, and it does both in the
// pass of the optimizer's step. Each predictor has a file of its own; Prediction.swift is one at work.

import PLPBase
import PLPKernels

/// A rule that replaces or averages a network's parameters as they are trained. It encodes all its options: a
/// checkpoint is for a trainer with the same.
public protocol Predictor: Sendable, Encodable {
    /// What happens to the optimizer's momentum where parameters are replaced.
    var momentum: MomentumTreatment { get }
    /// What happens to the running statistics of batch normalization.
    var statistics: StatisticsTreatment { get }
    /// Whether the memory holds a copy of the parameters before the first iteration, and not zeros.
    var remembersStart: Bool { get }
    /// What is done after the optimizer's step of an iteration, counted from 0 over all the steps of an optimizer; nil
    /// where nothing is.
    func action(after iteration: Int) -> PredictionAction?
    /// Whether, after that, the memory and not the run's parameters is the model to evaluate and to keep.
    func hasAverage(after iteration: Int) -> Bool
    /// Throws ``Failure`` naming the first option out of its range.
    func validate() throws(Failure)
}

extension Predictor {
    public var momentum: MomentumTreatment { .kept }
    public var statistics: StatisticsTreatment { .kept }
    public var remembersStart: Bool { false }
    public func hasAverage(after iteration: Int) -> Bool { false }

    /// Throws where the statistics are to be recomputed, which only averages' may be.
    func requireNoAverage(_ name: String) throws(Failure) {
        try require(statistics != .recomputed, name, statistics, expected: "kept or predicted ones")
    }
}

/// What happens to the momentum where a predictor replaces the parameters.
public enum MomentumTreatment: String, Sendable, CaseIterable, Encodable {
    /// It is left as it is.
    case kept
    /// It starts from nothing again: the next step's direction is that step's gradient.
    case reset
}

/// What a predictor does to the running means and variances of batch normalization. (Their γ and β are parameters.)
public enum StatisticsTreatment: String, Sendable, CaseIterable, Encodable {
    /// They stay the run's own.
    case kept
    /// They go through the same arithmetic as the parameters. A variance it makes negative becomes zero.
    case predicted
    /// Of averages: they are averaged likewise, and at an epoch's end measured anew under the average, on training
    /// images, before it is measured itself.
    case recomputed
}
