// The object that performs steps: SGD's update with the schedule's learning rate, then the predictor's action, on flat
// vectors. It knows no layer. Its whole state is three vectors and a counter, from which a place in a cycle follows.

import PLPBase
import PLPKernels

/// SGD and, where there is one, a predictor, with their state for one model.
public final class Optimizer {
    /// What one step did.
    public struct Outcome: Sendable, Equatable {
        /// The learning rate the step was done with.
        public var learningRate: Double
        /// Whether the predictor replaced the parameters.
        public var predicted: Bool
    }

    public let method: SGD
    public let schedule: Schedule
    public let predictor: (any Predictor)?

    /// Steps done so far. The predictor's cycles are counted from here.
    public package(set) var iteration = 0
    /// v of SGD's update; nil without momentum.
    package let momentum: FloatBuffer?
    /// The predictor's memory of the parameters and, where it acts on them too, of the running statistics.
    package let memory: FloatBuffer?
    package let statisticsMemory: FloatBuffer?
    private let threads: Threads

    /// - Parameters:
    ///   - parameterCount: values in the model's flat parameters.
    ///   - statisticsCount: values in the flat running statistics of its batch normalizations.
    public init(
        _ method: SGD, schedule: Schedule = .constant, predictor: (any Predictor)? = nil,
        parameterCount: Int, statisticsCount: Int = 0, threads: Threads
    ) throws(Failure) {
        try method.validate()
        try schedule.validate()
        try predictor?.validate()
        self.method = method
        self.schedule = schedule
        self.predictor = predictor
        self.threads = threads
        momentum = method.momentum == 0 ? nil : try FloatBuffer(count: parameterCount)
        memory = predictor == nil ? nil : try FloatBuffer(count: parameterCount)
        statisticsMemory = predictor?.statistics == .predicted ? try FloatBuffer(count: statisticsCount) : nil
    }

    /// Changes the parameters by one iteration.
    ///
    /// - Parameters:
    ///   - statistics: the running statistics, which only a predictor told to predict them changes.
    ///   - position: where in the run this iteration is, for the schedule and DEMON. Nil, for a step outside a run,
    ///     takes the learning rate and the momentum as the options give them.
    @discardableResult
    public func step(
        parameters: FloatBuffer, gradients: FloatBuffer, statistics: FloatBuffer? = nil, at position: RunPosition? = nil
    ) -> Outcome {
        if iteration == 0, predictor?.remembersStart == true {
            memory?.copy(from: parameters)
            if let statistics { statisticsMemory?.copy(from: statistics) }
        }
        let learningRate = method.learningRate * (position.map(schedule.factor) ?? 1)
        let action = predictor?.action(after: iteration)
        Updates.sgd(
            parameters: parameters.pointer, gradients: gradients.pointer, momentum: momentum?.pointer,
            memory: memory?.pointer, count: parameters.count,
            rates: SGDRates(
                learningRate: Float(learningRate), momentum: Float(method.momentum(at: position)),
                weightDecay: Float(method.weightDecay), nesterov: method.nesterov, first: startsMomentum),
            prediction: action, threads: threads)
        if let action, let statistics, let statisticsMemory {
            Updates.apply(
                action, parameters: statistics.pointer, memory: statisticsMemory.pointer, count: statistics.count,
                threads: threads)
        }
        iteration += 1
        return Outcome(learningRate: learningRate, predicted: action?.replacesParameters ?? false)
    }

    /// Whether the coming step has no direction to go on from: it is the first, or the last one's prediction reset it.
    private var startsMomentum: Bool {
        iteration == 0
            || predictor?.momentum == .reset && predictor?.action(after: iteration - 1)?.replacesParameters == true
    }

    /// The parameters to evaluate and to keep: the run's own, or their average where the predictor says so.
    package func evaluated(_ parameters: FloatBuffer) -> FloatBuffer { average(memory) ?? parameters }

    /// The running statistics that belong to ``evaluated(_:)``.
    package func evaluatedStatistics(_ statistics: FloatBuffer) -> FloatBuffer {
        average(statisticsMemory) ?? statistics
    }

    private func average(_ memory: FloatBuffer?) -> FloatBuffer? {
        iteration > 0 && predictor?.hasAverage(after: iteration - 1) == true ? memory : nil
    }
}
