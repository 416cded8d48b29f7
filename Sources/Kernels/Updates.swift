// Updates of flat vectors: the optimizer's step, and with it, in one pass over memory, what a predictor does after it.
// Each optimizer's step has a file of its own, Updates+….swift.

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

/// What one step works on: vectors of one length, and what a predictor does behind it.
public struct UpdatePass {
    public var parameters: UnsafeMutablePointer<Float>
    public var gradients: UnsafePointer<Float>
    /// What the optimizer keeps from step to step, in its own order.
    public var state: [UnsafeMutablePointer<Float>]
    /// The predictor's; without it there is no prediction.
    public var memory: UnsafeMutablePointer<Float>?
    public var count: Int
    public var prediction: PredictionAction?
    public var threads: Threads

    public init(
        parameters: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>,
        state: [UnsafeMutablePointer<Float>] = [], memory: UnsafeMutablePointer<Float>? = nil, count: Int,
        prediction: PredictionAction? = nil, threads: Threads
    ) {
        self.parameters = parameters
        self.gradients = gradients
        self.state = state
        self.memory = memory
        self.count = count
        self.prediction = prediction
        self.threads = threads
    }
}

/// An optimizer's step. A type and not a closure, so that the compiler makes a loop of its own for it.
protocol UpdateRule {
    /// The new values of 16 parameters; the rule looks after the optimizer's state at their position.
    func step(_ parameter: Vector, _ gradient: Vector, at position: Int, lanes: Int) -> Vector
}

public enum Updates {
    /// An optimizer's step and the prediction behind it.
    @inline(__always)
    static func perform(_ pass: UpdatePass, _ rule: some UpdateRule) {
        let (parameters, gradients, memory) = (pass.parameters, pass.gradients, pass.memory)
        let action = pass.prediction.map(Action.init)
        forAll(pass.count, pass.threads) { position, lanes in
            var parameter = rule.step(
                Vector(at: parameters + position, count: lanes), Vector(at: gradients + position, count: lanes),
                at: position, lanes: lanes)
            if let action, let memory { parameter = action(parameter, memory + position, lanes) }
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
            let parameter = action(Vector(at: parameters + position, count: lanes), memory + position, lanes)
            if action.predicts { parameter.store(to: parameters + position, count: lanes) }
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
        threads.forEach(divideUp(count, by: Cut.block)) { block in
            forEachVector(in: block * Cut.block..<min((block + 1) * Cut.block, count), body)
        }
    }
}
