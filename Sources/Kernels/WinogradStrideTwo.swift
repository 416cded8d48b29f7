// Tiles for 3×3 convolutions with stride 2 and one pixel of padding. The even inputs e and the odd ones o, which start
// left of the map, are convolved separately,
//
//     yᵢ = (w₀oᵢ + w₂oᵢ₊₁) + w₁eᵢ,
//
// the odd ones by F(4, 2), with 5 instead of 8 multiplications, the even ones as they are: 9 instead of 12 for four
// outputs, 81 instead of 144 for a square. The four products with w₁ share their weights, so that 9 × 9 points have 6 ×
// 6 matrices of weights.

/// Four outputs of two taps from five inputs at the points 0, ±¾, 1½ and ∞.
private enum FourOutputsOfTwoTaps {
    static var a: Float { 0.75 }
    static var b: Float { 1.5 }
    static var a2: Float { a * a }
    static var b2: Float { b * b }
    static var points: Int { 5 }

    // The derivatives of the polynomial t (t² − a²)(t − b) at its zeros, inverted.
    static var g0: Float { 1 / (a2 * b) }
    static var gPlus: Float { 1 / (2 * a2 * (a - b)) }
    static var gMinus: Float { -1 / (2 * a2 * (a + b)) }
    static var gB: Float { 1 / (b * (b2 - a2)) }

    @inline(__always)
    static func input(_ d: (Int) -> Vector, _ v: (Int, Vector) -> Void) {
        let (d0, d1, d2, d3, d4) = (d(0), d(1), d(2), d(3), d(4))
        let (q0, q1, q2) = (d2.adding(-a2, d0), d3.adding(-a2, d1), d4.adding(-a2, d2))
        let (r0, r1) = (d2.adding(-b, d1), d3.adding(-b, d2))
        v(0, q1.adding(-b, q0))
        v(1, r1.adding(a, r0))
        v(2, r1.adding(-a, r0))
        v(3, q1)
        v(4, q2.adding(-b, q1))
    }

    @inline(__always)
    static func output(_ m: (Int) -> Vector, _ y: (Int, Vector) -> Void) {
        let (m1, m2, m3) = (m(1), m(2), m(3))
        let (even, odd) = (m1 + m2, m1 - m2)
        y(0, m(0) + even + m3)
        y(1, (b * m3).adding(a, odd))
        y(2, (b2 * m3).adding(a2, even))
        y(3, m(4).adding(a2 * a, odd).adding(b2 * b, m3))
    }
}

/// The weights of both directions: five points of the outer taps, and the middle tap.
enum StrideTwoWeights: LinearMap {
    private typealias Core = FourOutputsOfTwoTaps
    static var inputs: Int { 3 }
    static var outputs: Int { 6 }

    @inline(__always)
    static func apply(_ w: (Int) -> Vector, _ u: (Int, Vector) -> Void) {
        let (w0, w2) = (w(0), w(2))
        u(0, Core.g0 * w0)
        u(1, (Core.gPlus * w0).adding(Core.gPlus * Core.a, w2))
        u(2, (Core.gMinus * w0).adding(-Core.gMinus * Core.a, w2))
        u(3, (Core.gB * w0).adding(Core.gB * Core.b, w2))
        u(4, w2)
        u(5, w(1))
    }
}

/// Four outputs from nine inputs.
enum StrideTwo: WinogradGradientTile {
    private typealias Core = FourOutputsOfTwoTaps
    typealias Weights = StrideTwoWeights
    static var sourceSpacing: Int { 8 }
    static func origin(padding: Int) -> Int { -1 }
    @inline(__always) static func weightPoint(of point: Int) -> Int { min(point, Core.points) }

    enum Input: LinearMap {
        static var inputs: Int { 9 }
        static var outputs: Int { 9 }

        @inline(__always)
        static func apply(_ x: (Int) -> Vector, _ v: (Int, Vector) -> Void) {
            Core.input({ x(2 * $0) }, v)
            for index in 0..<4 { v(Core.points + index, x(2 * index + 1)) }
        }
    }

    enum Output: LinearMap {
        static var inputs: Int { 9 }
        static var outputs: Int { 4 }

        @inline(__always)
        static func apply(_ m: (Int) -> Vector, _ y: (Int, Vector) -> Void) {
            Core.output(m) { y($0, $1 + m(Core.points + $0)) }
        }
    }

    enum OutputGradient: LinearMap {
        static var inputs: Int { 4 }
        static var outputs: Int { 9 }

        @inline(__always)
        static func apply(_ y: (Int) -> Vector, _ m: (Int, Vector) -> Void) {
            let (y0, y1, y2, y3) = (y(0), y(1), y(2), y(3))
            let (even, odd) = (y0.adding(Core.a2, y2), y1.adding(Core.a2, y3))
            m(0, y0)
            m(1, even.adding(Core.a, odd))
            m(2, even.adding(-Core.a, odd))
            m(3, y0.adding(Core.b, y1.adding(Core.b, y2.adding(Core.b, y3))))
            m(4, y3)
            for index in 0..<4 { m(Core.points + index, y(index)) }
        }
    }

    enum WeightGradient: LinearMap {
        static var inputs: Int { 6 }
        static var outputs: Int { 3 }

        @inline(__always)
        static func apply(_ u: (Int) -> Vector, _ w: (Int, Vector) -> Void) {
            let (plus, minus, b) = (Core.gPlus * u(1), Core.gMinus * u(2), Core.gB * u(3))
            w(0, (plus + minus + b).adding(Core.g0, u(0)))
            w(1, u(5))
            w(2, u(4).adding(Core.a, plus - minus).adding(Core.b, b))
        }
    }
}

/// The input gradient: with the kernel turned around, eight outputs from five inputs by the same points,
///
///     dx₂ᵢ = w₁dyᵢ,  dx₂ᵢ₊₁ = w₀dyᵢ + w₂dyᵢ₊₁.
enum StrideTwoGradient: WinogradTile {
    private typealias Core = FourOutputsOfTwoTaps
    typealias Weights = StrideTwoWeights
    static var sourceSpacing: Int { 4 }
    static func origin(padding: Int) -> Int { 0 }
    @inline(__always) static func weightPoint(of point: Int) -> Int { min(point, Core.points) }

    enum Input: LinearMap {
        static var inputs: Int { 5 }
        static var outputs: Int { 9 }

        @inline(__always)
        static func apply(_ x: (Int) -> Vector, _ v: (Int, Vector) -> Void) {
            Core.input(x, v)
            for index in 0..<4 { v(Core.points + index, x(index)) }
        }
    }

    enum Output: LinearMap {
        static var inputs: Int { 9 }
        static var outputs: Int { 8 }

        @inline(__always)
        static func apply(_ m: (Int) -> Vector, _ y: (Int, Vector) -> Void) {
            for index in 0..<4 { y(2 * index, m(Core.points + index)) }
            Core.output(m) { y(2 * $0 + 1, $1) }
        }
    }
}
