// Mini-batches: which images, in which order, ready to compute with.

import PLPBase
import PLPKernels

/// A mini-batch of normalised images.
public struct Batch: @unchecked Sendable {
    /// Values [count][size][size][3] (NHWC).
    public let images: UnsafePointer<Float>
    public let labels: UnsafePointer<Int32>
    /// The batch size; less in the last mini-batch of an epoch, where the images do not come out even.
    public let count: Int
}

/// Goes through a data set in mini-batches, epoch by epoch.
///
///     loader.start(epoch: 0)
///     while let batch = loader.next() { … }
///
/// What an epoch holds follows from the seed and the epoch's number alone, so a run can go on from any iteration. A
/// loader belongs to one thread at a time.
public final class BatchLoader: @unchecked Sendable {
    public let dataset: Dataset
    /// Images in a mini-batch, at most as many as there are.
    public let batchSize: Int
    /// Mini-batches in an epoch.
    public let iterations: Int

    private let indices: [Int]
    private let table: [Float]
    private let augmentation: Augmentation
    private let shuffle: Bool
    private let seed: UInt64
    private let threads: Threads

    private let images: FloatBuffer
    private let labels: Bytes
    private var order: [Int] = []
    private var epoch = 0
    private var upcoming: Int

    /// - Parameters:
    ///   - indices: which images of the set, in the order they come in where they are not shuffled; all of them
    ///     without.
    ///   - shuffle: whether each epoch has its own random order.
    ///   - threads: that prepare each mini-batch together, when it is asked for. Theirs is a thousandth of the time that
    ///     the same threads then compute on it: a thread that prepared it meanwhile would take that from them.
    /// - Throws: `Failure(.invalidArgument)` for a batch size below 1, no image, or one that the set does not have.
    public init(
        _ dataset: Dataset, indices: [Int]? = nil, batchSize: Int, normalization: Normalization,
        augmentation: Augmentation = .none, shuffle: Bool = false, seed: UInt64 = 0, threads: Threads
    ) throws(Failure) {
        try Memory.require(
            bytes: 2 * MemoryLayout<Int>.stride * (indices?.count ?? dataset.count), for: "the order of an epoch")
        let indices = indices ?? Array(0..<dataset.count)
        try require(batchSize >= 1, "batch size", batchSize, expected: "at least 1")
        guard !indices.isEmpty else { throw Failure(.invalidArgument, "\(dataset.name): no image selected") }
        if let wrong = indices.first(where: { !(0..<dataset.count).contains($0) }) {
            throw Failure(
                .invalidArgument, "\(dataset.name): found image \(wrong) selected, expected 0 to \(dataset.count - 1)")
        }
        self.dataset = dataset
        self.indices = indices
        self.batchSize = min(batchSize, indices.count)
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.seed = seed
        self.threads = threads
        table = normalization.table()
        iterations = (indices.count - 1) / self.batchSize + 1
        images = try FloatBuffer(scratch: self.batchSize * dataset.imageShape.values)
        labels = try Bytes(count: self.batchSize * MemoryLayout<Int32>.stride)
        upcoming = iterations
    }

    /// Goes to an epoch, at its first mini-batch or a later one. Before the first call there is no mini-batch.
    public func start(epoch: Int, from iteration: Int = 0) {
        self.epoch = epoch
        order = indices
        if shuffle {
            var random = RandomStream(seed: seed, .shuffle, UInt64(truncatingIfNeeded: epoch))
            random.shuffle(&order)
        }
        upcoming = min(max(iteration, 0), iterations)
    }

    /// The next mini-batch of the epoch, valid until the next call; nil at the epoch's end.
    public func next() -> Batch? {
        guard upcoming < iterations else { return nil }
        let first = upcoming * batchSize
        let count = min(batchSize, indices.count - first)
        upcoming += 1
        let images = images.pointer
        let labels = UnsafeMutableRawPointer(labels.start).assumingMemoryBound(to: Int32.self)
        table.withUnsafeBufferPointer { table in
            threads.forEach(count) { slot in
                let image = order[first + slot]
                labels[slot] = dataset.labels[image]
                dataset.imageShape.write(
                    dataset.image(image), augmentation.placement(seed: seed, epoch: epoch, image: image),
                    table: table.baseAddress!, to: images + slot * dataset.imageShape.values)
            }
        }
        return Batch(images: images, labels: labels, count: count)
    }
}
