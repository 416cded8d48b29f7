import PLPBase
import PLPOptimization
import PLPTestSupport
import Testing

/// A predictor by itself, behind steps that somebody else does.
@Suite struct PredictionTests {
    static let predictors: [any Predictor] = [
        PLP(), PLP(coefficients: [0.25, -1, 0.5, 1.25], period: 6, start: 2, end: 40, momentum: .reset),
        Lookahead(period: 4), EMA(decay: 0.8), SWA(start: 3, period: 2),
    ]

    /// Somebody's gradient descent.
    func step(_ parameters: inout [Float], _ problem: Problem) {
        for element in parameters.indices {
            parameters[element].addProduct(-0.05, problem.gradient(parameters[element], element))
        }
    }

    /// The same bits as in a trainer, whose pass does the optimizer's step too.
    @Test(arguments: predictors.indices) func doesWhatATrainerDoes(index: Int) throws {
        let problem = Problem(count: 40_001)
        let run = try Run(
            problem, SGD(learningRate: 0.05, momentum: 0, weightDecay: 0), predictor: Self.predictors[index])
        var parameters = problem.start
        let prediction = try Prediction(Self.predictors[index], startingFrom: parameters)
        for _ in 0..<20 {
            step(&parameters, problem)
            #expect(try prediction.afterStep(&parameters) == run.step().predicted)
            #expect(parameters == run.values)
        }
        let evaluated = run.stepper.evaluated(run.parameters)
        #expect(prediction.average == (evaluated === run.parameters ? nil : evaluated.array))
    }

    /// From the state at each place of a cycle, the rest is the same to the last bit.
    @Test(arguments: predictors.indices) func goesOnFromItsState(index: Int) throws {
        let problem = Problem()
        var parameters = problem.start
        let whole = try Prediction(Self.predictors[index], startingFrom: parameters)
        for _ in 0..<13 {
            step(&parameters, problem)
            try whole.afterStep(&parameters)
            let other = try Prediction(
                Self.predictors[index], startingFrom: [Float](repeating: 7, count: problem.count))
            try other.setState(whole.state())
            #expect(try other.state() == whole.state())
            var (here, there) = (parameters, parameters)
            let branch = try Prediction(Self.predictors[index], startingFrom: problem.start)
            try branch.setState(whole.state())
            for _ in 0..<7 {
                step(&here, problem)
                step(&there, problem)
                #expect(try branch.afterStep(&here) == other.afterStep(&there))
            }
            #expect(here == there && branch.average == other.average)
        }
    }

    @Test func refusesWhatDoesNotBelongToIt() throws {
        var parameters: [Float] = [1, 2, 3]
        let prediction = try Prediction(PLP(), startingFrom: parameters)
        try prediction.afterStep(&parameters)
        let state = try prediction.state()
        var more: [Float] = [1, 2, 3, 4]
        expectFailure(.invalidArgument, "parameters: found 4, expected 3") { try prediction.afterStep(&more) }
        expectFailure(.invalidArgument, "PLP's period") { _ = try Prediction(PLP(period: 2), startingFrom: more) }
        let (other, longer) = (
            try Prediction(Lookahead(), startingFrom: [1, 2, 3]), try Prediction(PLP(), startingFrom: more)
        )
        expectFailure(.invalidArgument, "state: found one of Lookahead {", "expected one of PLP {") {
            try prediction.setState(other.state())
        }
        expectFailure(.invalidArgument, "state: found one of 4 values, expected 3") {
            try prediction.setState(longer.state())
        }
        for damaged in [[], Array(state.prefix(31)), [UInt8](repeating: 0, count: state.count)] {
            expectFailure(.invalidArgument, "state: found \(damaged.count) bytes of another kind") {
                try prediction.setState(damaged)
            }
        }
        expectFailure(.invalidArgument, "state: found \(state.count - 1) bytes, expected \(state.count)") {
            try prediction.setState(Array(state.dropLast()))
        }
        for (byte, name) in [(15, "values"), (23, "state's iteration"), (31, "state: found one of ")] {
            var damaged = state
            damaged[byte] = 0xff  // a negative number
            expectFailure(.invalidArgument, name) { try prediction.setState(damaged) }
        }
        #expect(try prediction.state() == state)
        #expect(prediction.average == nil)
    }

    @Test func passesOnWhatIsNotFinite() throws {
        var parameters: [Float] = [1, .nan, .infinity]
        let prediction = try Prediction(PLP(), startingFrom: [1, 1, 1])
        for _ in 0..<3 { try prediction.afterStep(&parameters) }
        #expect(parameters[0] == 1 && parameters[1].isNaN && !parameters[2].isFinite)
    }
}
