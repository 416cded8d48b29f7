import PLPOptimization
import Testing

@Suite struct SGDTests {
    @Test(arguments: [
        SGD(learningRate: 0.05, momentum: 0, weightDecay: 0),
        SGD(learningRate: 0.05, momentum: 0.9, weightDecay: 0),
        SGD(learningRate: 0.05, momentum: 0.9, weightDecay: 5e-4),
        SGD(learningRate: 0.05, momentum: 0.8, nesterov: true, weightDecay: 0.01),
        SGD(learningRate: 0.05, momentum: 0.9, demon: true, weightDecay: 1e-4),
    ])
    func followsTheFormula(method: SGD) throws {
        let total = 25
        let run = try Run(Problem(), method)
        var reference = ReferenceSGD(method: method)
        var expected = run.values.map(Double.init)
        for iteration in 0..<total {
            // The reference starts each step from float32 values, so that one step's roundings are all there is.
            expected = run.values.map(Double.init)
            let position = RunPosition(iteration: iteration, total: total, perEpoch: 5)
            run.step(at: position)
            let left = 1 - Double(iteration) / Double(total)
            let momentum =
                method.demon
                ? method.momentum * left / (1 - method.momentum + method.momentum * left) : method.momentum
            reference.step(
                &expected, run.gradients.values.map(Double.init), learningRate: 0.05, momentum: momentum)
            for (value, exact) in zip(run.values, expected) { #expect(abs(Double(value) - exact) < 2e-6) }
        }
    }

    @Test func demonFallsFromItsStartToZero() {
        let method = SGD(momentum: 0.9, demon: true)
        func momentum(_ iteration: Int) -> Double {
            method.momentum(at: RunPosition(iteration: iteration, total: 100, perEpoch: 10))
        }
        #expect(momentum(0) == 0.9)
        #expect(abs(momentum(50) - 0.45 / 0.55) < 1e-15)
        #expect(momentum(100) == 0)
        #expect(method.momentum(at: nil) == 0.9)
    }

    @Test func refusesWhatMakesNoSense() {
        func message(_ method: SGD) -> String? {
            do { try method.validate() } catch { return error.kind == .invalidArgument ? error.message : nil }
            return nil
        }
        #expect(message(SGD()) == nil)
        #expect(message(SGD(learningRate: 0)) == nil)
        #expect(message(SGD(learningRate: -0.1)) == "learning rate: found -0.1, expected a number from 0 to 1000")
        #expect(message(SGD(learningRate: .nan)) == "learning rate: found nan, expected a number from 0 to 1000")
        #expect(message(SGD(learningRate: .infinity)) != nil)
        #expect(message(SGD(momentum: 1)) == "momentum: found 1.0, expected a number from 0 to below 1")
        #expect(message(SGD(momentum: -0.5)) != nil)
        #expect(message(SGD(momentum: .nan)) != nil)
        #expect(message(SGD(weightDecay: -1e-9)) != nil)
        #expect(message(SGD(weightDecay: .nan)) != nil)
        #expect(
            message(SGD(momentum: 0, nesterov: true))
                == "momentum: found 0.0, expected a number above 0, with Nesterov")
    }
}
