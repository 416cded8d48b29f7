// Dropout of single values (Srivastava et al., JMLR 15, 2014), scaled so that the expectation stays: what is kept is
// multiplied by 1 / (1 − p).
//
// Which values fall is a function of seed, iteration, layer and position: blocks of values draw from a stream each, so
// the number of threads does not matter, and a resumed run drops what the uninterrupted one would have dropped.

import PLPBase

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
        // A value falls if its 32 random bits lie below p · 2³².
        let threshold = SIMD16<UInt32>(repeating: UInt32(Double(probability) * 0x1p32))
        threads.forEach(divideUp(count, by: blockSize)) { block in
            var random = RandomStream(seed: key.seed, .dropout, key.iteration, UInt64(key.layer), UInt64(block))
            forEachVector(in: block * blockSize..<min((block + 1) * blockSize, count)) { position, lanes in
                var bits = SIMD8<UInt64>()
                for pair in 0..<8 { bits[pair] = random.next() }
                let falls = unsafeBitCast(bits, to: SIMD16<UInt32>.self) .< threshold
                var kept = SIMD16<Int32>(repeating: 1)
                kept.replace(with: SIMD16<Int32>(), where: falls)
                for lane in 0..<lanes { mask[position + lane] = UInt8(truncatingIfNeeded: kept[lane]) }
            }
            apply(mask, to: x, block: block, count: count, probability: probability)
        }
    }

    /// The gradient of the values before dropout, in place of that of the values after it.
    public static func backward(
        _ dx: UnsafeMutablePointer<Float>, mask: UnsafePointer<UInt8>, count: Int, probability: Float, threads: Threads
    ) {
        threads.forEach(divideUp(count, by: blockSize)) {
            apply(mask, to: dx, block: $0, count: count, probability: probability)
        }
    }

    private static func apply(
        _ mask: UnsafePointer<UInt8>, to x: UnsafeMutablePointer<Float>, block: Int, count: Int, probability: Float
    ) {
        let scale = 1 / (1 - probability)
        for position in block * blockSize..<min((block + 1) * blockSize, count) {
            x[position] = mask[position] == 0 ? 0 : x[position] * scale
        }
    }
}
