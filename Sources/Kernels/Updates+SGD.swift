// The step of stochastic gradient descent: PyTorch's torch.optim.SGD, operation by operation, in float32.
//
//     g = g + weightDecay θ    v = first ? g : momentum v + g    θ = θ − learningRate (nesterov ? g + momentum v : v)
//
// where sums with a product are rounded once, as there, but for v, whose product PyTorch rounds before it adds.

/// Constants of one step.
public struct SGDRates: Sendable, Equatable {
    public var learningRate: Float
    public var momentum: Float
    public var weightDecay: Float
    public var nesterov: Bool
    /// Whether v starts at this step, with the gradient as it is; what was in it is not read.
    public var first: Bool

    public init(
        learningRate: Float, momentum: Float = 0, weightDecay: Float = 0, nesterov: Bool = false, first: Bool = false
    ) {
        self.learningRate = learningRate
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.nesterov = nesterov
        self.first = first
    }
}

extension Updates {
    /// One step, with v as the pass's state, if it has one; v is neither read nor written where `rates.momentum` is 0.
    public static func sgd(_ pass: UpdatePass, _ rates: SGDRates) {
        perform(pass, Descent(rates, velocity: rates.momentum == 0 ? nil : pass.state.first))
    }
}

private struct Descent: UpdateRule {
    let decay, inertia, descent: Vector
    let nesterov, first: Bool
    let velocity: UnsafeMutablePointer<Float>?

    init(_ rates: SGDRates, velocity: UnsafeMutablePointer<Float>?) {
        decay = Vector(repeating: rates.weightDecay)
        inertia = Vector(repeating: rates.momentum)
        descent = Vector(repeating: -rates.learningRate)
        (nesterov, first) = (rates.nesterov, rates.first)
        self.velocity = velocity
    }

    @inline(__always)
    func step(_ parameter: Vector, _ gradient: Vector, at position: Int, lanes: Int) -> Vector {
        var step = gradient.addingProduct(decay, parameter)
        if let velocity {
            var moved = step
            if !first { moved += inertia * Vector(at: velocity + position, count: lanes) }
            moved.store(to: velocity + position, count: lanes)
            step = nesterov ? step.addingProduct(inertia, moved) : moved
        }
        return parameter.addingProduct(descent, step)
    }
}
