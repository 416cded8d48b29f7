// A predictor at work on one vector, whatever moves that: a trainer's parameters, its running statistics, or what
// somebody's own training loop trains.

import PLPBase
import PLPKernels

/// A predictor and its state for one vector of parameters: the memory, and the place in the cycle.
///
///     let prediction = try Prediction(PLP(), startingFrom: parameters)
///     while training {
///         parameters -= …                                      // a step of any optimizer
///         let replaced = try prediction.afterStep(&parameters)
///     }
///
/// It belongs to one thread at a time.
public final class Prediction {
    public let predictor: any Predictor
    /// Iterations done so far. Cycles are counted from here.
    public package(set) var iteration = 0
    /// Values in the vector.
    public var count: Int { memory.count }
    package let memory: FloatBuffer
    private let threads: Threads

    /// The threads of all predictions that no trainer has given its own.
    private static let shared = Threads()

    /// - Parameter parameters: as they are before the first step; ``Lookahead`` and ``EMA`` start from them.
    /// - Throws: ``Failure`` naming an option out of its range, or where memory is short.
    public convenience init(_ predictor: any Predictor, startingFrom parameters: [Float]) throws(Failure) {
        try self.init(predictor, count: parameters.count)
        parameters.withUnsafeBufferPointer { if let start = $0.baseAddress { begin(start) } }
    }

    /// For a vector whose start ``begin(_:)`` tells.
    package init(_ predictor: any Predictor, count: Int, threads: Threads? = nil) throws(Failure) {
        try predictor.validate()
        try Memory.require(floats: count, for: "the predictor's memory")
        self.predictor = predictor
        self.threads = threads ?? Self.shared
        memory = try FloatBuffer(count: count)
    }

    /// Takes note of the parameters as they are before the first step.
    package func begin(_ parameters: UnsafePointer<Float>) {
        if predictor.remembersStart { memory.pointer.update(from: parameters, count: count) }
    }

    /// Does what follows a step of the optimizer: changes the memory and, where a prediction is due, the parameters.
    ///
    /// - Returns: whether the parameters have been replaced.
    /// - Throws: ``Failure`` where they are not as many as at the start.
    @discardableResult
    public func afterStep(_ parameters: inout [Float]) throws(Failure) -> Bool {
        try require(parameters.count == count, "parameters", parameters.count, expected: "\(count), as at the start")
        return parameters.withUnsafeMutableBufferPointer { buffer in buffer.baseAddress.map(afterStep) ?? false }
    }

    @discardableResult
    package func afterStep(_ parameters: UnsafeMutablePointer<Float>) -> Bool {
        guard let action = next() else { return false }
        Updates.apply(action, parameters: parameters, memory: memory.pointer, count: count, threads: threads)
        return action.replacesParameters
    }

    /// What follows the coming step, for whoever does it in a pass of its own; counts it as done.
    package func next() -> PredictionAction? {
        defer { iteration += 1 }
        return predictor.action(after: iteration)
    }

    /// The parameters to evaluate and to keep, where the predictor averages and has begun to.
    public var average: [Float]? { hasAverage ? memory.array : nil }

    package var hasAverage: Bool { iteration > 0 && predictor.hasAverage(after: iteration - 1) }

    // MARK: - State

    // The format, in this machine's byte order: eight letters, three 64-bit integers (values in the vector, iteration,
    // bytes of the predictor's description), the description with zeros up to a multiple of eight, and the memory.
    private static let signature = Array("plpstate".utf8)
    private static let headerSize = 32

    /// Bytes of the state, always as many for one predictor and number of values.
    package func stateSize() throws(Failure) -> Int {
        Self.headerSize + (try description(of: predictor).utf8.count + 7) / 8 * 8 + count * MemoryLayout<Float>.stride
    }

    /// Writes all that is needed to go on bit for bit into memory of that size.
    package func writeState(to target: UnsafeMutableRawBufferPointer) throws(Failure) {
        let description = Array(try description(of: predictor).utf8)
        target.copyBytes(from: Self.signature)
        for (place, number) in [count, iteration, description.count].enumerated() {
            target.storeBytes(of: Int64(number), toByteOffset: 8 * (place + 1), as: Int64.self)
        }
        let values = UnsafeRawBufferPointer(memory.values)
        let gap = Self.headerSize + description.count..<target.count - values.count
        target.dropFirst(Self.headerSize).copyBytes(from: description)
        target[gap].copyBytes(from: repeatElement(0, count: gap.count))
        target[gap.upperBound...].copyBytes(from: values)
    }

    /// Goes back to a state of a prediction with the same predictor and number of values.
    ///
    /// - Throws: ``Failure`` naming what differs; nothing has changed then.
    package func readState(from state: UnsafeRawBufferPointer) throws(Failure) {
        guard state.count >= Self.headerSize, state.starts(with: Self.signature) else {
            throw Failure(
                .invalidArgument, "state: found \(state.count) bytes of another kind, expected a prediction's")
        }
        let numbers = (1...3).map { state.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self) }
        let (values, iteration, length) = (numbers[0], Int(numbers[1]), Int(numbers[2]))
        let own = try description(of: predictor)
        let found = state.dropFirst(Self.headerSize).prefix(max(length, 0))
        try require(
            found.elementsEqual(own.utf8), "state", "one of \(String(decoding: found.prefix(500), as: UTF8.self))",
            expected: "one of \(own.prefix(500))")
        try require(values == count, "state", "one of \(values) values", expected: "\(count)")
        let size = try stateSize()
        try require(state.count == size, "state", "\(state.count) bytes", expected: "\(size)")
        try require("state's iteration", iteration, in: 0...Int.max / 2)
        self.iteration = iteration
        let bytes = state.suffix(count * MemoryLayout<Float>.stride)
        UnsafeMutableRawBufferPointer(memory.values).copyBytes(from: bytes)
    }

    /// All that is needed to go on bit for bit, as bytes for ``setState(_:)``.
    public func state() throws(Failure) -> [UInt8] {
        var state = [UInt8](repeating: 0, count: try stateSize())
        try state.withUnsafeMutableBufferPointer { bytes throws(Failure) in
            try writeState(to: UnsafeMutableRawBufferPointer(bytes))
        }
        return state
    }

    /// Goes back to a state. Throws ``Failure`` where it is of another predictor or number of values; nothing has
    /// changed then.
    public func setState(_ state: [UInt8]) throws(Failure) {
        try state.withUnsafeBufferPointer { bytes throws(Failure) in
            try readState(from: UnsafeRawBufferPointer(bytes))
        }
    }
}
