// The object that performs steps: the optimizer's update with the schedule's learning rate and the predictor's action,
// in one pass over flat vectors. It knows no layer. Its whole state are those vectors and two counters.

import PLPBase
import PLPKernels

/// An optimizer and, where there is one, a predictor, with their state for one model.
public final class Stepper {
    /// What one step did.
    public struct Outcome: Sendable, Equatable {
        /// The learning rate the step was done with.
        public var learningRate: Double
        /// Whether the predictor replaced the parameters.
        public var predicted: Bool
    }

    public let optimizer: any Optimizer
    public let schedule: Schedule
    public let predictor: (any Predictor)?

    /// Steps done so far. The predictor's cycles are counted from here.
    public private(set) var iteration = 0
    /// Those of them since the optimizer's momentum started.
    package private(set) var stepsOfMomentum = 0
    /// The vectors that the optimizer keeps, in the order of its names.
    package let state: [(name: String, values: FloatBuffer)]
    /// What the predictor keeps of the parameters and, where it acts on them too, of the running statistics.
    package let prediction: Prediction?
    package let statisticsPrediction: Prediction?
    private let threads: Threads

    /// - Parameters:
    ///   - parameterCount: values in the model's flat parameters.
    ///   - statisticsCount: values in the flat running statistics of its batch normalizations.
    package init(
        _ optimizer: any Optimizer, schedule: Schedule = .constant, predictor: (any Predictor)? = nil,
        parameterCount: Int, statisticsCount: Int = 0, threads: Threads
    ) throws(Failure) {
        try optimizer.validate()
        try schedule.validate()
        self.optimizer = optimizer
        self.schedule = schedule
        self.predictor = predictor
        self.threads = threads
        var state: [(String, FloatBuffer)] = []
        for name in optimizer.state { state.append((name, try FloatBuffer(count: parameterCount))) }
        self.state = state
        prediction = try predictor.map { predictor throws(Failure) in
            try Prediction(predictor, count: parameterCount, threads: threads)
        }
        statisticsPrediction =
            if let predictor, predictor.statistics != .kept {
                try Prediction(predictor, count: statisticsCount, threads: threads)
            } else { nil }
    }

    /// Changes the parameters by one iteration.
    ///
    /// - Parameters:
    ///   - statistics: the running statistics before the mini-batch, whose forward pass is their step, and as they are
    ///     now; only a predictor told to predict them changes these.
    ///   - position: where in the run this iteration is, for the schedule and DEMON. Nil, for a step outside a run,
    ///     takes the learning rate and the momentum as the options give them.
    @discardableResult
    package func step(
        parameters: FloatBuffer, gradients: FloatBuffer, statistics: (before: FloatBuffer, now: FloatBuffer)? = nil,
        at position: RunPosition? = nil
    ) -> Outcome {
        if iteration == 0 {
            prediction?.begin(parameters.pointer)
            if let statistics { statisticsPrediction?.begin(statistics.before.pointer) }
        }
        let learningRate = optimizer.learningRate * (position.map(schedule.factor) ?? 1)
        let action = prediction?.next()
        optimizer.step(
            UpdatePass(
                parameters: parameters.pointer, gradients: gradients.pointer, state: state.map(\.values.pointer),
                memory: prediction?.memory.pointer, count: parameters.count, prediction: action, threads: threads),
            at: StepMoment(
                learningRate: learningRate, steps: iteration, stepsOfMomentum: stepsOfMomentum, position: position))
        if let statistics { statisticsPrediction?.afterStep(statistics.now.pointer) }
        let predicted = action?.replacesParameters ?? false
        iteration += 1
        stepsOfMomentum = predicted && predictor?.momentum == .reset ? 0 : stepsOfMomentum + 1
        return Outcome(learningRate: learningRate, predicted: predicted)
    }

    /// Goes on from a number of steps; the vectors are set by themselves.
    package func restore(iteration: Int, stepsOfMomentum: Int) {
        self.iteration = iteration
        self.stepsOfMomentum = stepsOfMomentum
        prediction?.iteration = iteration
        statisticsPrediction?.iteration = iteration
    }

    /// The parameters to evaluate and to keep: the run's own, or their average where the predictor has one.
    package func evaluated(_ parameters: FloatBuffer) -> FloatBuffer { average(prediction) ?? parameters }

    /// The running statistics that belong to ``evaluated(_:)``.
    package func evaluatedStatistics(_ statistics: FloatBuffer) -> FloatBuffer {
        average(statisticsPrediction) ?? statistics
    }

    /// An average whose running statistics are to be recomputed, and where they belong.
    package var recomputable: (average: FloatBuffer, statistics: FloatBuffer)? {
        guard predictor?.statistics == .recomputed, let parameters = average(prediction),
            let statistics = average(statisticsPrediction)
        else { return nil }
        return (parameters, statistics)
    }

    private func average(_ prediction: Prediction?) -> FloatBuffer? {
        prediction?.hasAverage == true ? prediction?.memory : nil
    }
}
