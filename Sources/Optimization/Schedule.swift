// How the learning rate goes through a run. A schedule is a factor on the optimizer's learning rate, so that the same
// run at, say, 7/6 of the learning rate differs in one number.

import Glibc
import PLPBase

/// Where in a run an iteration is: `iteration` of `total`, counted from 0, with `perEpoch` iterations in each epoch.
public struct RunPosition: Sendable, Equatable {
    public var iteration: Int
    public var total: Int
    public var perEpoch: Int

    public init(iteration: Int, total: Int, perEpoch: Int) {
        self.iteration = iteration
        self.total = total
        self.perEpoch = perEpoch
    }
}

/// The largest number of iterations or epochs an option may name.
package let largestCount = 1_000_000_000

/// A learning rate schedule, in iterations within one run.
public indirect enum Schedule: Sendable, Equatable, Encodable {
    /// The learning rate stays as it is.
    case constant
    /// A triangle wave that starts at the learning rate, rises to `peak` times of it in `up` iterations and comes back
    /// in `down`; PyTorch's `CyclicLR` with `max_lr = peak · base_lr` (Smith, arXiv 1506.01186). Momentum is not
    /// cycled. The paper's is `.cyclic()`, at a learning rate of 0.001.
    case cyclic(peak: Double = 2, up: Int = 2000, down: Int = 2000)
    /// Multiplied by `factor` at the start of each epoch in `milestones`, counted from 0; PyTorch's `MultiStepLR`. Where
    /// `total` is not 0, they are those of a run of so many epochs, and lie as far into this one.
    case multiStep(milestones: [Int], factor: Double = 0.2, total: Int = 0)
    /// Half a cosine from the learning rate to `floor` times of it over the whole run, moved after each iteration;
    /// PyTorch's `CosineAnnealingLR` (Loshchilov, Hutter, arXiv 1608.03983).
    case cosine(floor: Double = 0)
    /// The factor of `then`, multiplied by (t + 1)/n in the first n iterations, which are `epochs` epochs.
    case warmUp(epochs: Double = 1, then: Schedule)

    /// What the learning rate is multiplied by. `position` lies within the run.
    public func factor(at position: RunPosition) -> Double {
        switch self {
        case .constant:
            return 1
        case .cyclic(let peak, let up, let down):
            let place = position.iteration % (up + down)
            let height = place <= up ? Double(place) / Double(up) : Double(up + down - place) / Double(down)
            return 1 + (peak - 1) * height
        case .multiStep(let milestones, let factor, let total):
            let iteration = Double(position.iteration)
            let (done, whole) =
                total == 0
                ? (iteration, Double(position.perEpoch)) : (iteration * Double(total), Double(position.total))
            return milestones.reduce(1) { Double($1) * whole <= done ? $0 * factor : $0 }
        case .cosine(let floor):
            let angle = Double.pi * Double(position.iteration) / Double(position.total)
            return floor + (1 - floor) * (1 + cos(angle)) / 2
        case .warmUp(let epochs, let then):
            let iterations = max(1, (epochs * Double(position.perEpoch)).rounded())
            return min(1, Double(position.iteration + 1) / iterations) * then.factor(at: position)
        }
    }

    /// Throws ``Failure`` naming the first option out of its range.
    public func validate() throws(Failure) {
        switch self {
        case .constant:
            break
        case .cyclic(let peak, let up, let down):
            try require("cyclic schedule's peak", peak, in: 0...1_000_000)
            try require("cyclic schedule's iterations up", up, in: 1...largestCount)
            try require("cyclic schedule's iterations down", down, in: 1...largestCount)
        case .multiStep(let milestones, let factor, let total):
            let ascending = zip(milestones, milestones.dropFirst()).allSatisfy { $0 < $1 }
            try require(
                ascending && milestones.first ?? 1 > 0, "multi-step schedule's milestones", milestones,
                expected: "epochs above 0 in ascending order")
            try require("multi-step schedule's factor", factor, in: 0...1000)
            try require("multi-step schedule's total", total, in: 0...largestCount)
        case .cosine(let floor):
            try require("cosine schedule's floor", floor, in: 0...1)
        case .warmUp(let epochs, let then):
            try require("warm-up's epochs", epochs, in: 0...1_000_000)
            try then.validate()
        }
    }
}
