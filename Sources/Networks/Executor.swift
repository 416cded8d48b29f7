// Runs a model: compiled once for a mode and a largest mini-batch, with all the memory that its steps then compute in.
//
// Compiling walks the graph, plans the memory (Plan.swift: what lives when), and writes the network down as a list of
// steps, each one call of a kernel on fixed memory. Training runs all of them, forward and backward; evaluation has
// forward steps only, with batch normalisation done while a convolution's output is in cache. In training it waits for
// the statistics of the whole mini-batch: the layers that read the output do it then, where they can.
//
// Each step says what it reads and writes. From that follows which others it needs, and so which can run at the same
// time: the two gradients of a convolution, the branches of an inception block. Two at a time leave none of many threads
// waiting at the end of a loop.

import PLPBase
import PLPKernels

/// A model compiled for mini-batches of up to `batchSize` images.
///
/// It reads the model's parameters where they lie, so that an optimizer's changes are seen at once; an evaluation
/// executor also needs `refresh()` after changes. An executor belongs to one thread at a time.
public final class Executor {
    public enum Mode: Sendable { case training, evaluation }

    public let model: Model
    public let mode: Mode
    public let batchSize: Int
    /// The gradient of each parameter, arranged as `Model.parameters`; empty in evaluation. Zero from the start on, and
    /// never written, are the gaps between tensors and the gradients of convolutions' biases: batch normalisation takes
    /// away what a bias adds.
    public let gradients: FloatBuffer

    public let threads: Threads
    /// What ``moveStatistics(_:parameters:images:count:by:)`` computes with in place of the model's.
    private var measured: (parameters: FloatBuffer, statistics: FloatBuffer, momentum: Float)?
    private var forward = Steps()
    private var backward = Steps()
    private var refreshing: [() -> Void] = []

    /// What one mini-batch brings along.
    private struct Pass {
        var images: UnsafePointer<Float>
        var count: Int
        var seed: UInt64 = 0
        var iteration: UInt64 = 0
        // What a step computes with.
        var threads: Threads
        var workspace: UnsafeMutablePointer<Float>
        /// A record for each block of pixels, of the layer at hand: its moments, or its sums of gradients.
        var records: UnsafeMutablePointer<Float>
    }

    private typealias Run = (_ executor: Executor, _ pass: Pass) -> Void

    /// One call of a kernel.
    private struct Step {
        let layer: String
        let operation: ProfileEntry.Operation
        let reads: [Plan.Use]
        let writes: [Plan.Use]
        let run: Run
        var seconds = 0.0
        var calls = 0

        func needs(_ earlier: Step) -> Bool {
            func meet(_ uses: [Plan.Use], _ others: [Plan.Use]) -> Bool {
                uses.contains { use in others.contains { use.overlaps($0) } }
            }
            return meet(reads, earlier.writes) || meet(writes, earlier.reads + earlier.writes)
        }
    }

    /// A pass, forward or backward.
    private struct Steps {
        private(set) var steps: [Step] = []
        private(set) var order = Order(count: 0) { _, _ in false }

        mutating func add(
            _ layer: String, _ operation: ProfileEntry.Operation, reads: [Plan.Use], writes: [Plan.Use],
            _ run: @escaping Run
        ) {
            steps.append(Step(layer: layer, operation: operation, reads: reads, writes: writes, run: run))
        }

        /// Finds out which need which, when all are there.
        mutating func putInOrder() { order = Order(count: steps.count) { steps[$0].needs(steps[$1]) } }

        /// Notes how long each has taken.
        mutating func count(_ seconds: [Double]) {
            for (index, seconds) in seconds.enumerated() {
                steps[index].seconds += seconds
                steps[index].calls += 1
            }
        }
    }

    // MARK: - Running

