// The step of AdamW: PyTorch's torch.optim.AdamW, operation by operation, in float32.
//
//     θ = θ (1 − learningRate weightDecay)    m = β₁ m + (1 − β₁) g    v = β₂ v + (1 − β₂) g g
//     θ = θ − learningRate / (1 − β₁ᵗ) m / (√v / √(1 − β₂ᵗ) + epsilon)
//
// where the sums of m and v are rounded once with their last product, as in PyTorch 1's vectors, and the constants are
// computed in float64. (From PyTorch 2 on m is m + (1 − β₁)(g − m), which differs by its rounding.)

import Glibc

/// Constants of one step.
public struct AdamWRates: Sendable {
    let decay: Float
    let kept: SIMD2<Float>
    let taken: SIMD2<Float>
    let rate: Float
    let correction: Float
    let epsilon: Float
    let starts: (first: Bool, second: Bool)

    /// - Parameters:
    ///   - beta: β₁ of m and β₂ of v, the parts of them that stay.
    ///   - steps: t of m and of v, this step included; at 1, what was in the vector is not read.
    public init(
        learningRate: Double, beta: (Double, Double), epsilon: Double, weightDecay: Double, steps: (Int, Int)
    ) {
        decay = Float(1 - learningRate * weightDecay)
        kept = SIMD2(Float(beta.0), Float(beta.1))
        taken = SIMD2(Float(1 - beta.0), Float(1 - beta.1))
        rate = Float(-learningRate / (1 - pow(beta.0, Double(steps.0))))
        correction = Float((1 - pow(beta.1, Double(steps.1))).squareRoot())
        self.epsilon = Float(epsilon)
        starts = (steps.0 == 1, steps.1 == 1)
    }
}

extension Updates {
    /// One step, with m and v as the pass's state.
    public static func adamW(_ pass: UpdatePass, _ rates: AdamWRates) {
        perform(pass, Moments(rates, first: pass.state[0], second: pass.state[1]))
    }
}

private struct Moments: UpdateRule {
    let first, second: UnsafeMutablePointer<Float>
    let firstKept, secondKept, firstTaken, secondTaken, decay, rate, correction, epsilon: Vector
    let starts: (first: Bool, second: Bool)

    init(_ rates: AdamWRates, first: UnsafeMutablePointer<Float>, second: UnsafeMutablePointer<Float>) {
        (self.first, self.second) = (first, second)
        (firstKept, secondKept) = (Vector(repeating: rates.kept.x), Vector(repeating: rates.kept.y))
        (firstTaken, secondTaken) = (Vector(repeating: rates.taken.x), Vector(repeating: rates.taken.y))
        (decay, rate) = (Vector(repeating: rates.decay), Vector(repeating: rates.rate))
        (correction, epsilon) = (Vector(repeating: rates.correction), Vector(repeating: rates.epsilon))
        starts = rates.starts
    }

    @inline(__always)
    func step(_ parameter: Vector, _ gradient: Vector, at position: Int, lanes: Int) -> Vector {
        var (m, v) = (Vector(), Vector())
        if !starts.first { m = firstKept * Vector(at: first + position, count: lanes) }
        if !starts.second { v = secondKept * Vector(at: second + position, count: lanes) }
        m.addProduct(firstTaken, gradient)
        v.addProduct(secondTaken * gradient, gradient)
        m.store(to: first + position, count: lanes)
        v.store(to: second + position, count: lanes)
        return parameter * decay + rate * m / (v.squareRoot() / correction + epsilon)
    }
}
