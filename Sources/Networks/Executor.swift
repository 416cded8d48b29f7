// Runs a model: compiled once for a mode and a largest mini-batch, then steps that allocate nothing.
//
// Compiling walks the graph, plans the memory (Plan below: what lives when), and writes the network down as a list of
// steps, each one call of a kernel on fixed memory. Training runs all of them, forward and backward; evaluation has
// forward steps only, with batch normalisation done while a convolution's output is in cache.

import Glibc
import Kernels

/// A model compiled for mini-batches of up to `batchSize` images.
///
/// It reads the model's parameters where they lie, so that an optimizer's changes are seen at once; an evaluation
/// executor also needs `refresh()` after changes. An executor belongs to one thread at a time.
public final class Executor {
    public enum Mode: Sendable { case training, evaluation }

    public let model: Model
    public let mode: Mode
    public let batchSize: Int
    /// The gradient of each parameter, arranged as `Model.parameters`; empty in evaluation.
    public let gradients: FloatBuffer
    /// The parameters that are used: the model's, unless set to others of the same arrangement (an average of iterates).
    public var parameters: FloatBuffer

    private let threads: Threads
    private var forward: [Step] = []
    private var backward: [Step] = []
    private var refreshing: [(UnsafeMutablePointer<Float>) -> Void] = []

    /// What one mini-batch brings along.
    fileprivate struct Pass {
        var images: UnsafeMutablePointer<Float>
        var count: Int
        var parameters: UnsafeMutablePointer<Float>
        var seed: UInt64
        var iteration: UInt64
    }

    /// One call of a kernel.
    fileprivate struct Step {
        var layer: String
        var operation: Operation
        var run: (Pass) -> Void
        var seconds = 0.0
        var calls = 0

        init(_ layer: String, _ operation: Operation, _ run: @escaping (Pass) -> Void) {
            self.layer = layer
            self.operation = operation
            self.run = run
        }
    }

    // MARK: - Running

    /// Mean loss and metrics of a mini-batch, and its gradient in `gradients`; moves the running statistics. Training only.
    ///
    /// - Parameters:
    ///   - images: normalised float32 [count][32][32][3].
    ///   - labels: [count], below the number of classes.
    ///   - count: 1 up to the batch size.
    ///   - seed, iteration: name dropout's random stream.
    public func loss(
        images: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int, seed: UInt64 = 0, iteration: UInt64 = 0
    ) -> BatchMetrics {
        precondition(mode == .training && (1...batchSize).contains(count))
        let pass = pass(images, count, seed: seed, iteration: iteration)
        run(&forward, pass)
        let metrics = SoftmaxCrossEntropy.evaluate(
            logits: logitsBase, labels: labels, count: count, classes: model.configuration.classes,
            gradient: logitsGradient)
        run(&backward, pass)
        for index in model.batchesTracked.indices { model.batchesTracked[index] += 1 }
        return metrics
    }

    /// Logits [count][classes] of normalised images [count][32][32][3], valid until the next call. In evaluation, batch
    /// normalisation uses the running statistics and dropout does nothing.
    public func logits(images: UnsafePointer<Float>, count: Int) -> UnsafePointer<Float> {
        precondition((1...batchSize).contains(count))
        run(&forward, pass(images, count, seed: 0, iteration: 0))
        return UnsafePointer(logitsBase)
    }

    /// Loss and metrics of a mini-batch without gradients.
    public func evaluate(images: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int) -> BatchMetrics {
        SoftmaxCrossEntropy.evaluate(
            logits: UnsafeMutablePointer(mutating: logits(images: images, count: count)), labels: labels, count: count,
            classes: model.configuration.classes, gradient: nil)
    }

    /// Takes over changed parameters and statistics. Evaluation only: training reads them at each step.
    public func refresh() {
        for step in refreshing { step(parameters.pointer) }
    }