    /// Forward and backward: mean loss and metrics of a mini-batch, and its gradient in `gradients`; moves the running
    /// statistics. Training only.
    ///
    /// - Parameters:
    ///   - images: normalised float32 [count][size][size][3].
    ///   - labels: [count], below the number of classes.
    ///   - count: 1 up to the batch size.
    ///   - seed, iteration: name dropout's random stream.
    @discardableResult
    public func computeGradients(
        images: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int, seed: UInt64 = 0, iteration: UInt64 = 0
    ) -> BatchMetrics {
        precondition(mode == .training && (1...batchSize).contains(count))
        let pass = pass(images, count, seed: seed, iteration: iteration)
        run(&forward, pass)
        #if LOOP_TIMES
            LoopTimes.current?.begin("step", "loss", needs: nil)
        #endif
        let metrics = SoftmaxCrossEntropy.evaluate(
            logits: logitsBase, labels: labels, count: count, classes: model.configuration.classes,
            gradient: logitsGradient, threads: threads)
        run(&backward, pass)
        for index in model.batchesTracked.indices { model.batchesTracked[index] &+= 1 }
        return metrics
    }

    /// Logits [count][classes] of normalised images [count][size][size][3], valid until the next call. In evaluation, batch
    /// normalisation uses the running statistics and dropout does nothing. In training, they do what they do there: the
    /// running statistics move.
    public func logits(images: UnsafePointer<Float>, count: Int) -> UnsafePointer<Float> {
        precondition((1...batchSize).contains(count))
        run(&forward, pass(images, count))
        return UnsafePointer(logitsBase)
    }

    /// Forward as in training, but with other parameters, whose running statistics move by the part `momentum` of their
    /// difference to the mini-batch's. The model's own values stay as they are. Training only.
    public func moveStatistics(
        _ statistics: FloatBuffer, parameters: FloatBuffer, images: UnsafePointer<Float>, count: Int,
        by momentum: Float
    ) {
        precondition(mode == .training && (1...batchSize).contains(count))
        measured = (parameters, statistics, momentum)
        defer { measured = nil }
        run(&forward, pass(images, count))
    }

    /// Loss and metrics of a mini-batch from its ``logits(images:count:)``.
    public func evaluate(images: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int) -> BatchMetrics {
        SoftmaxCrossEntropy.evaluate(
            logits: logits(images: images, count: count), labels: labels, count: count,
            classes: model.configuration.classes, threads: threads)
    }

    /// Takes over changed parameters and statistics. Evaluation only: training reads them at each step.
    public func refresh() {
        for step in refreshing { step() }
    }

    private func pass(
        _ images: UnsafePointer<Float>, _ count: Int, seed: UInt64 = 0, iteration: UInt64 = 0
    ) -> Pass {
        Pass(
            images: images, count: count, seed: seed, iteration: iteration, threads: threads,
            workspace: workspace.pointer, records: records.pointer)
    }

    private func run(_ steps: inout Steps, _ pass: Pass) {
        let clock = Lock(SharedClock(count: steps.steps.count))
        let order = steps.order
        threads.forEach(in: order) { [steps = steps.steps] index, threads, isSecond in
            #if LOOP_TIMES
                LoopTimes.current?.begin(
                    steps[index].layer, steps[index].operation.rawValue, needs: order.needed[index].map { index - $0 })
            #endif
            var pass = pass
            pass.threads = threads
            if isSecond {
                pass.workspace += plan.workspaceCount
                pass.records += plan.recordCount
            }
            clock.withLock { $0.begin(index) }
            steps[index].run(self, pass)
            clock.withLock { $0.end(index) }
        }
        guard measured == nil else { return }  // whose times are not of training
        steps.count(clock.withLock { $0.seconds })
    }

    /// The steps in their order, with the time each has taken. Time in which two ran counts half for each.
    public var profile: [ProfileEntry] {
        (forward.steps + backward.steps).map {
            ProfileEntry(layer: $0.layer, operation: $0.operation, seconds: $0.seconds, calls: $0.calls)
        }
    }

    // MARK: - Compiling

    private let plan: Plan
    private let arena: FloatBuffer
    /// Of all steps that may run at the same time.
    private let workspace: FloatBuffer
    private let records: FloatBuffer
    /// What batch normalisations keep for each channel.
    private let channelValues: FloatBuffer
    private let logitsBase: UnsafeMutablePointer<Float>
    private let logitsGradient: UnsafeMutablePointer<Float>?

