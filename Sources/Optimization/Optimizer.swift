// What all optimizers have in common. Each is a rule by which gradients move parameters, in one pass over flat vectors
// that knows no layer, and that ends with what a predictor does (Predictor.swift).

import PLPBase
import PLPKernels

/// A rule by which gradients move parameters, and its options. It encodes all of them: a checkpoint is for a trainer
/// with the same.
public protocol Optimizer: Sendable, Encodable {
    /// The learning rate, before the schedule's factor.
    var learningRate: Double { get }
    /// The vectors that it keeps from step to step, each of the parameters' size, by PyTorch's names.
    var state: [String] { get }
    /// Moves the parameters by one step and performs the pass's prediction. A vector of the state that starts at this
    /// step is to be written without being read.
    func step(_ pass: UpdatePass, at moment: StepMoment)
    /// Throws ``Failure`` naming the first option out of its range.
    func validate() throws(Failure)
}

/// When a step is done.
public struct StepMoment: Sendable {
    /// With the schedule's factor.
    public var learningRate: Double
    /// Steps done before this one.
    public var steps: Int
    /// Those of them since the momentum started: all, but where a prediction has reset it.
    public var stepsOfMomentum: Int
    /// Where in a run; nil for a step outside one.
    public var position: RunPosition?
}
