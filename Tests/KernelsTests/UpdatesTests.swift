import PLPKernels
import Testing

struct UpdatesTests {
    let threads = Threads(2)
    static let counts = [1, 15, 16, 100, 16384, 40_001]

    /// torch.optim.SGD on one value: sums with a product are rounded once, except for the momentum buffer's.
    private func step(_ parameter: inout Float, _ gradient: Float, _ velocity: inout Float, _ rates: SGDRates) {
        var step = gradient.addingProduct(rates.weightDecay, parameter)
        if rates.momentum != 0 {
            velocity = rates.first ? step : rates.momentum * velocity + step
            step = rates.nesterov ? step.addingProduct(rates.momentum, velocity) : velocity
        }
        parameter = parameter.addingProduct(-rates.learningRate, step)
    }

    @Test(arguments: counts, [(0, false), (0.9, false), (0.9, true)] as [(Float, Bool)])
    func sgd(_ count: Int, _ variant: (momentum: Float, nesterov: Bool)) {
        var parameters = normals(count, seed: 1)
        var velocity = [Float](repeating: .nan, count: count)
        var (expected, expectedVelocity) = (parameters, velocity)
        for iteration in 0..<3 {
            let gradients = normals(count, seed: UInt64(10 + iteration))
            let rates = SGDRates(
                learningRate: 0.1, momentum: variant.momentum, weightDecay: 5e-4, nesterov: variant.nesterov,
                first: iteration == 0)
            Updates.sgd(
                parameters: &parameters, gradients: gradients, momentum: &velocity, count: count, rates: rates,
                threads: threads)
            for index in 0..<count { step(&expected[index], gradients[index], &expectedVelocity[index], rates) }
        }
        #expect(parameters == expected)
        #expect(variant.momentum == 0 ? velocity.allSatisfy(\.isNaN) : velocity == expectedVelocity)
    }

    /// A cycle of linear prediction: its result is θ3 + ½ (θ2 − θ1) to the bit, with θ1, θ2, θ3 of the same steps
    /// without prediction.
    @Test(arguments: counts)
    func linearPrediction(_ count: Int) {
        let cycle = [
            PredictionAction(memory: (0, -0.5), parameters: (1, 0)),
            PredictionAction(memory: (1, 0.5), parameters: (1, 0)),
            PredictionAction(memory: (1, 0), parameters: (1, 1)),
        ]
        let start = normals(count, seed: 1)
        var (parameters, velocity, memory) = (start, start, [Float](repeating: .nan, count: count))
        var (plain, plainVelocity, iterates) = (start, start, [[Float]]())
        for (iteration, action) in cycle.enumerated() {
            let gradients = normals(count, seed: UInt64(10 + iteration))
            let rates = SGDRates(learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4, first: iteration == 0)
            Updates.sgd(
                parameters: &parameters, gradients: gradients, momentum: &velocity, memory: &memory, count: count,
                rates: rates, prediction: action, threads: threads)
            Updates.sgd(
                parameters: &plain, gradients: gradients, momentum: &plainVelocity, count: count, rates: rates,
                threads: threads)
            iterates.append(plain)
        }
        #expect(velocity == plainVelocity)
        let expected = (0..<count).map { iterates[2][$0] + (iterates[1][$0] - iterates[0][$0]) / 2 }
        #expect(parameters == expected)
    }

    @Test(arguments: counts)
    func actionAlone(_ count: Int) {
        let action = PredictionAction(memory: (0.25, 0.75), parameters: (0.5, 2))
        var (parameters, memory) = (normals(count, seed: 1), normals(count, seed: 2))
        let expectedMemory = zip(memory, parameters).map { 0.25 * Double($0) + 0.75 * Double($1) }
        let expected = zip(parameters, expectedMemory).map { 0.5 * Double($0) + 2 * $1 }
        Updates.apply(action, parameters: &parameters, memory: &memory, count: count, threads: threads)
        #expect(agree(memory, expectedMemory, tolerance: 1e-7))
        #expect(agree(parameters, expected, tolerance: 1e-7))
    }

    @Test(arguments: counts)
    func finiteness(_ count: Int) {
        var values = normals(count, seed: 1)
        #expect(Updates.isFinite(values, count: count))
        for poison in [Float.nan, .infinity, -.infinity] {
            let kept = values[count - 1]
            values[count - 1] = poison
            #expect(!Updates.isFinite(values, count: count))
            values[count - 1] = kept
        }
    }
}
