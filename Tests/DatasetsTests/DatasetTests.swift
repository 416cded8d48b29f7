import PLPDatasets
import PLPTestSupport
import Testing

@Suite struct DatasetTests {
    private func dataset(
        _ bytes: Int, size: Int = 32, _ labels: [Int32], classes: Int? = nil, names: [String]? = nil
    ) throws -> Dataset {
        try someBytes(bytes).withUnsafeBytes {
            try Dataset(
                images: $0, imageSize: size, labels: labels, classes: classes, labelNames: names, name: "mine")
        }
    }

    @Test(arguments: [16, 32, 33, 96]) func copiesTheCallersImages(size: Int) throws {
        let bytes = 3 * size * size
        let mine = try dataset(2 * bytes, size: size, [1, 0])
        #expect(mine.count == 2 && mine.classes == 2 && mine.labels == [1, 0] && mine.labelNames == nil)
        #expect(mine.imageSize == size)
        #expect(Array(UnsafeBufferPointer(start: mine.image(1), count: bytes)) == Array(someBytes(2 * bytes)[bytes...]))
    }

    @Test func refusesWhatDoesNotFitTogether() {
        expectFailure(.invalidArgument, "mine", "6,143 bytes", "6,144") { try dataset(6143, [0, 0]) }
        expectFailure(.invalidArgument, "mine", "6,144 bytes", "13,824", "3 × 48 × 48") {
            try dataset(6144, size: 48, [0, 0])
        }
        for size in [0, 15, 97, -1, Int.max] {
            expectFailure(.invalidArgument, "image size: found \(size), expected a whole number from 16 to 96") {
                try dataset(6144, size: size, [0, 0])
            }
        }
        expectFailure(.invalidArgument, "no image") { try dataset(0, [], classes: 3) }
        expectFailure(.invalidArgument, "label 3", "image 1", "0 to 2") {
            try dataset(6144, [0, 3], classes: 3)
        }
        expectFailure(.invalidArgument, "label -1") { try dataset(6144, [0, -1]) }
        for classes in [0, -5, Int.max] {
            expectFailure(.invalidArgument, "\(classes) classes, expected 1 to 2,147,483,647") {
                try dataset(3072, [0], classes: classes)
            }
        }
        expectFailure(.invalidArgument, "1 label names", "2") {
            try dataset(3072, [1], classes: 2, names: ["a"])
        }
    }

    @Test(arguments: [0, 0.1, 0.2, 0.5, 0.99]) func splitIsAPartition(fraction: Double) throws {
        let set = try Dataset.synthetic(split: .train, count: 500)
        let (training, validation) = try set.split(validation: fraction, seed: 4)
        #expect(validation.count == Int((500 * fraction).rounded()))
        #expect((training + validation).sorted() == Array(0..<500))
        #expect(training == training.sorted() && validation == validation.sorted())
        #expect(try set.split(validation: fraction, seed: 4) == (training, validation))
        if fraction > 0 { #expect(try set.split(validation: fraction, seed: 5).validation != validation) }
    }

    @Test func splitRefusesFractionsThatLeaveNothing() throws {
        let set = try Dataset.synthetic(split: .train, count: 10)
        for fraction in [-0.1, 1, 1.5, .nan, .infinity, 0.01, 0.99] {
            expectFailure(.invalidArgument, "validation fraction") {
                try set.split(validation: fraction, seed: 0)
            }
        }
    }
}

@Suite struct SyntheticTests {
    @Test func isTheSameEverywhere() throws {
        let set = try Dataset.synthetic(split: .train, count: 300, seed: 7)
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325  // FNV-1a
        for place in 0..<300 * 3072 { hash = (hash ^ UInt64(set.images[place])) &* 0x100_0000_01b3 }
        #expect(hash == 16_561_131_099_854_308_740)
    }

    @Test func longerSetsBeginWithShorterOnes() throws {
        let (short, long) = (
            try Dataset.synthetic(split: .test, count: 120), try Dataset.synthetic(split: .test, count: 700)
        )
        let bytes = 120 * 3072
        #expect(
            UnsafeBufferPointer(start: short.images, count: bytes)
                .elementsEqual(UnsafeBufferPointer(start: long.images, count: bytes)))
        #expect(long.labels.starts(with: short.labels))
    }

    @Test func classesAreBalancedAndNamed() throws {
        let set = try Dataset.synthetic(split: .train, count: 1000)
        #expect(set.classes == 100)
        #expect(Dictionary(grouping: set.labels, by: \.self).values.allSatisfy { $0.count == 10 })
        #expect(Set(set.labelNames ?? []).count == 100)
    }

    @Test func splitsAndSeedsDiffer() throws {
        let sets = [
            try Dataset.synthetic(split: .train, count: 100), try Dataset.synthetic(split: .test, count: 100),
            try Dataset.synthetic(split: .train, count: 100, seed: 1),
        ]
        let images = sets.flatMap { set in
            (0..<100).map { Array(UnsafeBufferPointer(start: set.image($0), count: 3072)) }
        }
        #expect(Set(images).count == 300)
    }

    /// The nearest class mean, a linear classifier, gets 18 of 500 images right, and 12 to 22 of other seeds': more
    /// than guesses do, 5 ± 2.2, so that there is something to begin with, and next to nothing of what a network gets.
    @Test func pixelsByThemselvesSayLittle() throws {
        let train = try Dataset.synthetic(split: .train, count: 5000)
        let test = try Dataset.synthetic(split: .test, count: 500)
        var means = [Float](repeating: 0, count: 100 * 3072)
        for image in 0..<train.count {
            let pixels = train.image(image)
            for place in 0..<3072 { means[image % 100 * 3072 + place] += Float(pixels[place]) / 50 }
        }
        var correct = 0
        for image in 0..<test.count {
            let pixels = test.image(image)
            let distances = (0..<100).map { (label: Int) -> Float in
                var sum: Float = 0
                for place in 0..<3072 {
                    let difference = Float(pixels[place]) - means[label * 3072 + place]
                    sum += difference * difference
                }
                return sum
            }
            if distances.firstIndex(of: distances.min()!) == image % 100 { correct += 1 }
        }
        #expect((12...30).contains(correct), "\(correct) of \(test.count)")
    }

    @Test func refusesAbsurdCounts() {
        for count in [0, -1, 1_000_001, Int.max] {
            expectFailure(.invalidArgument, "synthetic set", "\(count) images") {
                try Dataset.synthetic(split: .train, count: count)
            }
        }
    }
}
