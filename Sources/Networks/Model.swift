// A model: a configuration and the numbers that belong to it, initialised as PyTorch does.

import PLPBase
import PLPKernels

/// A network's parameters and running statistics, each in one flat buffer.
///
/// The executor computes with them, an optimizer changes them, and the state dictionary shows them under PyTorch's
/// names and in PyTorch's layouts. A model belongs to one thread at a time.
public final class Model {
    public let configuration: ModelConfiguration
    /// Trainable values. Weights lie as [height][width][in][out], of a convolution's kernel or of the maps that a linear
    /// layer takes; each tensor begins on a cache line, and the gaps stay zero.
    public let parameters: FloatBuffer
    /// Running mean and variance of each batch normalisation.
    public let statistics: FloatBuffer
    /// Mini-batches that each batch normalisation has seen in training.
    public var batchesTracked: [Int64]
    /// The name of the data set that it was trained on last; nil where it was not, or by other means.
    public package(set) var trainedOn: String? {
        get { Fork.postponed { dataName.withLock { $0 } } }
        set { Fork.postponed { dataName.withLock { $0 = newValue } } }
    }
    /// Asked for at any time, also by threads whose turn at the model it is not.
    private let dataName = Lock<String?>(nil)

    let graph: Graph

    /// A new model with PyTorch's default initialisation: weights and biases uniform within ±1/√fan-in, γ = 1, β = 0,
    /// running mean 0 and variance 1.
    ///
    /// - Throws: `Failure` where a value of the configuration is out of its range, or the model exceeds the memory.
    public convenience init(_ configuration: ModelConfiguration) throws(Failure) {
        try configuration.validate()
        try self.init(configuration, Graph(configuration))
        for (index, entry) in graph.entries.enumerated() where entry.kind != .counter {
            let values = UnsafeMutableBufferPointer(
                rebasing: buffer(of: entry).values[entry.offset...].prefix(entry.count))
            switch entry.start {
            case .constant(let value): values.update(repeating: value)
            case .uniform(let bound):
                var random = RandomStream(seed: configuration.seed, .initialization, UInt64(index))
                for place in values.indices { values[place] = (2 * random.uniform() - 1) * bound }
            }
        }
    }

    /// A model of zeros.
    init(_ configuration: ModelConfiguration, _ graph: Graph) throws(Failure) {
        try Memory.require(floats: graph.parameterFloats + graph.statisticFloats, for: "the model's parameters")
        self.configuration = configuration
        self.graph = graph
        parameters = try FloatBuffer(count: graph.parameterFloats)
        statistics = try FloatBuffer(count: graph.statisticFloats)
        batchesTracked = [Int64](repeating: 0, count: graph.normalizationCount)
    }

    /// The images that it takes.
    package var imageShape: ImageShape { ImageShape(known: configuration.imageSize) }

    /// The state dictionary's tensors, in PyTorch's order.
    public var entries: [StateEntry] { graph.entries }

    /// Trainable values, without the gaps between tensors.
    public var parameterCount: Int {
        graph.entries.reduce(0) { $1.kind == .parameter ? $0 + $1.count : $0 }
    }

    /// Where an entry's values lie that are no counter.
    package func buffer(of entry: StateEntry) -> FloatBuffer {
        entry.kind == .parameter ? parameters : statistics
    }

    // MARK: - All values at once

    /// A model of its own with the same configuration and values.
    package func copy() throws(Failure) -> Model {
        let copy = try Model(configuration, graph)
        copy.take(parameters: parameters, statistics: statistics, batchesTracked: batchesTracked)
        copy.trainedOn = trainedOn
        return copy
    }

    /// Takes over values arranged as this model's.
    package func take(parameters: FloatBuffer, statistics: FloatBuffer, batchesTracked: [Int64]) {
        self.parameters.copy(from: parameters)
        self.statistics.copy(from: statistics)
        self.batchesTracked = batchesTracked
    }

    /// Makes running variances zero where they are negative, as a prediction may leave them.
    package func clampVariances() {
        for node in graph.nodes {
            guard let layer = node.convolution else { continue }
            for index in layer.variance..<layer.variance + graph.values[node.output].channels {
                statistics.pointer[index] = max(statistics.pointer[index], 0)
            }
        }
    }

    // MARK: - State dictionary

    /// A tensor's values in PyTorch's layout.
    public func values(of entry: StateEntry) -> Safetensors.Values {
        entry.kind == .counter
            ? .int64([batchesTracked[entry.offset]]) : .float32(values(of: entry, in: buffer(of: entry)))
    }

    /// The values of a parameter or statistic in another buffer of the same arrangement (gradients, momentum), in
    /// PyTorch's layout.
    public func values(of entry: StateEntry, in buffer: FloatBuffer) -> [Float] {
        [Float](unsafeUninitializedCapacity: entry.count) { result, count in
            copyValues(of: entry, in: buffer, to: result.baseAddress!)
            count = entry.count
        }
    }