    /// Compiles `model` for mini-batches of up to `batchSize` images.
    ///
    /// - Throws: `Failure` where the batch size is out of range or the buffers exceed the memory.
    public init(_ model: Model, batchSize: Int, mode: Mode, threads: Threads) throws(Failure) {
        try require(
            (1...65_536).contains(batchSize), "batch size", batchSize, expected: "a number from 1 to 65,536")
        let training = mode == .training
        let graph = model.graph
        plan = Plan(graph, batchSize: batchSize, training: training, threads: threads)
        try Memory.require(
            floats: plan.arenaCount + threads.stepsAtATime * plan.workspaceCount
                + (training ? model.parameters.count : 0),
            for: "training or evaluating \(batchSize) images at once")
        try threads.prepareForLinear()
        self.model = model
        self.mode = mode
        self.batchSize = batchSize
        self.threads = threads
        gradients = try FloatBuffer(count: training ? model.parameters.count : 0)
        arena = try FloatBuffer(scratch: plan.arenaCount)
        workspace = try FloatBuffer(scratch: threads.stepsAtATime * plan.workspaceCount)
        records = try FloatBuffer(scratch: threads.stepsAtATime * plan.recordCount)
        channelValues = try FloatBuffer(scratch: plan.channelValueCount)
        logitsBase = plan.maps(graph.logits, in: arena.pointer, count: 1).base
        logitsGradient = training ? plan.gradientMaps(graph.logits, in: arena.pointer, count: 1).base : nil

        for index in graph.nodes.indices { compileForward(index) }
        if training {
            var written = Set<Int>()
            for index in graph.nodes.indices.reversed() { compileBackward(index, written: &written) }
        }
        forward.putInOrder()
        backward.putInOrder()
        refresh()
    }

    /// What a layer reads that takes a value never written, too: the output of the convolution before it, through batch
    /// normalisation and ReLU.
    private func input(_ value: Graph.ValueID, _ pass: Pass) -> (maps: Maps, activation: Activation?) {
        guard let node = plan.unwritten[value] else { return (maps(value, pass), nil) }
        return (convolutionMaps(node, pass), plan.channels(node, in: channelValues.pointer).activation)
    }

