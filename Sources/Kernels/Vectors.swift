// Sixteen floats as one value: SIMD16<Float> is one AVX-512 register, or two of AVX2.

import CLinux

package typealias Vector = SIMD16<Float>

extension SIMD where Self: BitwiseCopyable, Scalar == Float {
    @inline(__always)
    init(at source: UnsafePointer<Float>) {
        self = UnsafeRawPointer(source).loadUnaligned(as: Self.self)
    }

    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(target).storeBytes(of: self, as: Self.self)
    }
}

extension SIMD16<Float> {
    static var lanes: Int { 16 }

    /// The first `count` values from memory, zeros behind them; touches no memory beyond.
    @inline(__always)
    init(at source: UnsafePointer<Float>, count: Int) {
        self =
            switch count {
            case Self.lanes...: Self(at: source)
            case 8: Self(lowHalf: SIMD8(at: source), highHalf: .zero)  // narrow networks have many maps of 8 channels
            default: Self(partAt: source, count: count)
            }
    }

    @inline(never)
    private init(partAt source: UnsafePointer<Float>, count: Int) {
        self =
            count < 8
            ? Self(lowHalf: SIMD8(partAt: source, count: count), highHalf: .zero)
            : Self(lowHalf: SIMD8(at: source), highHalf: SIMD8(partAt: source + 8, count: count - 8))
    }

    /// Stores the first `count` values only.
    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>, count: Int) {
        switch count {
        case Self.lanes...: store(to: target)
        case 8: lowHalf.store(to: target)
        default: storePart(to: target, count: count)
        }
    }

    @inline(never)
    private func storePart(to target: UnsafeMutablePointer<Float>, count: Int) {
        if count < 8 { return lowHalf.storePart(to: target, count: count) }
        lowHalf.store(to: target)
        highHalf.storePart(to: target + 8, count: count - 8)
    }

    /// self + a·b, rounded once.
    @inline(__always)
    func adding(_ a: Float, _ b: Self) -> Self { addingProduct(Self(repeating: a), b) }
}

/// Parts of a vector are moved by halves and not by a copy in memory, which whoever reads all of it would wait for.
extension SIMD8<Float> {
    /// The first `count` values, fewer than eight, and zeros.
    @inline(__always)
    fileprivate init(partAt source: UnsafePointer<Float>, count: Int) {
        self =
            count < 4
            ? Self(lowHalf: SIMD4(partAt: source, count: count), highHalf: .zero)
            : Self(lowHalf: SIMD4(at: source), highHalf: SIMD4(partAt: source + 4, count: count - 4))
    }

    @inline(__always)
    fileprivate func storePart(to target: UnsafeMutablePointer<Float>, count: Int) {
        if count < 4 { return lowHalf.storePart(to: target, count: count) }
        lowHalf.store(to: target)
        highHalf.storePart(to: target + 4, count: count - 4)
    }
}

extension SIMD4<Float> {
    @inline(__always)
    fileprivate init(partAt source: UnsafePointer<Float>, count: Int) {
        self.init(count > 0 ? source[0] : 0, count > 1 ? source[1] : 0, count > 2 ? source[2] : 0, 0)
    }

    @inline(__always)
    fileprivate func storePart(to target: UnsafeMutablePointer<Float>, count: Int) {
        if count > 0 { target[0] = x }
        if count > 1 { target[1] = y }
        if count > 2 { target[2] = z }
    }
}

/// Loads up to 16 rows of up to 16 columns of a matrix, and leaves its columns in the first 16 of 32 vectors at
/// `block`. The 16 rows below are fetched meanwhile.
///
/// Four perfect shuffles of the 16 rows, each between the halves of all pairs, exchange the two indices.
@inline(never)
func loadTransposed(
    _ matrix: UnsafePointer<Float>, rowStride: Int, rows: Int, columns: Int, to block: UnsafeMutablePointer<Vector>
) {
    for row in 0..<Vector.lanes {
        block[row] = row < rows ? Vector(at: matrix + row * rowStride, count: columns) : .zero
        fetch(matrix + (Vector.lanes + row) * rowStride)
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
