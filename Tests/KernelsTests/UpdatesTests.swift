import Glibc
import PLPKernels
import Testing

struct UpdatesTests {
    let threads = Threads(2)
    static let counts = Array(1...17) + [100, 16384, 40_001]

    /// Calls `body` with a pass over arrays, which it may change.
    private func withPass(
        _ parameters: inout [Float], _ gradients: [Float], _ state: inout [[Float]], memory: inout [Float],
        prediction: PredictionAction? = nil, _ body: (UpdatePass) -> Void
    ) {
        let buffers = state.map { values in
            let buffer = try! FloatBuffer(count: values.count)
            for (index, value) in values.enumerated() { buffer.values[index] = value }
            return buffer
        }
        let count = parameters.count
        parameters.withUnsafeMutableBufferPointer { parameters in
            gradients.withUnsafeBufferPointer { gradients in
                memory.withUnsafeMutableBufferPointer { memory in
                    body(
                        UpdatePass(
                            parameters: parameters.baseAddress!, gradients: gradients.baseAddress!,
                            state: buffers.map(\.pointer), memory: memory.baseAddress, count: count,
                            prediction: prediction, threads: threads))
                }
            }
        }
        state = buffers.map(\.array)
    }

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
        var (state, none) = ([[Float](repeating: .nan, count: count)], [Float]())
        var (expected, expectedVelocity) = (parameters, state[0])
        for iteration in 0..<3 {
            let gradients = normals(count, seed: UInt64(10 + iteration))
            let rates = SGDRates(
                learningRate: 0.1, momentum: variant.momentum, weightDecay: 5e-4, nesterov: variant.nesterov,
                first: iteration == 0)
            withPass(&parameters, gradients, &state, memory: &none) { Updates.sgd($0, rates) }
            for index in 0..<count { step(&expected[index], gradients[index], &expectedVelocity[index], rates) }
        }
        #expect(parameters == expected)
        #expect(variant.momentum == 0 ? state[0].allSatisfy(\.isNaN) : state[0] == expectedVelocity)
    }

    /// torch.optim.AdamW on one value, of PyTorch 1: the constants in float64, the sums of both moments rounded once.
    @Test(arguments: counts)
    func adamW(_ count: Int) {
        let (rate, beta, epsilon, weightDecay) = (0.01, (0.9, 0.99), 1e-8, 0.1)
        var parameters = normals(count, seed: 1)
        var (state, none) = ([[Float]](repeating: [Float](repeating: .nan, count: count), count: 2), [Float]())
        var expected = parameters
        var moments = [(m: Float, v: Float)](repeating: (0, 0), count: count)
        for step in 1...3 {
            let gradients = normals(count, seed: UInt64(10 + step), deviation: 1e-3)
            let rates = AdamWRates(
                learningRate: rate, beta: beta, epsilon: epsilon, weightDecay: weightDecay, steps: (step, step))
            withPass(&parameters, gradients, &state, memory: &none) { Updates.adamW($0, rates) }
            let size = rate / (1 - pow(beta.0, Double(step)))
            let correction = Float((1 - pow(beta.1, Double(step))).squareRoot())
            for index in 0..<count {
                let gradient = gradients[index]
                var (m, v) = moments[index]
                m = (Float(beta.0) * m).addingProduct(Float(1 - beta.0), gradient)
                v = (Float(beta.1) * v).addingProduct(Float(1 - beta.1) * gradient, gradient)
                moments[index] = (m, v)
                let denominator = v.squareRoot() / correction + Float(epsilon)
                expected[index] = expected[index] * Float(1 - rate * weightDecay) + Float(-size) * m / denominator
            }
        }
        #expect(parameters == expected)
        #expect(state[0] == moments.map(\.m) && state[1] == moments.map(\.v))
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
        var (parameters, state, memory) = (start, [start], [Float](repeating: .nan, count: count))
        var (plain, plainState, none, iterates) = (start, [start], [Float](), [[Float]]())
        for (iteration, action) in cycle.enumerated() {
            let gradients = normals(count, seed: UInt64(10 + iteration))
            let rates = SGDRates(learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4, first: iteration == 0)
            withPass(&parameters, gradients, &state, memory: &memory, prediction: action) { Updates.sgd($0, rates) }
            withPass(&plain, gradients, &plainState, memory: &none) { Updates.sgd($0, rates) }
            iterates.append(plain)
        }
        #expect(state == plainState)
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
