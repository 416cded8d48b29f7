import PLPKernels
import Testing

struct DropoutTests {
    private func drop(
        _ count: Int, _ probability: Float, _ key: DropoutKey, _ threads: Threads = Threads(2)
    ) -> (x: [Float], mask: [UInt8]) {
        var x = [Float](repeating: 1, count: count)
        var mask = [UInt8](repeating: 255, count: count)
        Dropout.forward(&x, mask: &mask, count: count, probability: probability, key: key, threads: threads)
        return (x, mask)
    }

    @Test(arguments: [0, 0.1, 0.5, 0.9] as [Float])
    func dropsTheAskedForShare(probability: Float) {
        let count = 100_003
        let (x, mask) = drop(count, probability, DropoutKey(seed: 1, iteration: 2, layer: 3))
        let kept = mask.count { $0 == 1 }
        let deviation = (Double(count) * Double(probability) * (1 - Double(probability))).squareRoot()
        #expect(abs(Double(kept) - Double(count) * (1 - Double(probability))) <= 5 * deviation)
        #expect(zip(x, mask).allSatisfy { $0 == ($1 == 1 ? 1 / (1 - probability) : 0) })

        var dx = normals(count, seed: 4)
        let expected = zip(dx, x).map { $0 * $1 }
        Dropout.backward(&dx, mask: mask, count: count, probability: probability, threads: Threads(2))
        #expect(dx == expected)
    }

    @Test func dependsOnEachPartOfTheKeyAndOnNothingElse() {
        let count = 10_000
        let mask = drop(count, 0.5, DropoutKey(seed: 1, iteration: 2, layer: 3)).mask
        for other in [
            DropoutKey(seed: 2, iteration: 2, layer: 3), DropoutKey(seed: 1, iteration: 3, layer: 3),
            DropoutKey(seed: 1, iteration: 2, layer: 4),
        ] {
            let same = zip(mask, drop(count, 0.5, other).mask).count { $0 == $1 }
            #expect(abs(same - count / 2) < 300)
        }
        // Neither do blocks repeat each other, nor does the length matter, nor the number of threads.
        #expect(abs(zip(mask[..<4096], mask[4096...]).count { $0 == $1 } - 2048) < 200)
        #expect(Array(mask[..<5001]) == drop(5001, 0.5, DropoutKey(seed: 1, iteration: 2, layer: 3)).mask)
        expectSame { drop(count, 0.5, DropoutKey(seed: 1, iteration: 2, layer: 3), $0).x }
    }
}