    private func pass(_ images: UnsafePointer<Float>, _ count: Int, seed: UInt64, iteration: UInt64) -> Pass {
        Pass(
            images: UnsafeMutablePointer(mutating: images), count: count, parameters: parameters.pointer, seed: seed,
            iteration: iteration)
    }

    private func run(_ steps: inout [Step], _ pass: Pass) {
        var before = clock()
        for index in steps.indices {
            steps[index].run(pass)
            let after = clock()
            steps[index].seconds += after - before
            steps[index].calls += 1
            before = after
        }
    }

    private func clock() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    // MARK: - Profile

    /// What a step computes.
    public enum Operation: String, Sendable, CaseIterable {
        case convolution, normalization, pooling, dense, dropout
        case inputGradient, weightGradient, normalizationGradient, poolingGradient, denseGradient, dropoutGradient
    }

    /// Time spent in one layer's operation since the executor was made, or since `resetProfile()`.
    public struct ProfileEntry: Sendable {
        public let layer: String
        public let operation: Operation
        public let seconds: Double
        public let calls: Int
    }

    /// The steps in their order, with the time each has taken.
    public var profile: [ProfileEntry] {
        (forward + backward).map {
            ProfileEntry(layer: $0.layer, operation: $0.operation, seconds: $0.seconds, calls: $0.calls)
        }
    }

    public func resetProfile() {
        for index in forward.indices { (forward[index].seconds, forward[index].calls) = (0, 0) }
        for index in backward.indices { (backward[index].seconds, backward[index].calls) = (0, 0) }
    }

    // MARK: - Compiling

    private let plan: Plan
    private let arena: FloatBuffer
    private let workspace: FloatBuffer
    /// A record for each block of pixels, of the layer at hand: its moments, or its sums of gradients.
    private let records: FloatBuffer
    /// What batch normalisations keep for each channel.
    private let channelValues: FloatBuffer
    private let logitsBase: UnsafeMutablePointer<Float>
    private let logitsGradient: UnsafeMutablePointer<Float>?

    /// Compiles `model` for mini-batches of up to `batchSize` images.
    ///
    /// - Throws: `Failure` where the batch size is out of range or the buffers exceed the memory.
    public init(_ model: Model, batchSize: Int, mode: Mode, threads: Threads) throws(Failure) {
        guard (1...65_536).contains(batchSize) else {
            throw Failure(.invalidArgument, "batch size: \(batchSize) found, a number from 1 to 65,536 expected")
        }
        let training = mode == .training
        let graph = model.graph
        plan = Plan(graph, batchSize: batchSize, training: training, threads: threads)
        try Memory.require(
            floats: plan.arenaCount + plan.workspaceCount + (training ? model.parameters.count : 0),
            for: "training or evaluating \(batchSize) images at once")
        self.model = model
        self.mode = mode
        self.batchSize = batchSize
        self.threads = threads
        parameters = model.parameters
        gradients = try FloatBuffer(count: training ? model.parameters.count : 0)
        arena = try FloatBuffer(count: plan.arenaCount)
        workspace = try FloatBuffer(count: plan.workspaceCount)
        records = try FloatBuffer(count: plan.recordCount)
        channelValues = try FloatBuffer(count: plan.channelCount)
        logitsBase = plan.maps(graph.logits, in: arena.pointer, count: 1).base
        logitsGradient = training ? plan.gradientMaps(graph.logits, in: arena.pointer, count: 1).base : nil

        for index in graph.nodes.indices { compileForward(index) }
        if training {
            var written = Set<Int>()
            for index in graph.nodes.indices.reversed() { compileBackward(index, written: &written) }
        }
        refresh()
    }

    private func maps(_ value: Graph.ValueID, _ pass: Pass) -> Maps {
        guard value == model.graph.image else { return plan.maps(value, in: arena.pointer, count: pass.count) }
        let image = model.graph.values[value]
        return Maps(pass.images, count: pass.count, height: image.height, width: image.width, channels: image.channels)
    }

