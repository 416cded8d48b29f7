// Where an executor's buffers lie in memory.

import PLPKernels

/// Where everything lies: lifetimes in steps, node i running forward in step i and backward in step 2n − 1 − i.
struct Plan {
    /// What lies in the arena.
    fileprivate enum Buffer: Hashable {
        /// A value, or its gradient, by root value.
        case value(Graph.ValueID)
        case gradient(Graph.ValueID)
        /// What a group's convolution writes, by the group's leader.
        case output(Int)
        /// Where a maximum was, or what dropout kept, by node.
        case bytes(Int)
    }

    private let graph: Graph
    private let batchSize: Int
    private let training: Bool
    /// The groups of all convolutions, by node.
    private(set) var groups: [Int: ConvolutionGroup] = [:]
    /// The values that are never written, and the convolutions that would: who reads them reads the convolution's output
    /// through batch normalisation and ReLU.
    private(set) var unwritten: [Graph.ValueID: Int] = [:]
    /// Floats that a step's kernel needs for itself, at most.
    private(set) var workspaceCount = 0
    /// Floats that all batch normalisations keep, and that the records of a layer's blocks take at most.
    private(set) var channelValueCount = 0
    private(set) var recordCount = 0
    private(set) var arenaCount = 0

    /// Where in the arena each buffer is.
    private var places: [Buffer: Range<Int>] = [:]
    /// Offsets of batch normalisations' values, by their group's leader.
    private var channelOffsets: [Int: Int] = [:]

    init(_ graph: Graph, batchSize: Int, training: Bool, threads: Threads) {
        self.graph = graph
        self.batchSize = batchSize
        self.training = training
        let convolutions = ConvolutionGroup.all(in: graph, batchSize: batchSize)
        for group in convolutions {
            for member in group.members { groups[member.node] = group }
        }
        if training { unwritten = Self.unwritten(in: graph) }

        var memory = Packing<Buffer>()
        addValues(to: &memory)
        for group in convolutions { add(group, to: &memory, threads) }
        for node in graph.nodes {
            guard case .dense = node.layer else { continue }
            let needed = Linear.workspaceCount(
                count: batchSize, inputs: floats(node.input) / batchSize,
                outputs: graph.values[node.output].channels, threads: threads)
            workspaceCount = max(workspaceCount, needed)
        }
        if training { addBytes(to: &memory) }
        (places, arenaCount) = memory.place()
        workspaceCount = workspaceCount.roundedToLine
        recordCount = recordCount.roundedToLine
    }

    /// Outputs of convolutions that only convolutions and max pooling read, with no residual to add.
    private static func unwritten(in graph: Graph) -> [Graph.ValueID: Int] {
        var writers: [Graph.ValueID: Int] = [:]
        for (index, node) in graph.nodes.enumerated() {
            guard let layer = node.convolution, layer.relu, layer.residual == nil,
                graph.values[node.output].slice == nil, node.output != graph.logits
            else { continue }
            writers[node.output] = index
        }
        for node in graph.nodes {
            switch node.layer {
            case .convolution(let layer): if let residual = layer.residual { writers[residual] = nil }
            case .maxPooling: break
            case .averagePooling, .dropout, .dense: writers[node.input] = nil
            }
        }
        return writers
    }

    private var last: Int { 2 * graph.nodes.count - 1 }

    private func floats(_ value: Graph.ValueID) -> Int {
        let value = graph.values[value]
        return batchSize * value.height * value.width * value.channels
    }

    /// First and last node that touch each value; in evaluation a group's leader writes the outputs of all.
    private func uses() -> [Int: ClosedRange<Int>] {
        var uses: [Int: ClosedRange<Int>] = [:]
        for (index, node) in graph.nodes.enumerated() {
            func touch(_ value: Int, from first: Int) {
                let use = uses[root(value)] ?? first...index
                uses[root(value)] = min(use.lowerBound, first)...max(use.upperBound, index)
            }
            touch(node.input, from: index)
            touch(node.output, from: training ? index : groups[index]?.leader ?? index)
            if let residual = node.convolution?.residual { touch(residual, from: index) }
        }
        uses[graph.image] = nil
        return uses
    }

    /// While training, a value is kept for the backward steps of those that read it and, as ReLU's mask, for its
    /// writer's. A gradient lives from the last reader's backward step to the first writer's.
    private func addValues(to memory: inout Packing<Buffer>) {
        for (value, use) in uses().sorted(by: { $0.key < $1.key }) {
            let (first, end) = (use.lowerBound, use.upperBound)
            if training {
                if unwritten[value] == nil {
                    memory.add(.value(value), count: floats(value), life: first...(last - first))
                }
                memory.add(.gradient(value), count: floats(value), life: (last - end)...(last - first))
            } else {
                let isResult = value == root(graph.logits)
                memory.add(.value(value), count: floats(value), life: first...(isResult ? last : end))
            }
        }
    }

