import PLPBase
import PLPOptimization
import Testing

@Suite struct AdamWTests {
    /// PyTorch's documentation's algorithm in float64, with maximize and amsgrad false.
    struct Reference {
        let method: AdamW
        var m: [Double] = []
        var v: [Double] = []
        var steps = 0
        var stepsOfMomentum = 0

        init(method: AdamW) { self.method = method }

        mutating func step(_ parameters: inout [Double], _ gradients: [Double], learningRate: Double) {
            steps += 1
            stepsOfMomentum += 1
            if steps == 1 { v = gradients.map { _ in 0 } }
            if stepsOfMomentum == 1 { m = gradients.map { _ in 0 } }
            for element in parameters.indices {
                let gradient = gradients[element]
                parameters[element] -= learningRate * method.weightDecay * parameters[element]
                m[element] = method.beta1 * m[element] + (1 - method.beta1) * gradient
                v[element] = method.beta2 * v[element] + (1 - method.beta2) * gradient * gradient
                let first = m[element] / (1 - power(method.beta1, stepsOfMomentum))
                let second = v[element] / (1 - power(method.beta2, steps))
                parameters[element] -= learningRate * first / (second.squareRoot() + method.epsilon)
            }
        }

        private func power(_ base: Double, _ exponent: Int) -> Double { (0..<exponent).reduce(1) { x, _ in x * base } }
    }

    @Test(arguments: [
        AdamW(), AdamW(learningRate: 0.05, beta1: 0, beta2: 0.5, epsilon: 0.1, weightDecay: 0.3),
        AdamW(learningRate: 0.01, beta1: 0.95, beta2: 0, weightDecay: 0),
    ])
    func followsTheFormula(method: AdamW) throws {
        let run = try Run(Problem(), method, schedule: .cosine())
        var reference = Reference(method: method)
        for iteration in 0..<25 {
            // The reference starts each step from float32 values, so that roundings do not add up.
            var expected = run.values.map(Double.init)
            let outcome = run.step(at: RunPosition(iteration: iteration, total: 25, perEpoch: 5))
            reference.step(&expected, run.gradients.values.map(Double.init), learningRate: outcome.learningRate)
            for (value, exact) in zip(run.values, expected) { #expect(abs(Double(value) - exact) < 2e-6) }
        }
    }

    /// m starts anew, and its correction with it; v goes on.
    @Test func firstMomentStartsAnewWhereMomentumIsReset() throws {
        let method = AdamW(learningRate: 0.02)
        let run = try Run(Problem(), method, predictor: PLP(momentum: .reset))
        var reference = Reference(method: method)
        var cycle: [[Double]] = []
        for _ in 0..<12 {
            var expected = run.values.map(Double.init)
            let predicted = run.step().predicted
            reference.step(&expected, run.gradients.values.map(Double.init), learningRate: 0.02)
            cycle.append(expected)
            if predicted {
                expected = expected.indices.map { cycle[2][$0] + (cycle[1][$0] - cycle[0][$0]) / 2 }
                cycle = []
                reference.stepsOfMomentum = 0
            }
            for (value, exact) in zip(run.values, expected) { #expect(abs(Double(value) - exact) < 5e-6) }
        }
    }

    @Test func refusesWhatMakesNoSense() {
        let options: [(AdamW, String)] = [
            (AdamW(learningRate: -1), "learning rate"), (AdamW(learningRate: .nan), "learning rate"),
            (AdamW(beta1: 1), "beta1"), (AdamW(beta1: .nan), "beta1"), (AdamW(beta2: -0.1), "beta2"),
            (AdamW(beta2: 1), "beta2"), (AdamW(epsilon: -1e-8), "epsilon"), (AdamW(epsilon: .infinity), "epsilon"),
            (AdamW(epsilon: 0), "epsilon"), (AdamW(epsilon: 1e-50), "epsilon"),
            (AdamW(weightDecay: -1), "weight decay"),
        ]
        for (method, option) in options {
            let failure = #expect(throws: Failure.self) { try method.validate() }
            #expect(failure?.kind == .invalidArgument && failure?.message.hasPrefix(option + ": found ") == true)
        }
    }
}