    private func gradientMaps(_ value: Graph.ValueID, _ pass: Pass) -> Maps {
        plan.gradientMaps(value, in: arena.pointer, count: pass.count)
    }

    /// A convolution's own output, before batch normalisation. Backward, its gradient takes its place.
    private func convolutionMaps(_ node: Int, _ pass: Pass) -> Maps {
        let group = plan.groups[node]!
        return groupMaps(group, pass).slice(group.member(node).channels)
    }

    private func groupMaps(_ group: ConvolutionGroup, _ pass: Pass) -> Maps {
        plan.maps(of: group, in: arena.pointer, count: pass.count)
    }

    // A group's weights, or their gradients, side by side at the start of the workspace; a single convolution's are
    // taken where they lie.

    private func weights(of group: ConvolutionGroup, _ pass: Pass) -> UnsafePointer<Float> {
        if group.isSingle { return UnsafePointer(pass.parameters + group.members[0].layer.weight) }
        let (joined, columns) = (workspace.pointer, group.channels)
        for member in group.members {
            let source = pass.parameters + member.layer.weight
            for row in 0..<group.convolution.shape.inputChannels {
                (joined + row * columns + member.channels.lowerBound)
                    .update(from: source + row * member.channels.count, count: member.channels.count)
            }
        }
        return UnsafePointer(joined)
    }

    private func gradient(of group: ConvolutionGroup) -> UnsafeMutablePointer<Float> {
        group.isSingle ? gradients.pointer + group.members[0].layer.weight : workspace.pointer
    }

    private func scatter(_ gradient: UnsafePointer<Float>, of group: ConvolutionGroup) {
        if group.isSingle { return }
        for member in group.members {
            let target = gradients.pointer + member.layer.weight
            for row in 0..<group.convolution.shape.inputChannels {
                (target + row * member.channels.count)
                    .update(
                        from: gradient + row * group.channels + member.channels.lowerBound,
                        count: member.channels.count)
            }
        }
    }

    private func scratch(beside group: ConvolutionGroup) -> UnsafeMutablePointer<Float> {
        workspace.pointer + group.joinedWeightCount
    }

