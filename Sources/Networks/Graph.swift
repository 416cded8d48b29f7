// A network as data: which layers it has, in which order they run, where their parameters lie. Written down by an
// architecture, read by the model (names and shapes) and by the executor (buffers and kernels). What the executor takes
// for granted is checked as the network is written down.

import PLPKernels

/// A tensor of a state dictionary, with its name and shape as PyTorch has them, and its place in our flat buffers.
public struct StateEntry: Sendable, Equatable {
    public enum Kind: Sendable {
        /// Trainable; lies in `Model.parameters`.
        case parameter
        /// A running mean or variance; lies in `Model.statistics`.
        case statistic
        /// A count of mini-batches (`num_batches_tracked`, int64); lies in `Model.batchesTracked`.
        case counter
    }

    public let name: String
    /// PyTorch's shape: [out, in, height, width] for convolutions, [out, in] for linear layers, [channels], or [].
    public let shape: [Int]
    public let kind: Kind
    /// Where the tensor begins in its buffer.
    public let offset: Int
    /// Of a weight: the pixels of its kernel, or of the maps that a linear layer takes, whose values follow each other
    /// channel by channel in PyTorch and pixel by pixel here.
    var pixels = 1
    /// Half-width of the uniform distribution it starts from (PyTorch's default, 1 / √fan-in), or its constant start.
    let start: Start

    enum Start: Equatable {
        case uniform(Float)
        case constant(Float)
    }

    public var count: Int { shape.reduce(1, *) }
}

