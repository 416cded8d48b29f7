// Mini-batches: which images, in which order, ready to compute with. One batch is prepared while another is in use.

import Dispatch
import PLPBase
import PLPKernels

/// A mini-batch of normalised images.
public struct Batch: @unchecked Sendable {
    /// Values [count][32][32][3] (NHWC).
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

    // The two mini-batches: one is in use while the other is filled, in turn.
    private let images: [FloatBuffer]
    private let labels: [Bytes]
    private let queue = DispatchQueue(label: "plp.batches", qos: .userInitiated)
    private let filling = DispatchGroup()
    private var order: [Int] = []
    private var epoch = 0
    private var upcoming: Int

    /// - Parameters:
    ///   - indices: which images of the set, in the order they come in where they are not shuffled; all of them
    ///     without.
    ///   - shuffle: whether each epoch has its own random order.
    /// - Throws: `Failure(.invalidArgument)` for a batch size below 1, no image, or one that the set does not have.
    public init(
        _ dataset: Dataset, indices: [Int]? = nil, batchSize: Int, normalization: Normalization,
        augmentation: Augmentation = .none, shuffle: Bool = false, seed: UInt64 = 0
    ) throws(Failure) {
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
        table = normalization.table()
        iterations = (indices.count - 1) / self.batchSize + 1
        let (images, labels) = (self.batchSize * Images.values, self.batchSize * MemoryLayout<Int32>.stride)
        self.images = [try FloatBuffer(count: images), try FloatBuffer(count: images)]
        self.labels = [try Bytes(count: labels), try Bytes(count: labels)]
        upcoming = iterations
    }

    /// Goes to an epoch, at its first mini-batch or a later one. Before the first call there is no mini-batch.
    public func start(epoch: Int, from iteration: Int = 0) {
        filling.wait()
        self.epoch = epoch
        order = indices
        if shuffle {
            var random = RandomStream(seed: seed, .shuffle, UInt64(truncatingIfNeeded: epoch))
            random.shuffle(&order)
        }
        upcoming = min(max(iteration, 0), iterations)
        prepare(upcoming)
    }

    /// The next mini-batch of the epoch, valid until the next call; nil at the epoch's end.
    public func next() -> Batch? {
        guard upcoming < iterations else { return nil }
        filling.wait()
        let iteration = upcoming
        upcoming += 1
        prepare(upcoming)
        return Batch(
            images: UnsafePointer(images[iteration % 2].pointer), labels: UnsafePointer(labelPointer(iteration)),
            count: positions(iteration).count)
    }

    /// Where the images of a mini-batch are in the epoch's order.
    private func positions(_ iteration: Int) -> Range<Int> {
        iteration * batchSize..<min((iteration + 1) * batchSize, indices.count)
    }

    private func labelPointer(_ iteration: Int) -> UnsafeMutablePointer<Int32> {
        UnsafeMutableRawPointer(labels[iteration % 2].start).assumingMemoryBound(to: Int32.self)
    }

    private func prepare(_ iteration: Int) {
        guard iteration < iterations else { return }
        queue.async(group: filling) { [self] in fill(iteration) }
    }

    private func fill(_ iteration: Int) {
        let labels = labelPointer(iteration)
        let images = images[iteration % 2].pointer
        table.withUnsafeBufferPointer { table in
            for (slot, position) in positions(iteration).enumerated() {
                let image = order[position]
                labels[slot] = dataset.labels[image]
                Images.write(
                    dataset.image(image), augmentation.placement(seed: seed, epoch: epoch, image: image),
                    table: table.baseAddress!, to: images + slot * Images.values)
            }
        }
    }
}
