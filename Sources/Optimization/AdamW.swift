// AdamW's options. The update itself is in Kernels (Updates+AdamW.swift).

import PLPBase
import PLPKernels

/// Adam with decoupled weight decay (Loshchilov, Hutter, arXiv 1711.05101), as PyTorch's `torch.optim.AdamW` does it,
/// whose defaults these are.
///
///     θ ← θ − learningRate · weightDecay · θ
///     m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²         g = ∇loss
///     θ ← θ − learningRate · m̂ / (√v̂ + epsilon)              m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)
///
/// The momentum, which a predictor may reset, is m: it starts again from nothing, and its t from 1, so that the next
/// step's direction is that step's gradient. v, a scale that takes a thousand steps to learn, stays.
public struct AdamW: Optimizer, Equatable {
    /// The learning rate, before the schedule's factor; 0 to 1000.
    public var learningRate: Double
    /// The part of m that stays at each step; at least 0 and below 1.
    public var beta1: Double
    /// The part of v that stays at each step; at least 0 and below 1.
    public var beta2: Double
    /// Keeps the quotient finite where a gradient is always 0, as between the layers; above 0 and at most 1000.
    public var epsilon: Double
    /// 0 to 1000.
    public var weightDecay: Double
    public var state: [String] { ["exp_avg", "exp_avg_sq"] }

    public init(
        learningRate: Double = 0.001, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
        weightDecay: Double = 0.01
    ) {
        self.learningRate = learningRate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
    }

    public func step(_ pass: UpdatePass, at moment: StepMoment) {
        Updates.adamW(
            pass,
            AdamWRates(
                learningRate: moment.learningRate, beta: (beta1, beta2), epsilon: epsilon, weightDecay: weightDecay,
                steps: (moment.stepsOfMomentum + 1, moment.steps + 1)))
    }

    public func validate() throws(Failure) {
        try require("learning rate", learningRate, in: 0...1000)
        for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
            try require(beta >= 0 && beta < 1, name, beta, expected: "a number from 0 to below 1")
        }
        try require(
            Float(epsilon) > 0 && epsilon <= 1000, "epsilon", epsilon,
            expected: "a number above 0, in float32 too, and at most 1000")
        try require("weight decay", weightDecay, in: 0...1000)
    }
}
