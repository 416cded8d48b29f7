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
    private init(_ configuration: ModelConfiguration, _ graph: Graph) throws(Failure) {
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

    private func buffer(of entry: StateEntry) -> FloatBuffer {
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

    /// The same into the caller's memory, which need not be aligned.
    public func copyValues(of entry: StateEntry, in buffer: FloatBuffer? = nil, to target: UnsafeMutableRawPointer) {
        let source = (buffer ?? self.buffer(of: entry)).pointer + entry.offset
        entry.forEachPlace { theirs, ours in
            target.storeBytes(of: source[ours], toByteOffset: theirs * MemoryLayout<Float>.stride, as: Float.self)
        }
    }

    /// Sets the values of a parameter or statistic, here or in another buffer of the same arrangement, from PyTorch's
    /// layout.
    public func setValues(of entry: StateEntry, to values: [Float], in buffer: FloatBuffer? = nil) {
        precondition(values.count == entry.count)
        values.withUnsafeBytes { setValues(of: entry, from: $0.baseAddress!, in: buffer) }
    }

    /// The same from the caller's memory, which need not be aligned.
    public func setValues(of entry: StateEntry, from source: UnsafeRawPointer, in buffer: FloatBuffer? = nil) {
        let target = (buffer ?? self.buffer(of: entry)).pointer + entry.offset
        entry.forEachPlace { theirs, ours in
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
        take(try Self.match(tensors, graph, configuration))
    }

    /// Each of the network's entries with its tensor's values, as far as there is one.
    private static func match(
        _ tensors: [Safetensors.Tensor], _ graph: Graph, _ configuration: ModelConfiguration
    ) throws(Failure) -> [(StateEntry, Safetensors.Values)] {
        var unused = Dictionary(tensors.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        var found: [(StateEntry, Safetensors.Values)] = []
        for entry in graph.entries {
            guard let tensor = unused.removeValue(forKey: entry.name) else {
                if entry.kind == .counter { continue }
                throw Failure(.invalidArgument, "tensor \(entry.name) is missing")
            }
            let (name, count) = ("tensor \(entry.name)", tensor.values.count)
            try require(tensor.shape == entry.shape, name, "shape \(tensor.shape)", expected: "\(entry.shape)")
            try require(count == entry.count, name, "\(count) values", expected: "\(entry.count)")
            switch (entry.kind, tensor.values) {
            case (.counter, .int64), (.parameter, .float32), (.statistic, .float32): break
            default:
                throw Failure(
                    .invalidArgument,
                    "tensor \(entry.name): found \(entry.kind == .counter ? "float32" : "int64") values, "
                        + "expected \(entry.kind == .counter ? "int64" : "float32")")
            }
            found.append((entry, tensor.values))
        }
        if let name = unused.keys.sorted().first {
            throw Failure(.invalidArgument, "tensor \(name) does not belong to \(configuration.architecture)")
        }
        return found
    }

    private func take(_ found: [(StateEntry, Safetensors.Values)]) {
        for (entry, values) in found {
            switch values {
            case .float32(let values): setValues(of: entry, to: values)
            case .int64(let values): batchesTracked[entry.offset] = values[0]
            }
        }
    }

    // MARK: - Files

    private static let configurationKey = "plp.configuration"
    private static let trainedOnKey = "plp.trained-on"

    /// Writes the state dictionary as safetensors, durably, with configuration and data set's name in its metadata.
    public func save(to path: String) throws(Failure) {
        var metadata = [Self.configurationKey: try json(configuration)]
        metadata[Self.trainedOnKey] = trainedOn
        try Safetensors.write(
            entries.map { entry in
                Safetensors.Source(
                    name: entry.name, shape: entry.shape, type: entry.kind == .counter ? .int64 : .float32
                ) { self.values(of: entry) }
            }, metadata: metadata, to: path)
    }

    /// Reads a model that `save(to:)` wrote.
    public convenience init(path: String) throws(Failure) {
        let file = try Safetensors(path: path)
        guard let json = file.metadata[Self.configurationKey] else {
            throw Failure(
                .corrupt,
                "\(path): no \(Self.configurationKey) found in its metadata; to take a state dictionary from "
                    + "elsewhere, make a model and load it")
        }
        let configuration = try Safetensors.value(
            ModelConfiguration.self, json: json, name: "\(path): \(Self.configurationKey)")
        // Compared with what is in the file, however large a network it names, before memory is asked for.
        let graph: Graph
        let found: [(StateEntry, Safetensors.Values)]
        do {
            try configuration.validate()
            graph = Graph(configuration)
            found = try Self.match(file.tensors, graph, configuration)
        } catch { throw Failure(.corrupt, "\(path): \(error.message)") }
        try self.init(configuration, graph)
        take(found)
        trainedOn = file.metadata[Self.trainedOnKey]
    }
}

extension StateEntry {
    /// Calls `body` with each value's place in PyTorch's layout, [out][in][pixel], and in ours, [pixel][in][out], where
    /// output channels lie side by side.
    func forEachPlace(_ body: (_ theirs: Int, _ ours: Int) -> Void) {
        guard shape.count > 1 else {
            for index in 0..<count { body(index, index) }
            return
        }
        let outputs = shape[0]
        let inputs = count / (outputs * pixels)
        var theirs = 0
        for output in 0..<outputs {
            for input in 0..<inputs {
                for pixel in 0..<pixels {
                    body(theirs, (pixel * inputs + input) * outputs + output)
                    theirs += 1
                }
            }
        }
    }
}
