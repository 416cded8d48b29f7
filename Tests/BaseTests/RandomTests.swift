import PLPBase
import Testing

@Suite struct RandomTests {
    private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    /// From a program in another language that follows the two papers' own code.
    @Test func givesTheReferenceNumbers() {
        var random = RandomStream(seed: 42, .shuffle, 7)
        #expect(random.next() == 0x1a1a_56c8_1e9a_2090)
        #expect(random.next() == 0xcafc_a914_c8e4_2e78)
        #expect(random.next() == 0x8084_6a01_a7f6_662c)
    }

    @Test func everyPartOfTheKeyCounts() {
        let streams = [
            RandomStream(seed: 0, .shuffle), RandomStream(seed: 1, .shuffle), RandomStream(seed: 0, .dropout),
            RandomStream(seed: 0, .shuffle, 1), RandomStream(seed: 0, .shuffle, 0, 1),
            RandomStream(seed: 0, .shuffle, 0, 0, 1),
        ]
        let first = streams.map { stream in
            var stream = stream
            return stream.next()
        }
        #expect(Set(first).count == streams.count)
    }

    @Test func momentsAreThoseOfTheDistributions() {
        var random = RandomStream(seed: 3, .initialization)
        let count = 200_000
        let uniform: [Double] = (0..<count).map { _ in Double(random.uniform()) }
        #expect(uniform.allSatisfy { $0 >= 0 && $0 < 1 })
        #expect(abs(mean(uniform) - 0.5) < 0.004)
        #expect(abs(mean(uniform.map { $0 * $0 }) - 1 / 3.0) < 0.004)
        var counts = [Int](repeating: 0, count: 9)
        for _ in 0..<90_000 { counts[random.below(9)] += 1 }
        #expect(counts.allSatisfy { abs($0 - 10_000) < 500 })
    }

    /// Streams beside each other, as images of an epoch have them, are not alike.
    @Test func neighbouringStreamsAreIndependent() {
        let count = 50_000
        var (sum, products, previous) = (0.0, 0.0, 0.0)
        for index in 0..<count {
            var random = RandomStream(seed: 0, .augmentation, 0, UInt64(index))
            let value = Double(random.uniform()) - 0.5
            sum += value
            products += value * previous
            previous = value
        }
        #expect(abs(sum / Double(count)) < 0.006)
        #expect(abs(products / Double(count)) < 0.002)
    }

    @Test func shuffleGivesEveryOrderEquallyOften() {
        var counts: [[Int]: Int] = [:]
        for index in 0..<24_000 {
            var random = RandomStream(seed: 9, .shuffle, UInt64(index))
            var values = [0, 1, 2, 3]
            random.shuffle(&values)
            counts[values, default: 0] += 1
        }
        #expect(counts.count == 24)
        #expect(counts.values.allSatisfy { abs($0 - 1000) < 160 })
    }
}
