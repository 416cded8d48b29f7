// Updates of flat vectors: the optimizer's step, and with it, in one pass over memory, what a predictor does after it.
//
// The step is PyTorch's torch.optim.SGD, operation by operation, in float32:
//     g = g + weightDecay θ    v = first ? g : momentum v + g    θ = θ − learningRate (nesterov ? g + momentum v : v)
// where sums with a product are rounded once, as there, but for v, whose product PyTorch rounds before it adds.

/// Constants of one step.
public struct SGDRates: Sendable, Equatable {
    public var learningRate: Float
    public var momentum: Float
    public var weightDecay: Float
    public var nesterov: Bool
    /// Whether v starts at this step, with the gradient as it is; what was in it is not read.
    public var first: Bool

    public init(
        learningRate: Float, momentum: Float = 0, weightDecay: Float = 0, nesterov: Bool = false, first: Bool = false
    ) {
        self.learningRate = learningRate
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.nesterov = nesterov
        self.first = first
    }
}

/// What a predictor does with the parameters θ and its memory m after a step: an affine action in each of the two.
///
///     m ← memory.0 · m + memory.1 · θ,  then  θ ← parameters.0 · θ + parameters.1 · m
///
/// Where memory.0 is 0, m is not read and may be anything before. Computed with in float32.
public struct PredictionAction: Sendable, Equatable {
    public var memory: SIMD2<Double>
    public var parameters: SIMD2<Double>

    public init(memory: (Double, Double), parameters: (Double, Double)) {
        self.memory = SIMD2(memory.0, memory.1)
        self.parameters = SIMD2(parameters.0, parameters.1)
    }

    /// What leaves both as they are.
    public static let none = PredictionAction(memory: (1, 0), parameters: (1, 0))

    /// Whether the memory gets new values.
    public var changesMemory: Bool { memory != Self.none.memory }
    /// Whether the parameters do.
    public var replacesParameters: Bool { parameters != Self.none.parameters }
}

public enum Updates {
    /// One step of SGD on `count` parameters, then the predictor's action, if there is one. `momentum` is the buffer v,
    /// which is neither read nor written where `rates.momentum` is 0. Without `momentum` there is none, whatever the
    /// rates say, and without `memory` there is no prediction.
    public static func sgd(
        parameters: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>,
        momentum: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>? = nil, count: Int, rates: SGDRates,
        prediction: PredictionAction? = nil, threads: Threads
    ) {
        let decay = Vector(repeating: rates.weightDecay)
        let inertia = Vector(repeating: rates.momentum)
        let descent = Vector(repeating: -rates.learningRate)
        let velocity = rates.momentum == 0 ? nil : momentum
        let action = prediction.map(Action.init)
        forAll(count, threads) { position, lanes in
            var parameter = Vector(at: parameters + position, count: lanes)
            var step = Vector(at: gradients + position, count: lanes).addingProduct(decay, parameter)
            if let velocity {
                var moved = step
                if !rates.first { moved += inertia * Vector(at: velocity + position, count: lanes) }
                moved.store(to: velocity + position, count: lanes)
                step = rates.nesterov ? step.addingProduct(inertia, moved) : moved
            }
            parameter = parameter.addingProduct(descent, step)
            if let action, let memory {
                parameter = action(parameter, memory + position, lanes)
            }
            parameter.store(to: parameters + position, count: lanes)
        }
    }

    /// The predictor's action alone: on running statistics, or on parameters that no step moved.
    public static func apply(
        _ action: PredictionAction, parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>,
        count: Int, threads: Threads
    ) {
        let action = Action(action)
        forAll(count, threads) { position, lanes in
            action(Vector(at: parameters + position, count: lanes), memory + position, lanes)
                .store(to: parameters + position, count: lanes)
        }
    }

    /// Σ weights[i] · vectors[i], the first one's product first, of one vector or more; `result` may be one of them.
    public static func weightedSum(
        of vectors: [UnsafePointer<Float>], weights: [Float], count: Int, to result: UnsafeMutablePointer<Float>
    ) {
        forEachVector(in: 0..<count) { position, lanes in
            var sum = Vector(repeating: weights[0]) * Vector(at: vectors[0] + position, count: lanes)
            for index in 1..<vectors.count {
                sum.addProduct(Vector(repeating: weights[index]), Vector(at: vectors[index] + position, count: lanes))
            }
            sum.store(to: result + position, count: lanes)
        }
    }

    /// Whether all values are finite.
    public static func isFinite(_ values: UnsafePointer<Float>, count: Int) -> Bool {
        // Infinity times zero is NaN, and NaN stays.
        var sum = Vector()
        forEachVector(in: 0..<count) { sum.addProduct(Vector(at: values + $0, count: $1), Vector()) }
        return sum.sum() == 0
    }

    /// A `PredictionAction` spread over vectors.
    private struct Action {
        let memoryKept, memoryTaken, parametersKept, parametersTaken: Vector
        let reads, writes, predicts: Bool

        init(_ action: PredictionAction) {
            let (memory, parameters) = (SIMD2<Float>(action.memory), SIMD2<Float>(action.parameters))
            memoryKept = Vector(repeating: memory.x)
            memoryTaken = Vector(repeating: memory.y)
            parametersKept = Vector(repeating: parameters.x)
            parametersTaken = Vector(repeating: parameters.y)
            reads = memory.x != 0
            writes = memory != SIMD2(1, 0)
            predicts = parameters != SIMD2(1, 0)
        }

        /// The new parameters; memory is read and written only where that changes anything.
        @inline(__always)
        func callAsFunction(_ parameters: Vector, _ memory: UnsafeMutablePointer<Float>, _ lanes: Int) -> Vector {
            var remembered = Vector()
            if reads { remembered = memoryKept * Vector(at: memory, count: lanes) }
            if writes {
                remembered.addProduct(memoryTaken, parameters)
                remembered.store(to: memory, count: lanes)
            }
            return predicts ? (parametersTaken * remembered).addingProduct(parametersKept, parameters) : parameters
        }
    }

    /// Calls `body` for each 16 values and the rest, in blocks of 64 KB.
    @inline(__always)
    private static func forAll(_ count: Int, _ threads: Threads, _ body: (_ position: Int, _ lanes: Int) -> Void) {
        let blockSize = 16384
        threads.forEach(divideUp(count, by: blockSize)) { block in
            forEachVector(in: block * blockSize..<min((block + 1) * blockSize, count), body)
        }
    }
}
