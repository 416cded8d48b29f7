// Measuring a model: running statistics, no dropout, images as they are.

import PLPDatasets
import PLPBase
import PLPKernels
import PLPNetworks

/// A model made ready for evaluation. It reads the model's parameters anew at each call.
public final class Evaluator {
    public let model: Model
    private let executor: Executor
    private let threads: Threads
    private let staging: FloatBuffer

    /// - Parameters:
    ///   - batchSize: images computed with at once; the results depend on it by their rounding at most.
    ///   - threads: that compute; 0 for as many as `Threads` takes by default. The results do not depend on it.
    public convenience init(_ model: Model, batchSize: Int = 128, threads: Int = 0) throws(Failure) {
        try self.init(model, batchSize: batchSize, sharing: Threads(checked: threads))
    }

    init(_ model: Model, batchSize: Int = 128, sharing threads: Threads) throws(Failure) {
        self.model = model
        self.threads = threads
        executor = try Executor(model, batchSize: batchSize, mode: .evaluation, threads: threads)
        staging = try FloatBuffer(scratch: batchSize * model.imageShape.values)
    }

    /// Loss and errors over a data set.
    ///
    /// - Parameter onProgress: called after each mini-batch on the calling thread, in the phase `test`, with epoch,
    ///   number of epochs, learning rate and seconds 0. Where it stops, the result is of the images so far.
    /// - Throws: `Failure` if the set has more classes than the model, or images of another size.
    public func evaluate(
        _ dataset: Dataset, onProgress: (Trainer.Progress) -> Trainer.Progress.Reply = { _ in .proceed }
    ) throws(Failure) -> Metrics {
        var measured = Metrics()
        _ = try evaluate(dataset, indices: nil) { iteration, iterations, batch, running in
            measured = running
            return onProgress(
                Trainer.Progress(
                    phase: .test, epoch: 0, epochs: 0, iteration: iteration, iterations: iterations, learningRate: 0,
                    predicted: false, batch: batch, running: running, seconds: 0, finished: nil, imagesPerSecond: 0))
        }
        return measured
    }

    /// Loss and errors over some images of a data set; nil where `onIteration` stops.
    func evaluate(
        _ dataset: Dataset, indices: [Int]?,
        onIteration: (
            _ iteration: Int, _ iterations: Int, _ batch: Metrics, _ running: Metrics
        ) -> Trainer.Progress.Reply
    ) throws(Failure) -> Metrics? {
        try model.requireFit(of: dataset)
        let loader = try BatchLoader(
            dataset, indices: indices, batchSize: executor.batchSize, normalization: model.normalization(),
            threads: executor.threads)
        executor.refresh()
        loader.start(epoch: 0)
        var running = Metrics()
        var iteration = 0
        while let batch = loader.next() {
            let metrics = executor.evaluate(images: batch.images, labels: batch.labels, count: batch.count)
            running += metrics
            guard onIteration(iteration, loader.iterations, metrics, running) != .stop else { return nil }
            iteration += 1
        }
        return running
    }

    /// The network's outputs before softmax, [images][classes].
    package func logits(_ images: PlanarImages) throws(Failure) -> [Float] {
        var logits = [Float](repeating: 0, count: try images.count(model.imageShape) * model.configuration.classes)
        try self.logits(images, to: &logits)
        return logits
    }

    /// The same into the caller's memory, which is untouched on failure.
    package func logits(_ images: PlanarImages, to logits: UnsafeMutablePointer<Float>) throws(Failure) {
        let count = try images.count(model.imageShape)
        let classes = model.configuration.classes
        let table = try model.normalization().table()
        executor.refresh()
        for first in stride(from: 0, to: count, by: executor.batchSize) {
            let range = first..<min(first + executor.batchSize, count)
            images.write(range, of: model.imageShape, normalization: table, to: staging.pointer, threads)
            (logits + first * classes).update(
                from: executor.logits(images: staging.pointer, count: range.count), count: range.count * classes)
        }
    }
}

extension Threads {
    /// As many as an option asks for; 0 for as many as `Threads` takes by default.
    convenience init(checked count: Int) throws(Failure) {
        try require("threads", count, in: 0...1024)
        self.init(count)
    }
}
