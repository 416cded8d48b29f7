// Measuring a model: running statistics, no dropout, images as they are.

import Datasets
import Kernels
import Networks

/// Images as a caller has them, one after another, each as planes of red, green and blue [3][32][32].
public enum PlanarImages {
    /// Bytes as in the data sets' files; they are normalised as the model's configuration says.
    case bytes(UnsafeBufferPointer<UInt8>)
    /// Values taken as they are.
    case values(UnsafeBufferPointer<Float>)

    private var elements: Int {
        switch self {
        case .bytes(let buffer): buffer.count
        case .values(let buffer): buffer.count
        }
    }

    /// How many images there are.
    func count() throws(Failure) -> Int {
        try require(
            elements > 0 && elements % Images.values == 0, "images", "\(elements) values",
            expected: "a multiple of \(Images.values), 3 × 32 × 32 for each of one or more images")
        return elements / Images.values
    }

    /// Writes the images in `range` as the network takes them: float32, NHWC.
    func write(_ range: Range<Int>, normalization table: [Float], to destination: UnsafeMutablePointer<Float>) {
        switch self {
        case .bytes(let buffer):
            for (slot, image) in range.enumerated() {
                Images.write(
                    buffer.baseAddress! + image * Images.values, table: table, to: destination + slot * Images.values)
            }
        case .values(let buffer):
            Images.interleave(
                buffer.baseAddress! + range.lowerBound * Images.values, count: range.count, to: destination)
        }
    }
}

/// A model made ready for evaluation. It reads the model's parameters anew at each call.
public final class Evaluator {
    public let model: Model
    private let executor: Executor
    private let staging: FloatBuffer

    /// - Parameters:
    ///   - batchSize: images computed with at once; the results depend on it by their rounding at most.
    ///   - threads: that compute; 0 for one per processor. The results do not depend on it.
    public convenience init(_ model: Model, batchSize: Int = 128, threads: Int = 0) throws(Failure) {
        try self.init(model, batchSize: batchSize, sharing: Threads(threads))
    }

    init(_ model: Model, batchSize: Int = 128, sharing threads: Threads) throws(Failure) {
        self.model = model
        executor = try Executor(model, batchSize: batchSize, mode: .evaluation, threads: threads)
        staging = try FloatBuffer(count: batchSize * Images.values)
    }

    /// Loss and errors over a data set.
    ///
    /// - Throws: `Failure` if the set has more classes than the model.
    public func evaluate(_ dataset: Dataset) throws(Failure) -> Metrics {
        try evaluate(dataset, indices: nil) { _, _, _, _ in .proceed }!
    }

    /// Loss and errors over some images of a data set; nil where `onIteration` stops.
    func evaluate(
        _ dataset: Dataset, indices: [Int]?,
        onIteration: (
            _ iteration: Int, _ iterations: Int, _ batch: Metrics, _ running: Metrics
        ) -> Trainer.Progress.Reply
    ) throws(Failure) -> Metrics? {
        try model.requireClasses(of: dataset)
        let loader = try BatchLoader(
            dataset, indices: indices, batchSize: executor.batchSize, normalization: model.normalization())
        executor.refresh()
        loader.start(epoch: 0)
        var running = Metrics()
        var iteration = 0
        while let batch = loader.next() {
            let metrics = executor.evaluate(images: batch.images, labels: batch.labels, count: batch.count)
            running += metrics
            guard onIteration(iteration, loader.iterations, metrics, running) == .proceed else { return nil }
            iteration += 1
        }
        return running
    }

    /// The network's outputs before softmax, [images][classes].
    public func logits(_ images: PlanarImages) throws(Failure) -> [Float] {
        let count = try images.count()
        let classes = model.configuration.classes
        let table = try model.normalization().table()
        executor.refresh()
        return [Float](unsafeUninitializedCapacity: count * classes) { logits, written in
            for first in stride(from: 0, to: count, by: executor.batchSize) {
                let range = first..<min(first + executor.batchSize, count)
                images.write(range, normalization: table, to: staging.pointer)
                (logits.baseAddress! + first * classes).initialize(
                    from: executor.logits(images: staging.pointer, count: range.count), count: range.count * classes)
            }
            written = count * classes
        }
    }
}

extension Model {
    /// A model of its own with the same configuration and values.
    func copy() throws(Failure) -> Model {
        let copy = try Model(configuration)
        copy.take(parameters: parameters, statistics: statistics, batchesTracked: batchesTracked)
        return copy
    }

    func take(parameters: FloatBuffer, statistics: FloatBuffer, batchesTracked: [Int64]) {
        self.parameters.copy(from: parameters)
        self.statistics.copy(from: statistics)
        self.batchesTracked = batchesTracked
    }

    /// Makes running variances zero where a prediction made them negative.
    func clampVariances() {
        for entry in entries where entry.name.hasSuffix(".running_var") {
            for index in entry.offset..<entry.offset + entry.count {
                statistics.pointer[index] = max(statistics.pointer[index], 0)
            }
        }
    }

    func normalization() throws(Failure) -> Normalization {
        try Normalization(mean: configuration.mean, deviation: configuration.deviation)
    }

    func requireClasses(of dataset: Dataset) throws(Failure) {
        try require(
            dataset.classes <= configuration.classes, "classes of \(dataset.name)", dataset.classes,
            expected: "at most the model's \(configuration.classes)")
    }
}