    private func bytes(_ node: Int) -> UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(plan.bytes(node, in: arena.pointer)).assumingMemoryBound(to: UInt8.self)
    }

    /// Writes down a node's forward steps.
    private func compileForward(_ index: Int) {
        let node = model.graph.nodes[index]
        let input = node.input
        let output = node.output
        let training = mode == .training
        func step(_ operation: Operation, _ run: @escaping (_ executor: Executor, _ pass: Pass) -> Void) {
            forward.append(Step(node.name, operation) { [unowned self] pass in run(self, pass) })
        }

        switch node.layer {
        case .convolution(let layer):
            let group = plan.groups[index]!
            let channels = plan.channels(index, in: channelValues.pointer)
            let statistics = model.statistics.pointer
            if group.leader == index {
                if training { compileTrainingForward(group) } else { compileEvaluation(group) }
            }
            guard training else {
                refreshing.append { channels.useRunningStatistics(layer, $0, statistics) }
                return
            }
            step(.normalization) { executor, pass in
                let y = executor.convolutionMaps(index, pass)
                channels.useBatchStatistics(layer, pass.parameters, statistics, pixels: y.pixels)
                BatchNormalization.apply(
                    y, scale: channels.scale, shift: channels.shift,
                    residual: layer.residual.map { executor.maps($0, pass) }, relu: layer.relu,
                    to: executor.maps(output, pass), threads: executor.threads)
            }

        case .maxPooling(let shape):
            let argmax = training ? bytes(index) : nil
            step(.pooling) { executor, pass in
                Pooling.max(
                    executor.maps(input, pass), shape, to: executor.maps(output, pass), argmax: argmax,
                    threads: executor.threads)
            }

        case .averagePooling:
            step(.pooling) { executor, pass in
                Pooling.average(
                    executor.maps(input, pass), to: executor.maps(output, pass).base, threads: executor.threads)
            }

        case .dropout(let rate):
            guard training else { return }
            let mask = bytes(index)
            step(.dropout) { executor, pass in
                let values = executor.maps(input, pass)
                Dropout.forward(
                    values.base, mask: mask, count: pass.count * values.channels, probability: rate,
                    key: DropoutKey(seed: pass.seed, iteration: pass.iteration, layer: index),
                    threads: executor.threads)
            }

        case .dense(let layer):
            step(.dense) { executor, pass in
                let x = executor.maps(input, pass)
                let y = executor.maps(output, pass)
                Linear.forward(
                    x.base, weights: pass.parameters + layer.weight, bias: pass.parameters + layer.bias, to: y.base,
                    count: pass.count, inputs: x.channels, outputs: y.channels, relu: layer.relu,
                    threads: executor.threads)
            }
        }
    }

    /// The convolution of a group and the statistics of what it writes, taken while it is in cache.
    private func compileTrainingForward(_ group: ConvolutionGroup) {
        let input = model.graph.nodes[group.leader].input
        let all = plan.channels(of: group, in: channelValues.pointer)
        let stride = BatchNormalization.momentsCount(channels: all.count)
        forward.append(
            Step(group.name, .convolution) { [unowned self] pass in
                let y = groupMaps(group, pass)
                let records = records.pointer
                group.convolution.forward(
                    maps(input, pass), weights: weights(of: group, pass), to: y, workspace: scratch(beside: group)
                ) { block, pixels in
                    BatchNormalization.moments(of: y, pixels: pixels, into: records + block * stride)
                }
                BatchNormalization.mergeMoments(
                    records, blocks: group.convolution.forwardBlocks(images: pass.count), channels: all.count,
                    mean: all.mean, variance: all.variance)
            })
    }

    /// The convolution of a group, and all that follows it while its output is in cache.
    private func compileEvaluation(_ group: ConvolutionGroup) {
        let input = model.graph.nodes[group.leader].input
        let members = group.members.map { member in
            (output: model.graph.nodes[member.node].output, member, plan.channels(member.node, in: channelValues.pointer))
        }
        forward.append(
            Step(group.name, .convolution) { [unowned self] pass in
                let y = groupMaps(group, pass)
                let branches = members.map { output, member, channels in
                    (y.slice(member.channels), channels, maps(output, pass),
                        residual: member.layer.residual.map { maps($0, pass) }, member.layer.relu)
                }
                group.convolution.forward(
                    maps(input, pass), weights: weights(of: group, pass), to: y, workspace: scratch(beside: group)
                ) { _, pixels in
                    for (y, channels, z, residual, relu) in branches {
                        BatchNormalization.apply(
                            pixels: pixels, y, scale: channels.scale, shift: channels.shift, residual: residual,
                            relu: relu, to: z)
                    }
                }
            })
    }

    /// Writes down a node's backward steps. Nodes come last to first; `written` holds the values whose gradient an earlier
    /// step has begun, so that this one adds to it.
    private func compileBackward(_ index: Int, written: inout Set<Int>) {
        let node = model.graph.nodes[index]
        let input = node.input
        let output = node.output
        func step(_ operation: Operation, _ run: @escaping (_ executor: Executor, _ pass: Pass) -> Void) {
            backward.append(Step(node.name, operation) { [unowned self] pass in run(self, pass) })
        }
        func accumulates(_ value: Graph.ValueID) -> Bool { !written.insert(plan.root(value)).inserted }

        switch node.layer {
        case .convolution(let layer):
            let group = plan.groups[index]!
            let channels = plan.channels(index, in: channelValues.pointer)
            let accumulatesResidual = layer.residual.map(accumulates) ?? false
            step(.normalizationGradient) { executor, pass in
                let y = executor.convolutionMaps(index, pass)
                let dz = executor.gradientMaps(output, pass)
                let mask: ReLUMask =
                    if !layer.relu { .none } else if layer.residual != nil { .output(executor.maps(output, pass)) } else
                    {
                        .recomputed(scale: channels.scale, shift: channels.shift)
                    }
                let dgamma = executor.gradients.pointer + layer.gamma
                let dbeta = executor.gradients.pointer + layer.beta
                BatchNormalization.gradientSums(
                    dz: dz, mask: mask, y: y, mean: channels.mean, into: executor.records.pointer,
                    threads: executor.threads)
                BatchNormalization.mergeSums(
                    executor.records.pointer, blocks: PixelBlocks(y).count, channels: channels.count,
                    inverseDeviation: channels.inverseDeviation, dgamma: dgamma, dbeta: dbeta)
                BatchNormalization.inputGradient(
                    dz: dz, mask: mask, y: y, mean: channels.mean, inverseDeviation: channels.inverseDeviation,
                    gamma: pass.parameters + layer.gamma, dgamma: dgamma, dbeta: dbeta, to: y,
                    residualGradient: layer.residual.map { executor.gradientMaps($0, pass) },
                    accumulateResidual: accumulatesResidual, threads: executor.threads)
            }
            // Of a group's members the leader is the last one here: all their gradients lie side by side by now.
            guard group.leader == index else { return }
            backward.append(
                Step(group.name, .weightGradient) { [unowned self] pass in
                    let dw = gradient(of: group)
                    group.convolution.weightGradient(
                        maps(input, pass), groupMaps(group, pass), to: dw, workspace: scratch(beside: group))
                    scatter(dw, of: group)
                })
            guard input != model.graph.image else { return }
            let accumulatesInput = accumulates(input)
            backward.append(
                Step(group.name, .inputGradient) { [unowned self] pass in
                    group.convolution.inputGradient(
                        groupMaps(group, pass), weights: weights(of: group, pass), to: gradientMaps(input, pass),
                        accumulate: accumulatesInput, workspace: scratch(beside: group))
                })

        case .maxPooling(let shape):
            let argmax = bytes(index)
            let accumulate = accumulates(input)
            step(.poolingGradient) { executor, pass in
                Pooling.maxGradient(
                    executor.gradientMaps(output, pass), argmax: argmax, shape,
                    to: executor.gradientMaps(input, pass), accumulate: accumulate, threads: executor.threads)
            }

        case .averagePooling:
            precondition(!accumulates(input), "average pooling is its input's only reader")
            step(.poolingGradient) { executor, pass in
                Pooling.averageGradient(
                    executor.gradientMaps(output, pass).base, to: executor.gradientMaps(input, pass),
                    threads: executor.threads)
            }

        case .dropout(let rate):
            let mask = bytes(index)
            step(.dropoutGradient) { executor, pass in
                let gradient = executor.gradientMaps(input, pass)
                Dropout.backward(
                    gradient.base, mask: mask, count: pass.count * gradient.channels, probability: rate,
                    threads: executor.threads)
            }

        case .dense(let layer):
            precondition(!accumulates(input), "a dense layer is its input's only reader")
            step(.denseGradient) { executor, pass in
                let x = executor.maps(input, pass)
                let y = executor.maps(output, pass)
                let dy = executor.gradientMaps(output, pass).base
                if layer.relu {
                    Linear.reluGradient(
                        y: y.base, dy: dy, count: pass.count, outputs: y.channels, threads: executor.threads)
                }
                Linear.weightGradient(
                    x.base, dy, to: executor.gradients.pointer + layer.weight,
                    bias: executor.gradients.pointer + layer.bias, count: pass.count, inputs: x.channels,
                    outputs: y.channels, threads: executor.threads)
                Linear.inputGradient(
                    dy, weights: pass.parameters + layer.weight, to: executor.gradientMaps(input, pass).base,
                    count: pass.count, inputs: x.channels, outputs: y.channels, threads: executor.threads)
            }
        }
    }
}

