import PLPDatasets
import PLPBase
import PLPKernels
import PLPTestSupport
import Testing

@Suite struct BatchLoaderTests {
    private static let set = try! Dataset.synthetic(split: .train, count: 1000)
    private struct Copy: Equatable {
        var labels: [Int32]
        var images: [Float]
    }

    private func loader(
        _ indices: [Int]? = nil, batchSize: Int = 128, _ augmentation: Augmentation = .none, shuffle: Bool = false,
        seed: UInt64 = 0, threads: Int = 2
    ) throws(Failure) -> BatchLoader {
        try BatchLoader(
            Self.set, indices: indices, batchSize: batchSize, normalization: .cifar100, augmentation: augmentation,
            shuffle: shuffle, seed: seed, threads: Threads(threads, processors: threads))
    }

    private func rest(_ loader: BatchLoader) -> [Copy] {
        var copies: [Copy] = []
        while let batch = loader.next() {
            copies.append(
                Copy(
                    labels: Array(UnsafeBufferPointer(start: batch.labels, count: batch.count)),
                    images: Array(UnsafeBufferPointer(start: batch.images, count: batch.count * 3072))))
        }
        return copies
    }

    private func epoch(_ number: Int, of loader: BatchLoader, from iteration: Int = 0) -> [Copy] {
        loader.start(epoch: number, from: iteration)
        return rest(loader)
    }

    @Test func givesImagesInOrderAndNormalised() throws {
        let indices = [5, 17, 999, 0, 5]
        let batches = epoch(0, of: try loader(indices, batchSize: 2))
        #expect(batches.map(\.labels.count) == [2, 2, 1])
        #expect(batches.flatMap(\.labels) == indices.map { Self.set.labels[$0] })
        let values = batches.flatMap(\.images)
        for (slot, image) in indices.enumerated() {
            for place in stride(from: 0, to: 3072, by: 17) {
                let (pixel, channel) = (place / 3, place % 3)
                let byte = Float(Self.set.image(image)[channel * 1024 + pixel])
                let expected =
                    (byte / 255 - Normalization.cifar100.mean[channel]) / Normalization.cifar100.deviation[channel]
                #expect(values[slot * 3072 + place] == expected)
            }
        }
    }

    /// A crop, mirrored or not, of each image: nothing of it is another image's.
    @Test(arguments: [16, 45]) func imagesOfAnySizeAreAugmented(size: Int) throws {
        let images = (0..<50).flatMap { [UInt8](repeating: UInt8($0 + 1), count: 3 * size * size) }
        let set = try images.withUnsafeBytes {
            try Dataset(images: $0, imageSize: size, labels: Array(0..<50))
        }
        let loader = try BatchLoader(
            set, batchSize: 8, normalization: Normalization(mean: [0, 0, 0], deviation: [1, 1, 1]),
            augmentation: Augmentation(crop: 4, flip: true, rotation: 15), shuffle: true, threads: Threads(2))
        loader.start(epoch: 0)
        while let batch = loader.next() {
            for slot in 0..<batch.count {
                let values = UnsafeBufferPointer(start: batch.images + slot * 3 * size * size, count: 3 * size * size)
                let own = Float(batch.labels[slot] + 1) / 255
                #expect(values.allSatisfy { $0 == own || $0 == 0 })
                #expect(values.count(where: { $0 == own }) > values.count / 2)
            }
        }
    }

    @Test(arguments: [1, 7, 128, 500, 1000, 5000, Int.max]) func everyEpochIsAPermutation(batchSize: Int) throws {
        let loader = try loader(batchSize: batchSize, shuffle: true)
        let plain = try epoch(0, of: self.loader())
        let images = Set(plain.flatMap { batch in (0..<batch.labels.count).map { batch.images[$0 * 3072] } })
        var orders: Set<[Float]> = []
        for number in 0..<3 {
            let batches = epoch(number, of: loader)
            #expect(batches.count == loader.iterations)
            #expect(batches.dropLast().allSatisfy { $0.labels.count == loader.batchSize })
            #expect(batches.flatMap(\.labels).sorted() == Self.set.labels.sorted())
            let firsts = batches.flatMap { batch in (0..<batch.labels.count).map { batch.images[$0 * 3072] } }
            #expect(Set(firsts) == images)
            orders.insert(firsts)
        }
        #expect(orders.count == 3)
    }

    @Test func anEpochFollowsFromSeedAndNumberAlone() throws {
        let augmentation = try Augmentation(crop: 4, flip: true, rotation: 15)
        let first = try loader(batchSize: 96, augmentation, shuffle: true, seed: 3)
        let whole = epoch(2, of: first)
        let second = try loader(batchSize: 96, augmentation, shuffle: true, seed: 3)
        for iteration in [0, 1, 4, 10] {
            #expect(epoch(2, of: second, from: iteration) == Array(whole[iteration...]))
        }
        #expect(epoch(2, of: second, from: 11).isEmpty && epoch(2, of: second, from: .max).isEmpty)
        #expect(epoch(2, of: second, from: -1) == whole)
        #expect(epoch(3, of: first) != whole)
        #expect(epoch(2, of: try loader(batchSize: 96, augmentation, shuffle: true, seed: 4)) != whole)
        #expect(try epoch(2, of: loader(batchSize: 96, augmentation, shuffle: true, seed: 3, threads: 5)) == whole)
        // The order does not depend on the augmentation, nor an image's augmentation on the order.
        #expect(epoch(2, of: try loader(batchSize: 96, shuffle: true, seed: 3)).map(\.labels) == whole.map(\.labels))
    }

    @Test func aBatchStaysUntilTheNextIsAskedFor() throws {
        let loader = try loader(batchSize: 10, .standard, shuffle: true)
        let expected = epoch(0, of: loader)
        loader.start(epoch: 0)
        for copy in expected {
            let batch = try #require(loader.next())
            #expect(UnsafeBufferPointer(start: batch.images, count: batch.count * 3072).elementsEqual(copy.images))
            #expect(UnsafeBufferPointer(start: batch.labels, count: batch.count).elementsEqual(copy.labels))
        }
        #expect(loader.next() == nil && loader.next() == nil)
    }

    @Test func anEpochCanBeLeftAtAnyTime() throws {
        let loader = try loader(batchSize: 64, .standard, shuffle: true)
        #expect(loader.next() == nil)
        let expected = epoch(1, of: loader)
        for taken in 0..<10 {
            loader.start(epoch: taken)
            for _ in 0..<taken { _ = loader.next() }
            #expect(epoch(1, of: loader) == expected)
            _ = try self.loader(batchSize: 64).start(epoch: 0)
        }
    }

    @Test func refusesWhatCannotBeLoaded() {
        for size in [0, -1, Int.min] {
            expectFailure(.invalidArgument, "batch size: found \(size)") { try loader(batchSize: size) }
        }
        expectFailure(.invalidArgument, "no image selected") { try loader([]) }
        for index in [-1, 1000, Int.max] {
            expectFailure(.invalidArgument, "image \(index)", "0 to 999") { try loader([0, index]) }
        }
    }
}
