import PLPDatasets
import PLPBase
import PLPKernels
import PLPTestSupport
import Testing

@Suite struct AugmentationTests {
    @Test func partsAreDrawnEvenlyAndIndependently() throws {
        let set = try Dataset.synthetic(split: .train, count: 1)
        let normalization = try Normalization(mean: [0, 0, 0], deviation: [1, 1, 1])
        let table = normalization.table()
        var windows: [[Float]: Int] = [:]
        for index in 0..<162 {
            let placement = Placement(dx: index % 9 - 4, dy: index / 9 % 9 - 4, mirrored: index >= 81)
            var values = [Float](repeating: -1, count: 3072)
            ImageShape.cifar.write(set.image(0), placement, table: table, to: &values)
            windows[values] = index
        }
        #expect(windows.count == 162)
        func indices(_ augmentation: Augmentation, epochs: Int) throws -> [Int] {
            let loader = try BatchLoader(
                set, batchSize: 1, normalization: normalization, augmentation: augmentation, seed: 5,
                threads: Threads(1))
            return try (0..<epochs).map { epoch in
                loader.start(epoch: epoch)
                let images = try #require(loader.next()).images
                return try #require(windows[Array(UnsafeBufferPointer(start: images, count: 3072))])
            }
        }
        let both = try indices(.standard, epochs: 8100)
        var counts = [Int](repeating: 0, count: 162)
        for index in both { counts[index] += 1 }
        // χ² with 161 degrees of freedom: 161 ± 18.
        let deviations: [Double] = counts.map { Double(($0 - 50) * ($0 - 50)) / 50 }
        #expect(deviations.reduce(0, +) < 161 + 4 * 18)
        #expect(try indices(Augmentation(crop: 4), epochs: 100) == both.prefix(100).map { $0 % 81 })
        #expect(try indices(Augmentation(flip: true), epochs: 100) == both.prefix(100).map { $0 / 81 * 81 + 40 })
    }

    @Test func refusesAbsurdSettings() {
        for crop in [-1, 97, Int.max, Int.min] {
            expectFailure(.invalidArgument, "crop of \(crop)") { try Augmentation(crop: crop) }
        }
        for rotation: Float in [-1, 181, .nan, .infinity] {
            expectFailure(.invalidArgument, "rotation of \(rotation)") {
                try Augmentation(rotation: rotation)
            }
        }
    }
}