// MARK: - Convolutions that run as one

/// Convolutions with 1×1 kernels over one input are one product: their output channels lie side by side. So the input is
/// read once, its gradient written once, and few channels waste no lanes. All other convolutions are alone.
private struct ConvolutionGroup {
    struct Member {
        var node: Int
        var layer: Graph.NormalizedConvolution
        /// Where its channels lie among the group's.
        var channels: Range<Int>
    }

    /// In the order of their nodes.
    private(set) var members: [Member] = []
    let convolution: Convolution
    let name: String

    /// The member whose node runs the convolution: the first forward, and so the last backward.
    var leader: Int { members[0].node }
    var isSingle: Bool { members.count == 1 }
    var channels: Int { convolution.shape.outputChannels }
    /// Floats that the joined weights take; a single convolution's need not be joined.
    var joinedWeightCount: Int { isSingle ? 0 : convolution.shape.weightCount.roundedToLine }

    func member(_ node: Int) -> Member { members.first { $0.node == node }! }

    static func all(in graph: Graph, batchSize: Int, threads: Threads) -> [ConvolutionGroup] {
        var nodes: [[Int]] = []
        for (index, node) in graph.nodes.enumerated() {
            guard case .convolution(let layer) = node.layer else { continue }
            let joins = nodes.firstIndex { others in
                guard case .convolution(let other) = graph.nodes[others[0]].layer else { return false }
                return graph.nodes[others[0]].input == node.input && (layer.kernel, layer.stride) == (1, 1)
                    && (other.kernel, other.stride) == (1, 1)
            }
            if let joins { nodes[joins].append(index) } else { nodes.append([index]) }
        }
        return nodes.map { ConvolutionGroup($0, graph, batchSize, threads) }
    }