    private func maps(_ value: Graph.ValueID, _ pass: Pass) -> Maps {
        guard value == model.graph.image else { return plan.maps(value, in: arena.pointer, count: pass.count) }
        let image = model.graph.values[value]
        return Maps(
            UnsafeMutablePointer(mutating: pass.images), count: pass.count, height: image.height, width: image.width,
            channels: image.channels)
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

    private var parameters: UnsafePointer<Float> { UnsafePointer((measured?.parameters ?? model.parameters).pointer) }

    /// Writes down a node's forward steps.
    private func compileForward(_ index: Int) {
        let node = model.graph.nodes[index]
        let input = node.input
        let output = node.output
        let training = mode == .training
        let (x, y) = (plan.use(of: input), plan.use(of: output))

        switch node.layer {
        case .convolution(let layer):
            let group = plan.groups[index]!
            let channels = plan.channels(index, in: channelValues.pointer)
            let residual = layer.residual.map { [plan.use(of: $0)] } ?? []
            let whole = plan.use(ofOutput: group)
            if group.leader == index, training {
                forward.add(group.name, .convolution, reads: [x], writes: [whole], trainingConvolution(group))
            } else if group.leader == index {
                let outputs = group.members.map { plan.use(of: model.graph.nodes[$0.node].output) }
                forward.add(
                    group.name, .convolution, reads: [x] + residual, writes: [whole] + outputs,
                    evaluationConvolution(group))
            }
            guard training else {
                let (parameters, statistics) = (self.parameters, model.statistics.pointer)
                refreshing.append { channels.useRunningStatistics(layer, parameters, statistics) }
                return
            }
            guard plan.unwritten[output] == nil else { return }
            forward.add(
                node.name, .normalization, reads: [plan.use(ofOutput: group, member: index)] + residual,
                writes: [y]
            ) { executor, pass in
                BatchNormalization.apply(
                    executor.convolutionMaps(index, pass), scale: channels.scale, shift: channels.shift,
                    residual: layer.residual.map { executor.maps($0, pass) }, relu: layer.relu,
                    to: executor.maps(output, pass), threads: pass.threads)
            }

        case .maxPooling(let shape):
            let argmax = training ? plan.bytes(index, in: arena.pointer) : nil
            forward.add(
                node.name, .pooling, reads: [x],
                writes: [y] + (training ? [plan.use(ofBytes: index)] : [])
            ) { executor, pass in
                let x = executor.input(input, pass)
                Pooling.max(
                    x.maps, through: x.activation, shape, to: executor.maps(output, pass), argmax: argmax,
                    threads: pass.threads)
            }

        case .averagePooling:
            forward.add(node.name, .pooling, reads: [x], writes: [y]) { executor, pass in
                Pooling.average(
                    executor.maps(input, pass), to: executor.maps(output, pass).base, threads: pass.threads)
            }

        case .dropout(let rate):
            guard training else { return }
            let mask = plan.bytes(index, in: arena.pointer)
            forward.add(node.name, .dropout, reads: [], writes: [x, plan.use(ofBytes: index)]) { executor, pass in
                let values = executor.maps(input, pass)
                Dropout.forward(
                    values.base, mask: mask, count: pass.count * values.valuesPerImage, probability: rate,
                    key: DropoutKey(seed: pass.seed, iteration: pass.iteration, layer: index),
                    threads: pass.threads)
            }

        case .dense(let layer):
            forward.add(node.name, .dense, reads: [x], writes: [y]) { executor, pass in
                let x = executor.maps(input, pass)
                let y = executor.maps(output, pass)
                Linear.forward(
                    x.base, weights: executor.parameters + layer.weight, bias: executor.parameters + layer.bias,
                    to: y.base, count: pass.count, inputs: x.valuesPerImage, outputs: y.channels, relu: layer.relu,
                    workspace: pass.workspace, threads: pass.threads)
            }
        }
    }

    /// Training: the convolution of a group and the statistics of what it writes, taken while it is in cache.
    private func trainingConvolution(_ group: ConvolutionGroup) -> Run {
        let input = model.graph.nodes[group.leader].input
        let members = group.members.map { ($0.layer, plan.channels($0.node, in: channelValues.pointer)) }
        let all = plan.channels(of: group, in: channelValues.pointer)
        let stride = BatchNormalization.momentsCount(channels: all.count)
        return { executor, pass in
            let x = executor.input(input, pass)
            let y = executor.groupMaps(group, pass)
            let records = pass.records
            group.forward(
                x.maps, through: x.activation, parameters: executor.parameters, to: y, workspace: pass.workspace,
                threads: pass.threads
            ) { block, pixels, channels in
                BatchNormalization.moments(
                    of: y, pixels: pixels, channels: channels, into: records + block * stride)
            }
            BatchNormalization.mergeMoments(
                records, blocks: group.convolution.forwardBlocks(images: pass.count), channels: all.count,
                mean: all.mean, variance: all.variance, threads: pass.threads)
            let measured = executor.measured
            for (layer, channels) in members {
                channels.useBatchStatistics(
                    layer, executor.parameters, (measured?.statistics ?? executor.model.statistics).pointer,
                    pixels: y.pixels, momentum: measured?.momentum ?? 0.1)
            }
        }
    }

    /// Evaluation: the convolution of a group, and all that follows it while its output is in cache.
    private func evaluationConvolution(_ group: ConvolutionGroup) -> Run {
        let input = model.graph.nodes[group.leader].input
        let members = group.members.map { member in
            (
                output: model.graph.nodes[member.node].output, member,
                plan.channels(member.node, in: channelValues.pointer)
            )
        }
        return { executor, pass in
            let y = executor.groupMaps(group, pass)
            let branches = members.map { output, member, values in
                (
                    member.channels, values, executor.maps(output, pass),
                    residual: member.layer.residual.map { executor.maps($0, pass) }, member.layer.relu
                )
            }
            group.forward(
                executor.maps(input, pass), through: nil, parameters: executor.parameters, to: y,
                workspace: pass.workspace, threads: pass.threads
            ) { _, pixels, written in
                for (channels, values, z, residual, relu) in branches {
                    let shared = channels.clamped(to: written)
                    let first = shared.lowerBound - channels.lowerBound
                    let own = first..<first + shared.count
                    BatchNormalization.apply(
                        pixels: pixels, y.slice(shared), scale: values.scale + first, shift: values.shift + first,
                        residual: residual?.slice(own), relu: relu, to: z.slice(own))
                }
            }
        }
    }

    /// Writes down a node's backward steps. Nodes come last to first; `written` holds the values whose gradient an
    /// earlier step has begun, so that this one adds to it.
    private func compileBackward(_ index: Int, written: inout Set<Int>) {
        let node = model.graph.nodes[index]
        let input = node.input
        let output = node.output
        let (x, y) = (plan.use(of: input), plan.use(of: output))
        let (dx, dz) = (plan.use(ofGradient: input), plan.use(ofGradient: output))
        func accumulates(_ value: Graph.ValueID) -> Bool { !written.insert(plan.root(value)).inserted }

        switch node.layer {
        case .convolution(let layer):
            let group = plan.groups[index]!
            let accumulatesResidual = layer.residual.map(accumulates) ?? false
            let dy = plan.use(ofOutput: group)
            backward.add(
                node.name, .normalizationGradient, reads: [dz] + (layer.residual == nil ? [] : [y]),
                writes: [plan.use(ofOutput: group, member: index)]
                    + (layer.residual.map { [plan.use(ofGradient: $0)] } ?? []),
                normalizationGradient(of: index, layer, accumulatesResidual: accumulatesResidual))
            // Of a group's members the leader is the last one here: all their gradients lie side by side by now.
            guard group.leader == index else { return }
            backward.add(group.name, .weightGradient, reads: [x, dy], writes: [], weightGradient(of: group))
            guard input != model.graph.image else { return }
            backward.add(
                group.name, .inputGradient, reads: [dy], writes: [dx],
                inputGradient(of: group, accumulates: accumulates(input)))

        case .maxPooling(let shape):
            let argmax = plan.bytes(index, in: arena.pointer)
            let accumulate = accumulates(input)
            backward.add(
                node.name, .poolingGradient, reads: [dz, plan.use(ofBytes: index)],
                writes: [dx]
            ) { executor, pass in
                Pooling.maxGradient(
                    executor.gradientMaps(output, pass), argmax: argmax, shape,
                    to: executor.gradientMaps(input, pass), accumulate: accumulate, threads: pass.threads)
            }

        case .averagePooling:
            precondition(!accumulates(input), "average pooling is its input's only reader")
            backward.add(node.name, .poolingGradient, reads: [dz], writes: [dx]) { executor, pass in
                Pooling.averageGradient(
                    executor.gradientMaps(output, pass).base, to: executor.gradientMaps(input, pass),
                    threads: pass.threads)
            }

        case .dropout(let rate):
            let mask = plan.bytes(index, in: arena.pointer)
            backward.add(node.name, .dropoutGradient, reads: [plan.use(ofBytes: index)], writes: [dz]) {
                executor, pass in
                let gradient = executor.gradientMaps(input, pass)
                Dropout.backward(
                    gradient.base, mask: mask, count: pass.count * gradient.valuesPerImage, probability: rate,
                    threads: pass.threads)
            }

        case .dense(let layer):
            precondition(!accumulates(input), "a dense layer is its input's only reader")
            let (weight, bias) = (gradients.pointer + layer.weight, gradients.pointer + layer.bias)
            if layer.relu {
                backward.add(node.name, .reluGradient, reads: [y], writes: [dz]) { executor, pass in
                    let y = executor.maps(output, pass)
                    Linear.reluGradient(
                        y: y.base, dy: executor.gradientMaps(output, pass).base, count: pass.count,
                        outputs: y.channels, threads: pass.threads)
                }
            }
            backward.add(node.name, .weightGradient, reads: [x, dz], writes: []) { executor, pass in
                let x = executor.maps(input, pass)
                let dy = executor.gradientMaps(output, pass)
                Linear.weightGradient(
                    x.base, dy.base, to: weight, bias: bias, count: pass.count, inputs: x.valuesPerImage,
                    outputs: dy.channels, workspace: pass.workspace, threads: pass.threads)
            }
            backward.add(
                node.name, .inputGradient, reads: [dz], writes: [dx]
            ) { executor, pass in
                let dy = executor.gradientMaps(output, pass)
                let dx = executor.gradientMaps(input, pass)
                Linear.inputGradient(
                    dy.base, weights: executor.parameters + layer.weight, to: dx.base, count: pass.count,
                    inputs: dx.valuesPerImage, outputs: dy.channels, workspace: pass.workspace, threads: pass.threads)
            }
        }
    }

    /// The gradients of a convolution's batch normalisation: of its scale and shift, of the residual added behind it,
    /// and of the convolution's output, whose place that one takes.
    private func normalizationGradient(
        of index: Int, _ layer: Graph.NormalizedConvolution, accumulatesResidual: Bool
    ) -> Run {
        let output = model.graph.nodes[index].output
        let channels = plan.channels(index, in: channelValues.pointer)
        return { executor, pass in
            let y = executor.convolutionMaps(index, pass)
            let dz = executor.gradientMaps(output, pass)
            let mask: ReLUMask =
                if !layer.relu {
                    .none
                } else if layer.residual != nil {
                    .output(executor.maps(output, pass))
                } else {
                    .recomputed(channels.activation)
                }
            let dgamma = executor.gradients.pointer + layer.gamma
            let dbeta = executor.gradients.pointer + layer.beta
            BatchNormalization.gradientSums(
                dz: dz, mask: mask, y: y, mean: channels.mean, into: pass.records,
                threads: pass.threads)
            BatchNormalization.mergeSums(
                pass.records, blocks: PixelBlocks(y).count, channels: channels.count,
                inverseDeviation: channels.inverseDeviation, dgamma: dgamma, dbeta: dbeta,
                threads: pass.threads)
            BatchNormalization.inputGradient(
                dz: dz, mask: mask, y: y, mean: channels.mean, inverseDeviation: channels.inverseDeviation,
                gamma: executor.parameters + layer.gamma, dgamma: dgamma, dbeta: dbeta, to: y,
                residualGradient: layer.residual.map { executor.gradientMaps($0, pass) },
                accumulateResidual: accumulatesResidual, threads: pass.threads)
        }
    }

    private func weightGradient(of group: ConvolutionGroup) -> Run {
        let input = model.graph.nodes[group.leader].input
        return { executor, pass in
            let x = executor.input(input, pass)
            group.weightGradient(
                x.maps, through: x.activation, executor.groupMaps(group, pass), to: executor.gradients.pointer,
                workspace: pass.workspace, threads: pass.threads)
        }
    }

    private func inputGradient(of group: ConvolutionGroup, accumulates: Bool) -> Run {
        let input = model.graph.nodes[group.leader].input
        return { executor, pass in
            group.inputGradient(
                executor.groupMaps(group, pass), parameters: executor.parameters,
                to: executor.gradientMaps(input, pass), accumulate: accumulates, workspace: pass.workspace,
                threads: pass.threads)
        }
    }
}

/// Divides the time among the steps that run at the same time.
private struct SharedClock {
    private(set) var seconds: [Double]
    private var running: [Int] = []
    private var last = now()

    init(count: Int) { seconds = Array(repeating: 0, count: count) }

    mutating func begin(_ step: Int) {
        divide()
        running.append(step)
    }

    mutating func end(_ step: Int) {
        divide()
        running.removeAll { $0 == step }
    }

    private mutating func divide() {
        let time = now()
        for step in running { seconds[step] += (time - last) / Double(running.count) }
        last = time
    }
}
