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
        if count >= Self.lanes {
            self.init(at: source)
        } else {
            self = .zero
            var done = 0
            if count >= 8 {
                lowHalf = UnsafeRawPointer(source).loadUnaligned(as: SIMD8<Float>.self)
                done = 8
            }
            while done < count {
                self[done] = source[done]
                done += 1
            }
        }
    }

    /// The first `count` of values that lie `stride` apart, zeros behind them.
    @inline(__always)
    init(at source: UnsafePointer<Float>, stride: Int, count: Int) {
        if stride == 1 {
            self.init(at: source, count: count)
        } else {
            self = .zero
            for lane in 0..<Swift.min(count, Self.lanes) { self[lane] = source[lane * stride] }
        }
    }

    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(target).storeBytes(of: self, as: Self.self)
    }

    /// Stores the first `count` values only.
    @inline(__always)
    func store(to target: UnsafeMutablePointer<Float>, count: Int) {
        if count >= Self.lanes {
            store(to: target)
        } else {
            var done = 0
            if count >= 8 {
                UnsafeMutableRawPointer(target).storeBytes(of: lowHalf, as: SIMD8<Float>.self)
                done = 8
            }
            while done < count {
                target[done] = self[done]
                done += 1
            }
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
