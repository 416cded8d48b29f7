// Dropout of single values (Srivastava et al., JMLR 15, 2014), scaled so that the expectation stays: what is kept is
// multiplied by 1 / (1 − p).
//
// Which values fall is a function of seed, iteration, layer and position: blocks of values draw from a stream each, so
// the number of threads does not matter, and a resumed run drops what the uninterrupted one would have dropped.

/// Names the random numbers of one dropout layer in one iteration.
public struct DropoutKey: Sendable {
    public let seed: UInt64
    public let iteration: UInt64
    public let layer: Int

    public init(seed: UInt64, iteration: UInt64, layer: Int) {
        (self.seed, self.iteration, self.layer) = (seed, iteration, layer)
    }
}

public enum Dropout {
    private static let blockSize = 4096

    /// Drops each of `count` values with the given probability, in place, and notes in `mask` what was kept: 1 or 0.
    public static func forward(
        _ x: UnsafeMutablePointer<Float>, mask: UnsafeMutablePointer<UInt8>, count: Int, probability: Float,
        key: DropoutKey, threads: Threads
    ) {
        let scale = 1 / (1 - probability)
        // A value falls if its 32 random bits lie below p · 2³².
        let threshold = UInt64(Double(probability) * 0x1p32)
        threads.forEach((count + blockSize - 1) / blockSize) { block in
            // Blocks of one iteration and layer have streams of their own: no layer has 2³² of them.
            var random = RandomStream(
                seed: key.seed, .dropout, key.iteration, UInt64(key.layer), UInt64(block))
            var bits: UInt64 = 0
            for position in block * blockSize..<min((block + 1) * blockSize, count) {
                bits = position % 2 == 0 ? random.next() : bits >> 32
                let kept = bits & 0xFFFF_FFFF >= threshold
                mask[position] = kept ? 1 : 0
                x[position] = kept ? x[position] * scale : 0
            }
        }
    }

    /// The gradient of the values before dropout, in place of that of the values after it.
    public static func backward(
        _ dx: UnsafeMutablePointer<Float>, mask: UnsafePointer<UInt8>, count: Int, probability: Float, threads: Threads
    ) {
        let scale = 1 / (1 - probability)
        threads.forEach((count + blockSize - 1) / blockSize) { block in
            for position in block * blockSize..<min((block + 1) * blockSize, count) {
                dx[position] *= mask[position] == 0 ? 0 : scale
            }
        }
    }
}