    /// What a group's convolution writes, and what it and its batch normalisations need beside it.
    private mutating func add(_ group: ConvolutionGroup, to memory: inout Packing<Buffer>, _ threads: Threads) {
        let (convolution, leader) = (group.convolution, group.leader)
        let pixels = batchSize * convolution.shape.outputHeight * convolution.shape.outputWidth
        // Evaluation writes a single convolution's output where the normalised one is wanted.
        if training || !group.isSingle {
            memory.add(
                .output(leader), count: pixels * group.channels,
                life: training ? leader...(last - leader) : leader...leader)
        }
        let needed = group.workspaceCounts(threads: threads)
        workspaceCount = max(workspaceCount, needed.forward, training ? needed.gradient : 0)
        channelOffsets[leader] = channelValueCount
        channelValueCount += NormalizationChannels.floats(group.channels)
        guard training else { return }
        let moments =
            convolution.forwardBlocks(images: batchSize) * BatchNormalization.momentsCount(channels: group.channels)
        let sums = group.members.map { member in
            PixelBlocks(pixels: pixels, channels: member.channels.count).count * 2 * member.channels.count
        }
        recordCount = max(recordCount, moments, sums.max()!)
    }

    private func addBytes(to memory: inout Packing<Buffer>) {
        for (index, node) in graph.nodes.enumerated() {
            switch node.layer {
            case .maxPooling, .dropout:
                memory.add(.bytes(index), count: (floats(node.output) + 3) / 4, life: index...(last - index))
            case .convolution, .averagePooling, .dense: break
            }
        }
    }

    // MARK: - What steps touch

    /// A buffer, or some channels of it, that a step reads or writes.
    struct Use {
        fileprivate var buffer: Buffer
        fileprivate var place: Range<Int>
        fileprivate var channels: Range<Int>?

        /// Whether both have some memory in common.
        func overlaps(_ other: Use) -> Bool {
            if buffer == other.buffer, let channels, let others = other.channels { return channels.overlaps(others) }
            return place.overlaps(other.place)
        }
    }

    func use(of value: Graph.ValueID) -> Use {
        if let node = unwritten[value] { return use(ofOutput: groups[node]!, member: node) }
        return use(.value(root(value)), channels(of: value))
    }
    func use(ofGradient value: Graph.ValueID) -> Use { use(.gradient(root(value)), channels(of: value)) }
    func use(ofBytes node: Int) -> Use { use(.bytes(node)) }

    /// What a group's convolution writes, or what of it belongs to a member.
    func use(ofOutput group: ConvolutionGroup, member node: Int? = nil) -> Use {
        guard places[.output(group.leader)] != nil else { return use(of: graph.nodes[group.leader].output) }
        return use(.output(group.leader), node.map { group.member($0).channels })
    }

    /// The images lie elsewhere, and nobody writes them or their gradient.
    private func use(_ buffer: Buffer, _ channels: Range<Int>? = nil) -> Use {
        let isOfImages = [.value(graph.image), .gradient(graph.image)].contains(buffer)
        return Use(buffer: buffer, place: isOfImages ? 0..<0 : places[buffer]!, channels: channels)
    }

    /// The channels of a value within those it is a slice of.
    private func channels(of value: Graph.ValueID) -> Range<Int>? {
        graph.values[value].slice.map { $0.from..<$0.from + graph.values[value].channels }
    }

    // MARK: - Where it lies

    /// The value whose memory `value` lies in: itself, or the concatenation it is a slice of.
    func root(_ value: Graph.ValueID) -> Int { graph.values[value].slice?.of ?? value }

    func maps(_ value: Graph.ValueID, in arena: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        view(value, at: arena + places[.value(root(value))]!.lowerBound, count: count)
    }

    func gradientMaps(_ value: Graph.ValueID, in arena: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        view(value, at: arena + places[.gradient(root(value))]!.lowerBound, count: count)
    }

    func maps(of group: ConvolutionGroup, in arena: UnsafeMutablePointer<Float>, count: Int) -> Maps {
        guard let output = places[.output(group.leader)]?.lowerBound else {
            return maps(graph.nodes[group.leader].output, in: arena, count: count)
        }
        let shape = group.convolution.shape
        return Maps(
            arena + output, count: count, height: shape.outputHeight, width: shape.outputWidth,
            channels: group.channels)
    }

    /// One byte for each value that a node writes: where a maximum was, or what dropout kept.
    func bytes(_ node: Int, in arena: UnsafeMutablePointer<Float>) -> UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(arena + places[.bytes(node)]!.lowerBound).assumingMemoryBound(to: UInt8.self)
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
