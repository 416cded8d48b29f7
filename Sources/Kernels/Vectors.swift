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

/// Loads up to 16 rows of up to 16 columns of a matrix, and leaves its columns in the first 16 of 32 vectors at
/// `block`.
///
/// Four perfect shuffles of the 16 rows, each between the halves of all pairs, exchange the two indices.
@inline(never)
func loadTransposed(
    _ matrix: UnsafePointer<Float>, rowStride: Int, rows: Int, columns: Int, to block: UnsafeMutablePointer<Vector>
) {
    for row in 0..<Vector.lanes {
        block[row] = row < rows ? Vector(at: matrix + row * rowStride, count: columns) : .zero
    }
    var (from, to) = (block, block + Vector.lanes)
    for _ in 0..<4 {
        for row in 0..<Vector.lanes / 2 {
            let (first, second) = (from[row], from[row + Vector.lanes / 2])
            to[2 * row].evenHalf = first.lowHalf
            to[2 * row].oddHalf = second.lowHalf
            to[2 * row + 1].evenHalf = first.highHalf
            to[2 * row + 1].oddHalf = second.highHalf
        }
        swap(&from, &to)
    }
}

@inline(__always)
package func roundUp(_ value: Int, to multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }

@inline(__always)
func divideUp(_ value: Int, by divisor: Int) -> Int { (value + divisor - 1) / divisor }