    private init(_ nodes: [Int], _ graph: Graph, _ batchSize: Int, _ threads: Threads) {
        var channels = 0
        for node in nodes {
            guard case .convolution(let layer) = graph.nodes[node].layer else { continue }
            let count = graph.values[graph.nodes[node].output].channels
            members.append(Member(node: node, layer: layer, channels: channels..<channels + count))
            channels += count
        }
        let (input, layer) = (graph.values[graph.nodes[nodes[0]].input], members[0].layer)
        convolution = Convolution(
            ConvolutionShape(
                images: batchSize, height: input.height, width: input.width, inputChannels: input.channels,
                outputChannels: channels, kernel: layer.kernel, stride: layer.stride, padding: layer.padding),
            threads: threads)
        name = nodes.map { graph.nodes[$0].name }.joined(separator: "+")
    }
}

// MARK: - Batch normalisation's values

/// What one batch normalisation keeps for each channel: the batch's statistics and the affine map they amount to.
private struct NormalizationChannels {
    let count: Int
    let mean: UnsafeMutablePointer<Float>
    let variance: UnsafeMutablePointer<Float>
    let inverseDeviation: UnsafeMutablePointer<Float>
    let scale: UnsafeMutablePointer<Float>
    let shift: UnsafeMutablePointer<Float>

    static func floats(_ count: Int) -> Int { 5 * count.roundedToLine }

    /// The channels `range` of `count`, whose values lie at `base`.
    init(_ base: UnsafeMutablePointer<Float>, count: Int, _ range: Range<Int>) {
        self.count = range.count
        func values(_ number: Int) -> UnsafeMutablePointer<Float> {
            base + number * count.roundedToLine + range.lowerBound
        }
        (mean, variance, inverseDeviation, scale, shift) = (values(0), values(1), values(2), values(3), values(4))
    }

