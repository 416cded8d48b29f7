// Convolutions that run as one.

import PLPKernels

/// Convolutions with 1×1 kernels over one input are one product, with their output channels side by side: the input is
/// read once, its gradient written once, and few channels waste no lanes. All other convolutions are alone, those with a
/// residual too, which may not be there yet when the first of a group runs.
struct ConvolutionGroup {
    struct Member {
        var node: Int
        var layer: Graph.NormalizedConvolution
        /// Where its channels lie among the group's.
        var channels: Range<Int>
    }

    /// In the order of their nodes.
    let members: [Member]
    let convolution: Convolution
    /// The members' names.
    let name: String

    /// The node that runs the convolution: the first forward, and so the last backward.
    var leader: Int { members[0].node }
    var isSingle: Bool { members.count == 1 }
    var channels: Int { convolution.shape.outputChannels }
    /// Floats that the joined weights take; a single convolution's need not be joined.
    private var joinedWeightCount: Int { isSingle ? 0 : convolution.shape.weightCount.roundedToLine }

    func member(_ node: Int) -> Member { members.first { $0.node == node }! }

    /// Floats of scratch memory that the calls below need: for a group's weights, or their gradient, and then for the
    /// convolution.
    func workspaceCounts(threads: Threads) -> (forward: Int, gradient: Int) {
        let counts = convolution.workspaceCounts(threads: threads)
        return (joinedWeightCount + counts.forward, joinedWeightCount + counts.gradient)
    }

    func forward(
        _ x: Maps, through activation: Activation?, parameters: UnsafePointer<Float>, to y: Maps,
        workspace: UnsafeMutablePointer<Float>, threads: Threads, epilogue: @escaping Convolution.Epilogue
    ) {
        convolution.forward(
            x, through: activation, weights: weights(in: parameters, joinedAt: workspace, threads), to: y,
            workspace: workspace + joinedWeightCount, threads: threads, epilogue: epilogue)
    }

    func inputGradient(
        _ dy: Maps, parameters: UnsafePointer<Float>, to dx: Maps, accumulate: Bool,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        convolution.inputGradient(
            dy, weights: weights(in: parameters, joinedAt: workspace, threads), to: dx, accumulate: accumulate,
            workspace: workspace + joinedWeightCount, threads: threads)
    }

    /// The gradient in its place among those of all parameters.
    func weightGradient(
        _ x: Maps, through activation: Activation?, _ dy: Maps, to gradients: UnsafeMutablePointer<Float>,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        let dw = isSingle ? gradients + members[0].layer.weight : workspace
        convolution.weightGradient(
            x, through: activation, dy, to: dw, workspace: workspace + joinedWeightCount, threads: threads)
        guard !isSingle else { return }
        forEachRow(threads) { place, joined, count in (gradients + place).update(from: dw + joined, count: count) }
    }

    /// The weights: where a single convolution's lie among the parameters, or those of all members, joined at `space`.
    private func weights(
        in parameters: UnsafePointer<Float>, joinedAt space: UnsafeMutablePointer<Float>, _ threads: Threads
    ) -> UnsafePointer<Float> {
        if isSingle { return parameters + members[0].layer.weight }
        forEachRow(threads) { place, joined, count in (space + joined).update(from: parameters + place, count: count) }
        return UnsafePointer(space)
    }

    /// The rows of all members' weights, one for each input channel: where among the parameters, where among the
    /// joined.
    private func forEachRow(_ threads: Threads, _ body: (_ place: Int, _ joined: Int, _ count: Int) -> Void) {
        threads.forEach(convolution.shape.inputChannels) { row in
            for member in members {
                let count = member.channels.count
                body(member.layer.weight + row * count, row * channels + member.channels.lowerBound, count)
            }
        }
    }

    /// All convolutions of a graph.
    static func all(in graph: Graph, batchSize: Int) -> [ConvolutionGroup] {
        var groups: [[Int]] = []
        for (index, node) in graph.nodes.enumerated() {
            guard let layer = node.convolution else { continue }
            let joined = groups.firstIndex { group in
                let first = graph.nodes[group[0]]
                return layer.isJoinable && first.convolution!.isJoinable && first.input == node.input
            }
            if let joined { groups[joined].append(index) } else { groups.append([index]) }
        }
        return groups.map { ConvolutionGroup($0, graph, batchSize) }
    }

    private init(_ nodes: [Int], _ graph: Graph, _ batchSize: Int) {
        var channels = 0
        members = nodes.map { index in
            let first = channels
            channels += graph.values[graph.nodes[index].output].channels
            return Member(node: index, layer: graph.nodes[index].convolution!, channels: first..<channels)
        }
        let input = graph.values[graph.nodes[nodes[0]].input]
        convolution = Convolution(members[0].layer.shape(images: batchSize, input, channels: channels))
        name = nodes.map { graph.nodes[$0].name }.joined(separator: "+")
    }
}
