// Random numbers as a function of a key. What is drawn depends on a seed, a purpose and a few indices (an epoch, an
// image, a layer), never on what was drawn before: nothing has to be saved to resume, and no order has to be kept.

/// The stream of random numbers that belongs to a seed, a purpose and up to three indices.
///
///     var random = RandomStream(seed: 0, .augmentation, epoch, image)
///     let shift = random.below(9)
///
/// The key is hashed with the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), which also fills the 256 bits of
/// state of xoshiro256++ 1.0 (Blackman, Vigna, 2019; period 2²⁵⁶ − 1), whose outputs these are. Making a stream costs
/// about as much as drawing eight numbers from it. Not for secrets.
public struct RandomStream: RandomNumberGenerator, Sendable {
    /// What numbers are drawn for. Streams of different purposes are independent under one seed; the raw values are
    /// part of what a seed means, and stay.
    public enum Purpose: UInt64, Sendable {
        case initialization = 1
        case dropout, shuffle, augmentation, split, synthesis
    }

    @usableFromInline var state: (UInt64, UInt64, UInt64, UInt64)

    /// - Parameters:
    ///   - first, second, third: indices within the purpose. Leaving one out means zero.
    @inlinable
    public init(seed: UInt64, _ purpose: Purpose, _ first: UInt64 = 0, _ second: UInt64 = 0, _ third: UInt64 = 0) {
        // Each step is a bijection of the key so far and of the part it takes in.
        var key = Self.mix(seed)
        key = Self.mix(key ^ purpose.rawValue)
        key = Self.mix(key ^ first)
        key = Self.mix(key ^ second)
        key = Self.mix(key ^ third)
        state = (
            Self.mix(key), Self.mix(key &+ Self.increment), Self.mix(key &+ 2 &* Self.increment),
            Self.mix(key &+ 3 &* Self.increment)
        )
    }

    /// 2⁶⁴ divided by the golden ratio, the step of SplitMix64.
    @usableFromInline static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// One step of SplitMix64 from the state `value`.
    @inlinable
    static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ increment
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// The next 64 bits.
    @inlinable
    public mutating func next() -> UInt64 {
        let sum = state.0 &+ state.3
        let result = (sum << 23 | sum >> 41) &+ state.0
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = state.3 << 45 | state.3 >> 19
        return result
    }

    /// A value in [0, 1), a multiple of 2⁻²⁴, all equally likely.
    @inlinable
    public mutating func uniform() -> Float {
        Float(Int32(truncatingIfNeeded: next() >> 40)) * 0x1p-24
    }

    /// A value from `range.lowerBound` up to `range.upperBound`, which rounding may reach.
    @inlinable
    public mutating func uniform(_ range: Range<Float>) -> Float {
        range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
    }

    /// An integer in 0 ..< `bound`, which is positive. The bias is below `bound` / 2⁶⁴.
    @inlinable
    public mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(truncatingIfNeeded: bound)).high)
    }

    /// Puts values into an order drawn uniformly (Fisher, Yates). Unlike the standard library's `shuffle(using:)`, what
    /// a stream gives here is fixed for good.
    @inlinable
    public mutating func shuffle<Element>(_ values: inout [Element]) {
        for last in stride(from: values.count - 1, to: 0, by: -1) {
            values.swapAt(last, below(last + 1))
        }
    }
}