/// A network's layers in the order they run, over values that they read and write.
package struct Graph {
    /// Maps that a layer writes, of one image. A slice lies inside wider maps: that is how branches are concatenated.
    struct Value {
        var channels: Int
        var height: Int
        var width: Int
        var slice: (of: ValueID, from: Int)?
    }
    package typealias ValueID = Int

    /// Convolution, batch normalisation, then the sum with a residual and ReLU where there are such.
    /// Offsets point into the flat parameters (`weight`, `bias`, `gamma`, `beta`) and statistics (`mean`, `variance`).
    struct NormalizedConvolution {
        var kernel: Int
        var stride: Int
        var weight: Int
        var bias: Int?
        var gamma: Int
        var beta: Int
        var mean: Int
        var variance: Int
        var epsilon: Float
        var residual: ValueID?
        var relu: Bool

        var padding: Int { kernel / 2 }
        /// Whether it may run as one with others over the same input: see ``ConvolutionGroup``.
        var isJoinable: Bool { (kernel, stride) == (1, 1) && residual == nil }

        /// From `images` maps like `input` to maps of `channels` channels.
        func shape(images: Int, _ input: Value, channels: Int) -> ConvolutionShape {
            ConvolutionShape(
                images: images, height: input.height, width: input.width, inputChannels: input.channels,
                outputChannels: channels, kernel: kernel, stride: stride, padding: padding)
        }
    }

    struct Dense {
        var weight: Int
        var bias: Int
        var relu: Bool
    }

    enum Layer {
        case convolution(NormalizedConvolution)
        case maxPooling(PoolingShape)
        case averagePooling
        /// Works in place.
        case dropout(Float)
        case dense(Dense)
    }

    struct Node {
        var name: String
        var layer: Layer
        var input: ValueID
        var output: ValueID

        var convolution: NormalizedConvolution? { if case .convolution(let layer) = layer { layer } else { nil } }
    }

    /// The values' numbers; 0 is the image.
    private(set) var values: [Value]
    private(set) var nodes: [Node] = []
    private(set) var entries: [StateEntry] = []
    /// Floats that the parameters and the statistics take, the gaps between tensors included.
    private(set) var parameterFloats = 0
    private(set) var statisticFloats = 0
    private(set) var normalizationCount = 0

    package let image: ValueID = 0
    /// The last layer's output: [classes] of each image.
    var logits: ValueID { nodes[nodes.count - 1].output }

    init(_ configuration: ModelConfiguration) {
        let size = configuration.imageSize
        values = [Value(channels: ImageShape.channels, height: size, width: size)]
        configuration.architecture.layers(&self, configuration)
    }

    // MARK: - Writing a network down

    /// Adds a convolution named `name` with the batch normalisation `normalization` behind it.
    ///
    /// `residual` gives the value that is added before ReLU; what it adds to the graph runs before this layer, but
    /// stands behind it in the state dictionary, as in PyTorch.
    package mutating func convolution(
        _ input: ValueID, _ name: String, normalization: String, channels: Int, kernel: Int, stride: Int = 1,
        bias: Bool, epsilon: Float = 1e-5, relu: Bool = true, residual: ((inout Graph) -> ValueID)? = nil
    ) -> ValueID {
        let from = values[input]
        let fanIn = from.channels * kernel * kernel
        let weight = parameter(
            "\(name).weight", [channels, from.channels, kernel, kernel], fanIn: fanIn, pixels: kernel * kernel)
        var layer = NormalizedConvolution(
            kernel: kernel, stride: stride, weight: weight,
            bias: bias ? parameter("\(name).bias", [channels], fanIn: fanIn) : nil,
            gamma: parameter("\(normalization).weight", [channels], start: .constant(1)),
            beta: parameter("\(normalization).bias", [channels], start: .constant(0)),
            mean: statistic("\(normalization).running_mean", channels, start: 0),
            variance: statistic("\(normalization).running_var", channels, start: 1),
            epsilon: epsilon, residual: nil, relu: relu)
        entries.append(
            StateEntry(
                name: "\(normalization).num_batches_tracked", shape: [], kind: .counter, offset: normalizationCount,
                start: .constant(0)))
        normalizationCount += 1
        if let value = residual?(&self) { layer.residual = read(value) }
        let shape = layer.shape(images: 1, from, channels: channels)
        return add(
            name, .convolution(layer), input,
            Value(channels: channels, height: shape.outputHeight, width: shape.outputWidth))
    }

    package mutating func maxPooling(
        _ input: ValueID, _ name: String, kernel: Int, stride: Int, padding: Int = 0
    ) -> ValueID {
        let from = values[input]
        let shape = PoolingShape(kernel: kernel, stride: stride, padding: padding)
        return add(
            name, .maxPooling(shape), input,
            Value(
                channels: from.channels, height: shape.outputLength(from.height),
                width: shape.outputLength(from.width)))
    }

    /// The mean of each channel over an image.
    package mutating func averagePooling(_ input: ValueID, _ name: String) -> ValueID {
        add(name, .averagePooling, input, Value(channels: values[input].channels, height: 1, width: 1))
    }

    /// Zeroes values with probability `rate` while training, in place: nothing may have read them before.
    package mutating func dropout(_ input: ValueID, _ name: String, rate: Float) -> ValueID {
        precondition(input != image && !isRead(input), "dropout changes what another layer has read")
        if rate > 0 { nodes.append(Node(name: name, layer: .dropout(rate), input: read(input), output: input)) }
        return input
    }

    package mutating func dense(_ input: ValueID, _ name: String, units: Int, relu: Bool = false) -> ValueID {
        let from = values[input]
        let inputs = from.channels * from.height * from.width
        let layer = Dense(
            weight: parameter("\(name).weight", [units, inputs], fanIn: inputs, pixels: from.height * from.width),
            bias: parameter("\(name).bias", [units], fanIn: inputs), relu: relu)
        return add(name, .dense(layer), input, Value(channels: units, height: 1, width: 1))
    }

    /// Lays branches side by side: each becomes a slice of the result, so nothing is copied. Only the result may be read.
    package mutating func concatenate(_ branches: [ValueID]) -> ValueID {
        var whole = values[branches[0]]
        whole.channels = 0
        for branch in branches {
            precondition(
                !isRead(branch) && nodes.contains { $0.output == branch },
                "a branch is what a layer has written and none has read")
            precondition((values[branch].height, values[branch].width) == (whole.height, whole.width))
            values[branch].slice = (of: values.count, from: whole.channels)
            whole.channels += values[branch].channels
        }
        values.append(whole)
        return values.count - 1
    }

    // MARK: - Bookkeeping

    private mutating func add(_ name: String, _ layer: Layer, _ input: ValueID, _ output: Value) -> ValueID {
        values.append(output)
        nodes.append(Node(name: name, layer: layer, input: read(input), output: values.count - 1))
        return values.count - 1
    }

    private func read(_ value: ValueID) -> ValueID {
        precondition(values[value].slice == nil, "a branch is read by way of its concatenation")
        return value
    }

    private func isRead(_ value: ValueID) -> Bool {
        nodes.contains { $0.input == value || $0.convolution?.residual == value }
    }

    private mutating func parameter(_ name: String, _ shape: [Int], fanIn: Int, pixels: Int = 1) -> Int {
        parameter(name, shape, pixels: pixels, start: .uniform(1 / Float(fanIn).squareRoot()))
    }

    /// Notes a trainable tensor and gives its offset; each begins on a cache line.
    private mutating func parameter(
        _ name: String, _ shape: [Int], pixels: Int = 1, start: StateEntry.Start
    ) -> Int {
        let entry = StateEntry(
            name: name, shape: shape, kind: .parameter, offset: parameterFloats, pixels: pixels, start: start)
        entries.append(entry)
        parameterFloats += entry.count.roundedToLine
        return entry.offset
    }

    private mutating func statistic(_ name: String, _ count: Int, start: Float) -> Int {
        let offset = statisticFloats
        entries.append(
            StateEntry(name: name, shape: [count], kind: .statistic, offset: offset, start: .constant(start)))
        statisticFloats += count.roundedToLine
        return offset
    }
}

extension Int {
    /// This number of floats, rounded up to whole cache lines.
    var roundedToLine: Int {
        roundUp(self, to: FloatBuffer.alignment / MemoryLayout<Float>.stride)
    }
}
