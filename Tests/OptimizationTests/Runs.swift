// A small problem to run optimizers on, and the update rule written down once more, in float64.

import PLPBase
import PLPKernels
import PLPOptimization

/// Minimises Σ w (θ − m)²/2 + θ³/30: each element has its own gradient, which changes along the way.
struct Problem {
    let count: Int
    let start: [Float]
    private let weights: [Float]
    private let minima: [Float]

    init(count: Int = 77) {
        var random = RandomStream(seed: 5, .synthesis)
        self.count = count
        start = (0..<count).map { _ in random.uniform(-2..<2) }
        weights = (0..<count).map { _ in random.uniform(0.1..<2) }
        minima = (0..<count).map { _ in random.uniform(-2..<2) }
    }

    func gradient(_ value: Float, _ element: Int) -> Float {
        weights[element] * (value - minima[element]) + value * value * 0.1
    }
}

/// An optimizer on its way through a problem.
final class Run {
    let problem: Problem
    let stepper: Stepper
    let parameters: FloatBuffer
    let gradients: FloatBuffer

    init(
        _ problem: Problem, _ optimizer: any Optimizer, schedule: Schedule = .constant,
        predictor: (any Predictor)? = nil
    ) throws {
        self.problem = problem
        stepper = try Stepper(
            optimizer, schedule: schedule, predictor: predictor, parameterCount: problem.count, threads: Threads(2))
        parameters = try FloatBuffer(count: problem.count)
        gradients = try FloatBuffer(count: problem.count)
        for element in 0..<problem.count { parameters.values[element] = problem.start[element] }
    }

    /// One iteration; afterwards `gradients` still holds the gradient it used.
    @discardableResult
    func step(at position: RunPosition? = nil) -> Stepper.Outcome {
        for element in 0..<problem.count {
            gradients.values[element] = problem.gradient(parameters.values[element], element)
        }
        return stepper.step(parameters: parameters, gradients: gradients, at: position)
    }

    var values: [Float] { Array(parameters.values) }
}

/// PyTorch's SGD in float64: its documentation's algorithm with maximize = false and dampening = 0.
struct ReferenceSGD {
    let method: SGD
    var velocity: [Double]?

    mutating func step(_ parameters: inout [Double], _ gradients: [Double], learningRate: Double, momentum: Double) {
        let decayed = zip(gradients, parameters).map { $0 + method.weightDecay * $1 }
        velocity = velocity.map { zip($0, decayed).map { momentum * $0 + $1 } } ?? decayed
        for element in parameters.indices {
            let direction =
                method.nesterov ? decayed[element] + momentum * velocity![element] : velocity![element]
            parameters[element] -= learningRate * direction
        }
    }
}
