// The compiled networks: gradients against finite differences, evaluation against training's statistics, partial
// mini-batches, any number of threads. PyTorch checks the numbers themselves in Tests/Python.

import Foundation
import Kernels
import Networks
import Testing

@Suite struct ExecutorTests {
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

    /// Along a random direction in parameter space, the loss changes as the gradient says.
    @Test(arguments: Architecture.allCases)
    func gradientsAgreeWithFiniteDifferences(architecture: Architecture) throws {
        let model = try Self.small(architecture)
        let (images, labels) = Self.batch(8)
        let executor = try Executor(model, batchSize: 8, mode: .training, threads: Threads())
        let start = model.parameters.array
        executor.computeGradients(images: images, labels: labels, count: 8)
        let gradient = executor.gradients.values.map(Double.init)
        var random = RandomStream(seed: 2, .synthesis)
        for _ in 0..<3 {
            // Mostly along the gradient, so that the difference stands out of float32's noise, and partly anywhere.
            let norm = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let direction = gradient.map { $0 / norm + Double(random.uniform() - 0.5) * 0.02 }
            let slope = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
            let h = 2e-4
            func loss(_ distance: Double) -> Double {
                for index in start.indices {
                    model.parameters.values[index] = Float(Double(start[index]) + distance * direction[index])
                }
                return executor.computeGradients(images: images, labels: labels, count: 8).loss
            }
            // Richardson's extrapolation: the error of a central difference falls with h², and cancels.
            func difference(_ h: Double) -> Double { (loss(h) - loss(-h)) / (2 * h) }
            let difference = (4 * difference(h / 2) - difference(h)) / 3
            #expect(abs(difference / slope - 1) < 0.02, "\(architecture): \(difference) against \(slope)")
        }
    }

    @Test(arguments: Architecture.allCases)
    func threadsDoNotChangeABit(architecture: Architecture) throws {
        let (images, labels) = Self.batch(6)
        func run(_ threads: Int) throws -> [Float] {
            let model = try Self.small(architecture, dropout: 0.3)
            let executor = try Executor(model, batchSize: 6, mode: .training, threads: Threads(threads))
            for iteration in 0..<2 {
                executor.computeGradients(images: images, labels: labels, count: 6, iteration: UInt64(iteration))
                for index in model.parameters.values.indices {
                    model.parameters.values[index] -= 0.1 * executor.gradients.values[index]
                }
            }
            return model.parameters.array + model.statistics.array
        }
        let one = try run(1).map(\.bitPattern)
        for threads in [2, 3, 8] { #expect(try run(threads).map(\.bitPattern) == one) }
    }

    /// A mini-batch smaller than the executor was compiled for leaves nothing of the images before it, and gives what
    /// an executor of its size gives, but for the rounding of sums over other blocks, which may tip a ReLU.
    @Test(arguments: Architecture.allCases)
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

    /// With the running statistics set to a mini-batch's own, evaluation gives what training gave.
    @Test(arguments: Architecture.allCases)
    func evaluationAgreesWithTraining(architecture: Architecture) throws {
        let model = try Self.small(architecture)
        let (images, labels) = Self.batch(8)
        let training = try Executor(model, batchSize: 8, mode: .training, threads: Threads())
        // Running statistics move by a tenth of the difference at each step: after 200 they are the mini-batch's, but
        // for the factor n / (n − 1) of the unbiased variance, which shows in the last, smallest maps.
        var loss = 0.0
        for _ in 0..<200 { loss = training.computeGradients(images: images, labels: labels, count: 8).loss }
        let evaluation = try Executor(model, batchSize: 3, mode: .evaluation, threads: Threads())
        var metrics = BatchMetrics()
        for first in stride(from: 0, to: 8, by: 3) {
            let count = min(3, 8 - first)
            metrics += images.withUnsafeBufferPointer { images in
                labels.withUnsafeBufferPointer { labels in
                    evaluation.evaluate(
                        images: images.baseAddress! + first * Self.pixels, labels: labels.baseAddress! + first,
                        count: count)
                }
            }
        }
        #expect(metrics.count == 8)
        #expect(abs(metrics.loss - loss) < 0.05, "\(metrics.loss) against \(loss)")
        #expect(model.batchesTracked.allSatisfy { $0 == 200 })
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
        executor.computeGradients(images: images, labels: labels, count: 2)
        let profile = executor.profile
        #expect(profile.filter { $0.operation == .convolution }.count == 20)
        #expect(profile.filter { $0.operation == .inputGradient }.count == 19)  // none for the images
        #expect(profile.allSatisfy { $0.calls == 1 && $0.seconds >= 0 })
    }
}
