// The compiled networks: gradients against finite differences, evaluation against training's statistics, partial
// mini-batches, any number of threads. PyTorch checks the numbers themselves in Tests/Python.

import PLPBase
import PLPKernels
import PLPNetworks
import Testing

extension Architecture {
    /// What an executor must be right about and none of the three has: dropout and a linear layer over maps of more than
    /// one pixel, and a 1×1 convolution with a residual that is there only after another one over the same input ran.
    static let mixed = Architecture("mixed") { graph, configuration in
        func unit(
            _ graph: inout Graph, _ x: Graph.ValueID, _ name: String, kernel: Int, relu: Bool = true,
            residual: ((inout Graph) -> Graph.ValueID)? = nil
        ) -> Graph.ValueID {
            graph.convolution(
                x, name, normalization: "\(name)n", channels: 8, kernel: kernel, bias: true, relu: relu,
                residual: residual)
        }
        let stem = unit(&graph, graph.image, "stem", kernel: 3)
        let one = unit(&graph, stem, "one", kernel: 1)
        let two = unit(&graph, stem, "two", kernel: 1) { unit(&$0, one, "shortcut", kernel: 3, relu: false) }
        let small = graph.maxPooling(two, "pooling", kernel: 8, stride: 8)
        let thinned = graph.dropout(small, "dropout", rate: configuration.dropout)
        let hidden = graph.dense(thinned, "hidden", units: 12, relu: true)
        _ = graph.dense(hidden, "logits", units: configuration.classes)
    }
}

@Suite struct ExecutorTests {
    static let networks = Architecture.allCases + [.mixed]
    static let pixels = 32 * 32 * 3

    static func batch(_ count: Int, classes: Int = 10) -> (images: [Float], labels: [Int32]) {
        var random = RandomStream(seed: 1, .synthesis)
        return (
            (0..<count * pixels).map { _ in 2 * random.uniform() - 1 }, (0..<count).map { Int32($0 % classes) }
        )
    }

    static func small(_ architecture: Architecture, dropout: Float = 0) throws -> Model {
        try Model(ModelConfiguration(architecture, classes: 10, width: 0.125, dropout: dropout, seed: 1))
    }

    /// Moves the scales and shifts of batch normalisation off 1 and 0, at which some errors would not show.
    static func scatter(_ model: Model) {
        var random = RandomStream(seed: 2, .synthesis)
        for entry in model.entries where entry.kind == .parameter && entry.shape.count == 1 {
            for place in entry.offset..<entry.offset + entry.count {
                model.parameters.values[place] += random.uniform(-0.3..<0.3)
            }
        }
    }

    /// Each tensor by itself: the loss along directions in it alone, and what the gradient says of them.
    ///
    /// A direction takes a step forward or back in each value, at random. The mean square of the differences is then
    /// that of the gradient's error, ‖error‖², wherever in the tensor that lies, and ‖gradient‖ is what it is measured
    /// by: of a tensor whose gradient is wrongly zero nothing passes.
    ///
    /// Float32 leaves the loss uncertain by 1e-6, and steps have to change it by more; and they have to be small, for
    /// where a ReLU or a maximum has a kink within them, the difference is not the slope. The gradients of weights are
    /// of 0.2 to 40, those of scales, shifts and biases of 0.02 to 1: with steps of 5e-6 and 1e-4 most errors found are
    /// below 0.02 of the gradient, and all are below 0.12. Of GoogLeNet's nine blocks three do, for the time it takes.
    @Test(arguments: networks)
    func gradientsAgreeWithFiniteDifferences(architecture: Architecture) throws {
        let model = try Self.small(architecture, dropout: 0.3)
        Self.scatter(model)
        let (images, labels) = Self.batch(8)
        let executor = try Executor(model, batchSize: 8, mode: .training, threads: Threads())
        executor.computeGradients(images: images, labels: labels, count: 8)
        let gradients = executor.gradients.array
        func norm(_ entry: StateEntry) -> Double {
            gradients[entry.offset..<entry.offset + entry.count].reduce(0) { $0 + Double($1 * $1) }.squareRoot()
        }
        var random = RandomStream(seed: 3, .synthesis)
        let directions = 4
        let others = ["a3", "a4", "b4", "c4", "d4", "a5"]
        for (index, entry) in model.entries.enumerated()
        where entry.kind == .parameter && !others.contains(where: entry.name.hasPrefix) {
            let places = entry.offset..<entry.offset + entry.count
            let start = model.parameters.array[places]
            let step: Float = entry.shape.count > 1 ? 5e-6 : 1e-4
            var square = 0.0
            for _ in 0..<directions {
                let signs = places.map { _ in random.uniform() < 0.5 ? Float(-1) : 1 }
                func loss(_ distance: Float) -> Double {
                    for (place, sign) in zip(places, signs) {
                        model.parameters.values[place] = start[place] + distance * sign
                    }
                    return executor.evaluate(images: images, labels: labels, count: 8).loss
                }
                let difference = (loss(step) - loss(-step)) / (2 * Double(step))
                let slope = zip(places, signs).reduce(0) { $0 + Double(gradients[$1.0] * $1.1) }
                square += (difference - slope) * (difference - slope) / Double(directions)
            }
            for place in places { model.parameters.values[place] = start[place] }
            // Batch normalisation takes away what a convolution's bias adds. What should be 0 is measured by the
            // shift's.
            let isTakenAway = entry.name.hasSuffix("bias") && model.entries[index - 1].shape.count == 4
            let size = norm(isTakenAway ? model.entries[index + 2] : entry)
            #expect(square.squareRoot() < 0.2 * size, "\(entry.name): off by \(square.squareRoot()) of \(size)")
        }
    }

