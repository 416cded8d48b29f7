import PLPBase
import PLPKernels
import PLPOptimization
import Testing

@Suite struct PLPTests {
    let method = SGD(learningRate: 0.05, momentum: 0.9, weightDecay: 5e-4)

    @Test func predictsThePapersPointToTheBit() throws {
        let plain = try Run(Problem(), method)
        let run = try Run(Problem(), method, predictor: PLP())
        var iterates: [[Float]] = []
        var outcomes: [Bool] = []
        for _ in 0..<3 {
            plain.step()
            outcomes.append(run.step().predicted)
            iterates.append(plain.values)
        }
        #expect(outcomes == [false, false, true])
        let expected = zip(iterates[2], zip(iterates[0], iterates[1])).map { $0 + 0.5 * ($1.1 - $1.0) }
        #expect(run.values == expected)
        #expect(try predict(iterates[0], iterates[1], iterates[2]) == expected)
    }

    /// Thirty iterations by the paper's midpoints and slope, in float64 from each step's float32 start.
    @Test(arguments: [1, 0.5, 2.25])
    func followsMidpointsAndSlope(step: Double) throws {
        let run = try Run(Problem(), method, predictor: PLP(step: step))
        var reference = ReferenceSGD(method: method)
        var cycle: [[Double]] = []
        for _ in 0..<30 {
            var expected = run.values.map(Double.init)
            run.step()
            reference.step(&expected, run.gradients.values.map(Double.init), learningRate: 0.05, momentum: 0.9)
            cycle.append(expected)
            if cycle.count == 3 {
                for element in expected.indices {
                    let middle12 = (cycle[0][element] + cycle[1][element]) / 2
                    let middle23 = (cycle[1][element] + cycle[2][element]) / 2
                    expected[element] = middle23 + step * (middle23 - middle12)
                }
                cycle = []
            }
            for (value, exact) in zip(run.values, expected) { #expect(abs(Double(value) - exact) < 5e-6) }
        }
    }

    /// On a constant gradient without momentum, whole cycles are SGD with 7/6 of the learning rate.
    @Test func isSevenSixthsOfTheLearningRateOnAConstantGradient() throws {
        func end(_ rate: Double, _ predictor: PLP?) throws -> [Float] {
            let stepper = try Stepper(
                SGD(learningRate: rate, momentum: 0, weightDecay: 0), predictor: predictor, parameterCount: 5,
                threads: Threads(1))
            let (parameters, gradients) = (try FloatBuffer(count: 5), try FloatBuffer(count: 5))
            for element in 0..<5 { gradients.values[element] = Float(element) - 1.5 }
            for _ in 0..<30 { stepper.step(parameters: parameters, gradients: gradients) }
            return Array(parameters.values)
        }
        for (predicted, plain) in zip(try end(0.06, PLP()), try end(0.07, nil)) {
            #expect(abs(predicted - plain) <= 1e-5 * abs(plain))
        }
    }

    @Test func sumsAnyCoefficientsOverTheLastIteratesOfAPeriod() throws {
        let coefficients = [0.25, -1, 0.5, 1.25]
        let run = try Run(Problem(), method, predictor: PLP(coefficients: coefficients, period: 6, start: 2, end: 13))
        let plain = try Run(Problem(), method)
        var predictions: [Int] = []
        var iterates: [[Float]] = []
        for iteration in 0..<20 {
            if run.step().predicted { predictions.append(iteration) }
            guard iteration <= 7 else { continue }
            plain.step()
            if iteration >= 4 { iterates.append(plain.values) }
            if iteration < 7 { #expect(run.values == plain.values) }
            if iteration == 7 {
                for element in run.values.indices {
                    let exact = zip(coefficients, iterates).reduce(0) { $0 + $1.0 * Double($1.1[element]) }
                    #expect(abs(Double(run.values[element]) - exact) < 2e-6)
                }
            }
        }
        // The cycle from 8 to 13 ends with the iteration at which predicting has ended.
        #expect(predictions == [7])
    }

    @Test func momentumStartsAnewWhereItIsReset() throws {
        let run = try Run(Problem(), method, predictor: PLP(momentum: .reset))
        let kept = try Run(Problem(), method, predictor: PLP())
        for _ in 0..<3 {
            run.step()
            kept.step()
        }
        #expect(run.values == kept.values)
        // The fourth step is the first of an optimizer that starts at the prediction.
        let fresh = try Run(Problem(), method)
        fresh.parameters.copy(from: run.parameters)
        run.step()
        fresh.step()
        kept.step()
        #expect(run.values == fresh.values)
        #expect(run.values != kept.values)
    }

    @Test(arguments: [StatisticsTreatment.kept, .predicted])
    func statisticsAreKeptOrPredicted(treatment: StatisticsTreatment) throws {
        let stepper = try Stepper(
            method, predictor: PLP(statistics: treatment), parameterCount: 4, statisticsCount: 2, threads: Threads(1))
        let (parameters, gradients, statistics) =
            (try FloatBuffer(count: 4), try FloatBuffer(count: 4), try FloatBuffer(count: 2))
        for values in [[1, 2], [3, 8], [4, 9]] as [[Float]] {
            for element in 0..<2 { statistics.values[element] = values[element] }
            stepper.step(parameters: parameters, gradients: gradients, statistics: (statistics, statistics))
        }
        #expect(Array(statistics.values) == (treatment == .kept ? [4, 9] : [5, 12]))
    }

    @Test func barePredictionTakesAnyVectors() throws {
        let iterates: [[Float]] = [[1, 2], [3, 5], [4, 10]]
        #expect(try predict(iterates[0], iterates[1], iterates[2]) == [5, 11.5])
        #expect(try predict(iterates[0], iterates[1], iterates[2], step: 0) == [3.5, 7.5])
        #expect(try predict([], [], []) == [])
        #expect(throws: Failure(.invalidArgument, "length of iterate 1: found 1, expected 2, the result's")) {
            try predict([1], iterates[1], iterates[2])
        }
        #expect(throws: Failure(.invalidArgument, "coefficients: found [nan, 0.5, nan], expected finite numbers")) {
            try predict(iterates[0], iterates[1], iterates[2], step: .nan)
        }
    }