    /// The same into the caller's memory, which need not be aligned; or those of the `part` of them.
    public func copyValues(
        of entry: StateEntry, _ part: Range<Int>? = nil, in buffer: FloatBuffer? = nil,
        to target: UnsafeMutableRawPointer
    ) {
        let source = (buffer ?? self.buffer(of: entry)).pointer + entry.offset
        entry.forEachPlace(part) { theirs, ours in
            target.storeBytes(of: source[ours], toByteOffset: theirs * MemoryLayout<Float>.stride, as: Float.self)
        }
    }

    /// Sets the values of a parameter or statistic, here or in another buffer of the same arrangement, from PyTorch's
    /// layout.
    public func setValues(of entry: StateEntry, to values: [Float], in buffer: FloatBuffer? = nil) {
        precondition(values.count == entry.count)
        values.withUnsafeBytes { setValues(of: entry, from: $0.baseAddress!, in: buffer) }
    }

    /// The same from the caller's memory, which need not be aligned; or those of the `part` of them.
    public func setValues(
        of entry: StateEntry, _ part: Range<Int>? = nil, from source: UnsafeRawPointer, in buffer: FloatBuffer? = nil
    ) {
        let target = (buffer ?? self.buffer(of: entry)).pointer + entry.offset
        entry.forEachPlace(part) { theirs, ours in
            target[ours] = source.loadUnaligned(fromByteOffset: theirs * MemoryLayout<Float>.stride, as: Float.self)
        }
    }

    /// All tensors under PyTorch's names.
    public func stateDictionary() -> [Safetensors.Tensor] {
        entries.map { Safetensors.Tensor(name: $0.name, shape: $0.shape, values: values(of: $0)) }
    }

    /// Takes over tensors under PyTorch's names: all of the model's and no others (counters may be missing).
    ///
    /// - Throws: `Failure` naming the tensor that is missing, unknown, or of another shape, type or number of values;
    ///   the model is then unchanged.
    public func load(_ tensors: [Safetensors.Tensor]) throws(Failure) {
        let found = try Self.match(
            tensors.map { ($0.name, $0.shape, $0.values.type, $0.values.count) }, graph, configuration)
        for (entry, index) in found {
            switch tensors[index].values {
            case .float32(let values): setValues(of: entry, to: values)
            case .int64(let values): batchesTracked[entry.offset] = values[0]
            }
        }
    }

    /// Each of the network's entries with the index of its tensor, as far as there is one.
    static func match(
        _ tensors: [(name: String, shape: [Int], type: Safetensors.ElementType, count: Int)], _ graph: Graph,
        _ configuration: ModelConfiguration
    ) throws(Failure) -> [(entry: StateEntry, index: Int)] {
        var unused = Dictionary(tensors.indices.map { (tensors[$0].name, $0) }, uniquingKeysWith: { $1 })
        var found: [(StateEntry, Int)] = []
        for entry in graph.entries {
            guard let index = unused.removeValue(forKey: entry.name) else {
                if entry.kind == .counter { continue }
                throw Failure(.invalidArgument, "tensor \(entry.name) is missing")
            }
            let (name, tensor) = ("tensor \(entry.name)", tensors[index])
            try require(tensor.shape == entry.shape, name, "shape \(tensor.shape)", expected: "\(entry.shape)")
            try require(tensor.count == entry.count, name, "\(tensor.count) values", expected: "\(entry.count)")
            try require(tensor.type == entry.type, name, "\(tensor.type) values", expected: "\(entry.type)")
            found.append((entry, index))
        }
        if let name = unused.keys.sorted().first {
            throw Failure(.invalidArgument, "tensor \(excerpt(name)) does not belong to \(configuration.architecture)")
        }
        return found
    }
}

extension StateEntry {
    /// Its type in a state dictionary.
    package var type: Safetensors.ElementType { kind == .counter ? .int64 : .float32 }

    /// Calls `body` with each value's place in PyTorch's layout, [out][in][pixel], and in ours, [pixel][in][out], where
    /// output channels lie side by side.
    ///
    /// - Parameter part: of the values in PyTorch's layout, those of whole output channels; the places in it are counted
    ///   from its first.
    func forEachPlace(_ part: Range<Int>? = nil, _ body: (_ theirs: Int, _ ours: Int) -> Void) {
        let part = part ?? 0..<count
        let outputs = shape.first ?? 1
        let inputs = count / (outputs * pixels)
        let channels = part.lowerBound / (inputs * pixels)..<part.upperBound / (inputs * pixels)
        var theirs = 0
        for output in channels {
            for input in 0..<inputs {
                for pixel in 0..<pixels {
                    body(theirs, (pixel * inputs + input) * outputs + output)
                    theirs += 1
                }
            }
        }
    }
}