    /// Training: the batch's own mean and variance, which also move the running ones by a tenth of the difference, as in
    /// PyTorch. A convolution's bias would shift nothing but the mean, so it is never added to the maps.
    func useBatchStatistics(
        _ layer: Graph.NormalizedConvolution, _ parameters: UnsafePointer<Float>,
        _ statistics: UnsafeMutablePointer<Float>, pixels: Int
    ) {
        BatchNormalization.coefficients(
            mean: mean, variance: variance, gamma: parameters + layer.gamma, beta: parameters + layer.beta,
            epsilon: layer.epsilon, channels: count, scale: scale, shift: shift, inverseDeviation: inverseDeviation)
        let momentum: Float = 0.1
        let runningMean = statistics + layer.mean
        BatchNormalization.updateRunning(
            mean: mean, variance: variance, count: pixels, momentum: momentum, channels: count,
            runningMean: runningMean, runningVariance: statistics + layer.variance)
        guard let bias = layer.bias.map({ parameters + $0 }) else { return }
        for channel in 0..<count { runningMean[channel] += momentum * bias[channel] }
    }

    /// Evaluation: the running statistics and the convolution's bias become one affine map.
    func useRunningStatistics(
        _ layer: Graph.NormalizedConvolution, _ parameters: UnsafePointer<Float>, _ statistics: UnsafePointer<Float>
    ) {
        BatchNormalization.coefficients(
            mean: statistics + layer.mean, variance: statistics + layer.variance, gamma: parameters + layer.gamma,
            beta: parameters + layer.beta, epsilon: layer.epsilon, channels: count, scale: scale, shift: shift)
        guard let bias = layer.bias.map({ parameters + $0 }) else { return }
        for channel in 0..<count { shift[channel] += bias[channel] * scale[channel] }
    }
}

// MARK: - The plan

/// Where everything lies: lifetimes in steps, node i running forward in step i and backward in step 2n − 1 − i.
private struct Plan {
    private let graph: Graph
    private let batchSize: Int
    /// The groups of all convolutions, by node.
    private(set) var groups: [Int: ConvolutionGroup] = [:]
    private(set) var workspaceCount = 0
    /// Floats that all batch normalisations keep, and that the records of a layer's blocks take at most.
    private(set) var channelCount = 0
    private(set) var recordCount = 0
    let arenaCount: Int

    /// Offsets in the arena: of values and their gradients by root value, of convolutions' outputs by their group's
    /// leader, of bytes (where a maximum was, what dropout kept) by node.
    private var values: [Int: Int] = [:]
    private var gradients: [Int: Int] = [:]
    private var outputs: [Int: Int] = [:]
    private var bytes: [Int: Int] = [:]
    /// Offsets of batch normalisations' values, by their group's leader.
    private var channelOffsets: [Int: Int] = [:]