    /// A normalised map is written where a residual is added or read, and where a branch ends; all others are normalised by
    /// who reads them.
    @Test(arguments: networks)
    func normalizesWhereMapsAreRead(architecture: Architecture) throws {
        let executor = try Executor(Self.small(architecture), batchSize: 1, mode: .training, threads: Threads(1))
        let written = executor.profile.filter { $0.operation == .normalization }.map(\.layer)
        switch architecture {
        case .vgg16: #expect(written.isEmpty)
        case .resnet18:
            #expect(written.count == 1 + 8 + 3)
            #expect(written.allSatisfy { ["conv1.0", "function.3", "shortcut.0"].contains(where: $0.hasSuffix) })
        case .googlenet:
            #expect(written.count == 9 * 4)
            #expect(written.allSatisfy { [".b1.0", ".b2.3", ".b3.6", ".b4.1"].contains(where: $0.hasSuffix) })
        default: #expect(written == ["shortcut", "two"])
        }
    }

    /// Small mini-batches on networks wide enough for all ways to cut their layers, large ones on narrow networks.
    @Test(arguments: networks, [(1, 0.375), (7, 0.375), (32, 0.125), (128, 0.125)])
    func threadsDoNotChangeABit(architecture: Architecture, batch: (size: Int, width: Double)) throws {
        let (images, labels) = Self.batch(batch.size)
        func run(_ threads: Int) throws -> [UInt32] {
            let model = try Model(
                ModelConfiguration(architecture, classes: 10, width: batch.width, dropout: 0.3, seed: 1))
            let executor = try Executor(
                model, batchSize: batch.size, mode: .training, threads: Threads(threads, processors: threads))
            var losses: [Float] = []
            for iteration in 0..<2 {
                let metrics = executor.computeGradients(
                    images: images, labels: labels, count: batch.size, iteration: UInt64(iteration))
                losses.append(Float(metrics.loss))
                for index in model.parameters.values.indices {
                    model.parameters.values[index] -= 0.1 * executor.gradients.values[index]
                }
            }
            return (model.parameters.array + model.statistics.array + losses).map(\.bitPattern)
        }
        let one = try run(1)
        for threads in [2, 3, 5, 8, 16, 64] { #expect(try run(threads) == one, "\(threads) threads") }
    }

    /// A mini-batch smaller than the executor was compiled for leaves nothing of the images before it, and gives what
    /// an executor of its size gives, but for the rounding of sums over other blocks, which may tip a ReLU.
    @Test(arguments: networks)
    func partialBatches(architecture: Architecture) throws {
        let (images, labels) = Self.batch(5)
        let (others, otherLabels) = Self.batch(16)
        func run(_ size: Int, after full: Bool = false) throws -> ([Float], Double) {
            let executor = try Executor(Self.small(architecture), batchSize: size, mode: .training, threads: Threads())
            if full { executor.computeGradients(images: others, labels: otherLabels, count: size) }
            let loss = executor.computeGradients(images: images, labels: labels, count: 5).loss
            return (executor.gradients.array, loss)
        }
        let (whole, loss) = try run(5)
        let (part, partLoss) = try run(16)
        #expect(abs(loss - partLoss) < 1e-5)
        func square(_ values: some Sequence<Float>) -> Float { values.reduce(0) { $0 + $1 * $1 } }
        #expect(square(zip(whole, part).lazy.map { $0 - $1 }) < 0.05 * 0.05 * square(whole))
        #expect(try run(16, after: true).0.map(\.bitPattern) == part.map(\.bitPattern))
    }

    /// With the running statistics set to a mini-batch's own, evaluation gives the logits that training gave, in parts
    /// of any size.
    @Test(arguments: networks)
    func evaluationAgreesWithTraining(architecture: Architecture) throws {
        let model = try Self.small(architecture)
        Self.scatter(model)
        let count = 32
        let (images, labels) = Self.batch(count)
        let training = try Executor(model, batchSize: count, mode: .training, threads: Threads())
        // Running statistics move by a tenth of the difference at each step: after 100 they are the mini-batch's, but
        // for the factor n / (n − 1) of the unbiased variance, which shows in the last, smallest maps.
        for _ in 0..<100 { training.computeGradients(images: images, labels: labels, count: count) }
        #expect(model.batchesTracked.allSatisfy { $0 == 100 })
        func logits() -> [Float] {
            let logits = training.logits(images: images, count: count)
            return Array(UnsafeBufferPointer(start: logits, count: count * classes))
        }
        let classes = model.configuration.classes
        // Other weights of the last layer, such that an image's logits differ by 1 from the mean of all images.
        let head = model.entries[model.entries.count - 2]
        let narrow = spread(logits(), classes: classes)
        for place in head.offset..<head.offset + head.count { model.parameters.values[place] /= narrow }
        let expected = logits()
        let loss = training.computeGradients(images: images, labels: labels, count: count).loss

        let evaluation = try Executor(model, batchSize: 3, mode: .evaluation, threads: Threads())
        var metrics = BatchMetrics()
        var found: [Float] = []
        for first in stride(from: 0, to: count, by: 3) {
            let part = min(3, count - first)
            let images = Array(images[(first * Self.pixels)...].prefix(part * Self.pixels))
            found += UnsafeBufferPointer(
                start: evaluation.logits(images: images, count: part), count: part * classes)
            metrics += evaluation.evaluate(images: images, labels: Array(labels[first...]), count: part)
        }
        #expect(abs(spread(expected, classes: classes) - 1) < 0.01)
        let square = zip(found, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        let difference = (square / Float(expected.count)).squareRoot()
        #expect(difference < 0.1, "\(difference) where logits are spread by 1")
        #expect(metrics.count == count)
        #expect(abs(metrics.loss - loss) < 0.1, "\(metrics.loss) against \(loss)")
    }

    /// The standard deviation of logits [count][classes] about each class's mean.
    private func spread(_ logits: [Float], classes: Int) -> Float {
        let count = logits.count / classes
        var square: Float = 0
        for label in 0..<classes {
            let own = (0..<count).map { logits[$0 * classes + label] }
            let mean = own.reduce(0, +) / Float(count)
            square += own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        }
        return (square / Float(logits.count)).squareRoot()
    }

    /// Dropout over maps changes what every image of a mini-batch comes to.
    @Test func dropoutZeroesWholeMaps() throws {
        let (images, _) = Self.batch(4)
        func logits(dropout: Float) throws -> [Float] {
            let executor = try Executor(
                Self.small(.mixed, dropout: dropout), batchSize: 4, mode: .training, threads: Threads())
            return Array(UnsafeBufferPointer(start: executor.logits(images: images, count: 4), count: 4 * 10))
        }
        let (whole, thinned) = (try logits(dropout: 0), try logits(dropout: 0.5))
        for image in 0..<4 { #expect(whole[image * 10..<(image + 1) * 10] != thinned[image * 10..<(image + 1) * 10]) }
    }

    @Test func dropoutFollowsItsStream() throws {
        let (images, labels) = Self.batch(4)
        func loss(_ seed: UInt64, _ iteration: UInt64) throws -> Double {
            let executor = try Executor(
                Self.small(.vgg16, dropout: 0.5), batchSize: 4, mode: .training, threads: Threads())
            return executor.computeGradients(
                images: images, labels: labels, count: 4, seed: seed, iteration: iteration
            ).loss
        }
        #expect(try loss(1, 1) == loss(1, 1))
        #expect(try loss(1, 1) != loss(1, 2))
        #expect(try loss(1, 1) != loss(2, 1))
    }

    @Test func batchSizesAndMemory() throws {
        let model = try Self.small(.resnet18)
        for size in [0, -1, 1 << 40] {
            #expect { try Executor(model, batchSize: size, mode: .training, threads: Threads(1)) } throws: {
                ($0 as? Failure)?.kind == .invalidArgument
            }
        }
        let large = try Model(ModelConfiguration(.resnet18))
        #expect { try Executor(large, batchSize: 65_536, mode: .training, threads: Threads(1)) } throws: {
            ($0 as? Failure)?.kind == .outOfMemory
        }
    }

    @Test func profileNamesEachStep() throws {
        let (images, labels) = Self.batch(2)
        let executor = try Executor(Self.small(.resnet18), batchSize: 2, mode: .training, threads: Threads())
        let time = ContinuousClock().measure {
            executor.computeGradients(images: images, labels: labels, count: 2)
        }
        let profile = executor.profile
        #expect(profile.filter { $0.operation == .convolution }.count == 20)
        #expect(profile.filter { $0.operation == .weightGradient }.count == 21)
        #expect(profile.filter { $0.operation == .inputGradient }.count == 20)  // none for the images
        #expect(profile.allSatisfy { $0.calls == 1 && $0.seconds >= 0 })
        // Of two that run at the same time each has its share of that time.
        #expect(profile.reduce(0) { $0 + $1.seconds } <= time / .seconds(1))
    }
}