    @Test(arguments: [
        (PLP(step: .nan), "PLP's coefficients"), (PLP(coefficients: [1]), "PLP's coefficients"),
        (PLP(coefficients: []), "PLP's coefficients"), (PLP(period: 2), "PLP's period"),
        (PLP(start: -1), "PLP's start"), (PLP(statistics: .recomputed), "PLP's statistics"),
        (PLP(start: 5, end: 5), "PLP's end"),
    ])
    func refusesWhatMakesNoSense(predictor: PLP, option: String) {
        let failure = #expect(throws: Failure.self) { try predictor.validate() }
        #expect(failure?.kind == .invalidArgument && failure?.message.hasPrefix(option + ": found ") == true)
    }
}

@Suite struct AveragingTests {
    let method = SGD(learningRate: 0.05, momentum: 0.9, weightDecay: 5e-4)

    @Test func lookaheadMovesSlowParameters() throws {
        let run = try Run(Problem(), method, predictor: Lookahead(period: 4, rate: 0.3))
        var reference = ReferenceSGD(method: method)
        var slow = run.values.map(Double.init)
        for iteration in 1...20 {
            var expected = run.values.map(Double.init)
            let predicted = run.step().predicted
            #expect(predicted == (iteration % 4 == 0))
            reference.step(&expected, run.gradients.values.map(Double.init), learningRate: 0.05, momentum: 0.9)
            if predicted {
                slow = zip(slow, expected).map { $0 + 0.3 * ($1 - $0) }
                expected = slow
            }
            for (value, exact) in zip(run.values, expected) { #expect(abs(Double(value) - exact) < 5e-6) }
        }
        #expect(run.stepper.evaluated(run.parameters) === run.parameters)
    }

    @Test func averageLeavesTheRunAloneAndIsEvaluated() throws {
        let run = try Run(Problem(), method, predictor: EMA(decay: 0.9, warmup: false))
        let plain = try Run(Problem(), method)
        #expect(run.stepper.evaluated(run.parameters) === run.parameters)
        var average = run.values.map(Double.init)
        for _ in 0..<20 {
            #expect(!run.step().predicted)
            plain.step()
            average = zip(average, run.values).map { 0.9 * $0 + 0.1 * Double($1) }
        }
        #expect(run.values == plain.values)
        for (value, exact) in zip(run.stepper.evaluated(run.parameters).values, average) {
            #expect(abs(Double(value) - exact) < 2e-6)
        }
    }

    /// At first as much of the average is new as the warm-up says, then as the decay does.
    @Test func averageWarmsUp() throws {
        let run = try Run(Problem(), method, predictor: EMA(decay: 0.6))
        var average = run.values.map(Double.init)
        for iteration in 0..<20 {
            run.step()
            let decay = min(0.6, Double(1 + iteration) / Double(10 + iteration))
            average = zip(average, run.values).map { decay * $0 + (1 - decay) * Double($1) }
        }
        for (value, exact) in zip(run.stepper.evaluated(run.parameters).values, average) {
            #expect(abs(Double(value) - exact) < 2e-6)
        }
    }

    @Test func meanOfEachPeriodsEndIsEvaluated() throws {
        let run = try Run(Problem(), method, predictor: SWA(start: 4, period: 3))
        let plain = try Run(Problem(), method)
        var ends: [[Float]] = []
        for iteration in 0..<20 {
            #expect(!run.step().predicted)
            plain.step()
            if [6, 9, 12, 15, 18].contains(iteration) { ends.append(run.values) }
            let evaluated = run.stepper.evaluated(run.parameters)
            #expect((evaluated === run.parameters) == ends.isEmpty)
            for element in 0..<(ends.isEmpty ? 0 : run.values.count) {
                let mean = ends.reduce(0) { $0 + Double($1[element]) } / Double(ends.count)
                #expect(abs(Double(evaluated.values[element]) - mean) < 2e-6)
            }
        }
        #expect(run.values == plain.values)
    }

    @Test func refuseWhatMakesNoSense() {
        let options: [(any Predictor, String)] = [
            (Lookahead(period: 0), "Lookahead's period"), (Lookahead(rate: 1.5), "Lookahead's rate"),
            (Lookahead(rate: .nan), "Lookahead's rate"), (EMA(decay: 1), "EMA's decay"),
            (EMA(decay: .nan), "EMA's decay"), (SWA(start: -1), "SWA's start"),
            (SWA(start: 0, period: 0), "SWA's period"),
            (Lookahead(statistics: .recomputed), "Lookahead's statistics"),
        ]
        for (predictor, option) in options {
            let failure = #expect(throws: Failure.self) { try predictor.validate() }
            #expect(failure?.message.hasPrefix(option + ": found ") == true)
        }
    }
}