    init(_ graph: Graph, batchSize: Int, training: Bool, threads: Threads) {
        self.graph = graph
        self.batchSize = batchSize
        let last = 2 * graph.nodes.count - 1
        func root(_ value: Int) -> Int { graph.values[value].slice?.of ?? value }
        func floats(_ value: Int) -> Int {
            let value = graph.values[value]
            return batchSize * value.height * value.width * value.channels
        }

        let convolutions = ConvolutionGroup.all(in: graph, batchSize: batchSize, threads: threads)
        for group in convolutions {
            for member in group.members { groups[member.node] = group }
        }

        // First and last node that touch each value. In evaluation a group's leader writes the outputs of all.
        var uses: [Int: ClosedRange<Int>] = [:]
        for (index, node) in graph.nodes.enumerated() {
            func touch(_ value: Int, from first: Int) {
                let use = uses[root(value)] ?? first...index
                uses[root(value)] = min(use.lowerBound, first)...max(use.upperBound, index)
            }
            touch(node.input, from: index)
            touch(node.output, from: training ? index : groups[index]?.leader ?? index)
            if case .convolution(let layer) = node.layer, let residual = layer.residual { touch(residual, from: index) }
        }
        uses[graph.image] = nil
        let logits = root(graph.logits)

        var memory = MemoryPlan()
        for (value, use) in uses.sorted(by: { $0.key < $1.key }) {
            // While training, a value is kept for the backward steps of those that read it and, as ReLU's mask, for its
            // writer's. A gradient lives from the last reader's backward step to the first writer's.
            let life =
                training
                ? use.lowerBound...(last - use.lowerBound) : use.lowerBound...(value == logits ? last : use.upperBound)
            values[value] = memory.add(count: floats(value), life: life)
            if training {
                gradients[value] = memory.add(
                    count: floats(value), life: (last - use.upperBound)...(last - use.lowerBound))
            }
        }
        for group in convolutions {
            let (convolution, leader) = (group.convolution, group.leader)
            workspaceCount = max(workspaceCount, group.joinedWeightCount + convolution.workspaceCount)
            channelOffsets[leader] = channelCount
            channelCount += NormalizationChannels.floats(group.channels)
            let pixels = batchSize * convolution.shape.outputHeight * convolution.shape.outputWidth
            // Evaluation writes a single convolution's output where the normalised one is wanted.
            if training || !group.isSingle {
                outputs[leader] = memory.add(
                    count: pixels * group.channels, life: training ? leader...(last - leader) : leader...leader)
            }
            if training {
                recordCount = max(
                    recordCount,
                    convolution.forwardBlocks(images: batchSize) * BatchNormalization.momentsCount(channels: group.channels))
                for member in group.members {
                    let channels = member.channels.count
                    recordCount = max(
                        recordCount, PixelBlocks(pixels: pixels, channels: channels).count * 2 * channels)
                }
            }
        }
        for (index, node) in graph.nodes.enumerated() {
            switch node.layer {
            case .maxPooling, .dropout:
                if training {
                    bytes[index] = memory.add(count: (floats(node.output) + 3) / 4, life: index...(last - index))
                }
            case .convolution, .averagePooling, .dense: break
            }
        }
        let (offsets, count) = memory.place()
        arenaCount = count
        values = values.mapValues { offsets[$0] }
        gradients = gradients.mapValues { offsets[$0] }
        outputs = outputs.mapValues { offsets[$0] }
        bytes = bytes.mapValues { offsets[$0] }
    }

    /// The value whose memory `value` lies in: itself, or the concatenation it is a slice of.
    func root(_ value: Graph.ValueID) -> Int { graph.values[value].slice?.of ?? value }

    func maps(_ value: Graph.ValueID, in arena: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        view(value, at: arena + values[root(value)]!, count: count)
    }

    func gradientMaps(_ value: Graph.ValueID, in arena: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        view(value, at: arena + gradients[root(value)]!, count: count)
    }

    func maps(of group: ConvolutionGroup, in arena: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        guard let output = outputs[group.leader] else {
            return maps(graph.nodes[group.leader].output, in: arena, count: count)
        }
        let shape = group.convolution.shape
        return Maps(
            arena + output, count: count, height: shape.outputHeight, width: shape.outputWidth,
            channels: group.channels)
    }

    /// One byte for each value that a node writes: where a maximum was, or what dropout kept.
    func bytes(_ node: Int, in arena: UnsafeMutablePointer<Float>) -> UnsafeMutablePointer<Float> {
        arena + bytes[node]!
    }

    func channels(_ node: Int, in base: UnsafeMutablePointer<Float>) -> NormalizationChannels {
        let group = groups[node]!
        return NormalizationChannels(
            base + channelOffsets[group.leader]!, count: group.channels, group.member(node).channels)
    }

    func channels(of group: ConvolutionGroup, in base: UnsafeMutablePointer<Float>) -> NormalizationChannels {
        NormalizationChannels(base + channelOffsets[group.leader]!, count: group.channels, 0..<group.channels)
    }

    private func view(_ value: Graph.ValueID, at base: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        let value = graph.values[value]
        guard let slice = value.slice else {
            return Maps(base, count: count, height: value.height, width: value.width, channels: value.channels)
        }
        return Maps(
            base + slice.from, count: count, height: value.height, width: value.width, channels: value.channels,
            stride: graph.values[slice.of].channels)
    }
}
