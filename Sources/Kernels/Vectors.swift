// Sixteen floats as one value: SIMD16<Float> is one AVX-512 register, or two of AVX2.

package typealias Vector = SIMD16<Float>

extension SIMD16<Float> {
    static var lanes: Int { 16 }

    @inline(__always)
    init(at source: UnsafePointer<Float>) {
        self = UnsafeRawPointer(source).loadUnaligned(as: Self.self)
    }

    /// The first `count` values from memory, zeros behind them; touches no memory beyond.
    @inline(__always)
    init(at source: UnsafePointer<Float>, count: Int) {
        self = count >= Self.lanes ? Self(at: source) : Self(partAt: source, count: count)
    }

    @inline(never)
    private init(partAt source: UnsafePointer<Float>, count: Int) {
        self = .zero
        withUnsafeMutableBytes(of: &self) { lanes in
            lanes.baseAddress!.copyMemory(from: source, byteCount: Swift.max(count, 0) * MemoryLayout<Float>.stride)
        }
    }

    /// The first `count` of values that lie `stride` apart, zeros behind them.
    @inline(never)
    init(at source: UnsafePointer<Float>, stride: Int, count: Int) {
        self = .zero
        for lane in 0..<Swift.min(count, Self.lanes) { self[lane] = source[lane * stride] }
    }

    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(target).storeBytes(of: self, as: Self.self)
    }

    /// Stores the first `count` values only.
    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>, count: Int) {
        if count >= Self.lanes { store(to: target) } else { storePart(to: target, count: count) }
    }

    @inline(never)
    private func storePart(to target: UnsafeMutablePointer<Float>, count: Int) {
        withUnsafeBytes(of: self) { lanes in
            UnsafeMutableRawPointer(target)
                .copyMemory(from: lanes.baseAddress!, byteCount: Swift.max(count, 0) * MemoryLayout<Float>.stride)
        }
    }

    /// self + a·b, rounded once.
    @inline(__always)
    func adding(_ a: Float, _ b: Self) -> Self { addingProduct(Self(repeating: a), b) }
}

@inline(__always)
func roundUp(_ value: Int, to multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }

@inline(__always)
func divideUp(_ value: Int, by divisor: Int) -> Int { (value + divisor - 1) / divisor }
