// The options of stochastic gradient descent, and how its momentum goes through a run. The update itself is in Kernels
// (Updates+SGD.swift).

import PLPBase
import PLPKernels

/// Stochastic gradient descent with momentum, as PyTorch's `torch.optim.SGD` does it, without dampening. `SGD()` is the
/// paper's baseline.
///
///     g ← ∇loss + weightDecay · θ
///     v ← μ v + g                        v = g in the first step
///     θ ← θ − learningRate · v           Nesterov: θ − learningRate · (g + μ v)
///
/// Weight decay acts on all parameters, biases and those of batch normalization included.
public struct SGD: Optimizer, Equatable {
    /// The learning rate, before the schedule's factor; 0 to 1000.
    public var learningRate: Double
    /// μ, the part of the last step's direction that goes on; at least 0 and below 1. DEMON starts here.
    public var momentum: Double
    /// Looks ahead along the momentum (Sutskever et al., 2013). Needs momentum above 0.
    public var nesterov: Bool
    /// Whether the momentum decays to zero over the run (Chen, Wolfe, Li, Kyrillidis, arXiv 1910.04952). See
    /// ``momentum(at:)``.
    public var demon: Bool
    /// Factor of the L2 penalty's gradient; 0 to 1000.
    public var weightDecay: Double
    public var state: [String] { momentum == 0 ? [] : ["momentum_buffer"] }

    public init(
        learningRate: Double = 0.001, momentum: Double = 0.9, nesterov: Bool = false, demon: Bool = false,
        weightDecay: Double = 1e-4
    ) {
        self.learningRate = learningRate
        self.momentum = momentum
        self.nesterov = nesterov
        self.demon = demon
        self.weightDecay = weightDecay
    }

    public func step(_ pass: UpdatePass, at moment: StepMoment) {
        Updates.sgd(
            pass,
            SGDRates(
                learningRate: Float(moment.learningRate), momentum: Float(momentum(at: moment.position)),
                weightDecay: Float(weightDecay), nesterov: nesterov, first: moment.stepsOfMomentum == 0))
    }

    /// The momentum of one iteration. DEMON's, with β the initial momentum and t of T iterations done:
    ///
    ///     β (1 − t/T) / ((1 − β) + β (1 − t/T))
    ///
    /// - Parameter position: where in the run; nil for a single step outside one, which takes the initial momentum.
    public func momentum(at position: RunPosition?) -> Double {
        guard demon, let position else { return momentum }
        let left = momentum * (1 - Double(position.iteration) / Double(position.total))
        return left / ((1 - momentum) + left)
    }

    /// Throws ``Failure`` naming the first option out of its range.
    public func validate() throws(Failure) {
        try require("learning rate", learningRate, in: 0...1000)
        try require(momentum >= 0 && momentum < 1, "momentum", momentum, expected: "a number from 0 to below 1")
        try require("weight decay", weightDecay, in: 0...1000)
        try require(!nesterov || momentum > 0, "momentum", momentum, expected: "a number above 0, with Nesterov")
    }
}
