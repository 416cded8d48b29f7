// Minimal filtering: the tiles that 3×3 convolutions with stride 1 are cut into, and their transforms.
//
// In one dimension a tile of outputs y of a tile of inputs x by a kernel w of three taps is
//
//     y = Aᵀ [(G w) ⊙ (Bᵀ x)],
//
// one multiplication for each point where the polynomials behind x and w are evaluated; in two dimensions the
// transforms act on columns and then on rows. Multiplications of many channels at one point are a matrix product. The
// gradients are the adjoint maps: with u = G w, v = Bᵀ x and the gradient m′ = A dy, it is du = Σ v ⊙ m′ and dw = Gᵀ
// du. (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
// Networks, arXiv 1509.09308.)

/// A linear map of a few vectors, written out so that the compiler keeps them in registers.
protocol LinearMap {
    static var inputs: Int { get }
    static var outputs: Int { get }
    static func apply(_ x: (_ index: Int) -> Vector, _ y: (_ index: Int, _ value: Vector) -> Void)
}

extension LinearMap {
    /// The map applied to the columns of a square, then to its rows. `scratch` holds inputs × outputs vectors. Where
    /// `columns` are given, all others are zero.
    @inline(__always)
    static func applyTwice(
        _ scratch: UnsafeMutablePointer<Vector>, columns: Range<Int>? = nil,
        _ x: (_ row: Int, _ column: Int) -> Vector, _ y: (_ row: Int, _ column: Int, _ value: Vector) -> Void
    ) {
        for column in 0..<inputs {
            if let columns, !columns.contains(column) {
                for row in 0..<outputs { scratch[row * inputs + column] = .zero }
            } else {
                apply({ x($0, column) }, { scratch[$0 * inputs + column] = $1 })
            }
        }
        for row in 0..<outputs {
            apply({ scratch[row * inputs + $0] }, { y(row, $0, $1) })
        }
    }
}

/// A tile in one dimension, and its transforms.
protocol WinogradTile {
    /// Bᵀ, from a tile of inputs to its points.
    associatedtype Input: LinearMap
    /// G, from three taps to the points of the weights.
    associatedtype Weights: LinearMap
    /// Aᵀ, from points to a tile of outputs.
    associatedtype Output: LinearMap
    /// Inputs from the start of a tile to the start of the next.
    static var sourceSpacing: Int { get }
    /// Where the first tile's inputs start, relative to the map, for a convolution with this padding.
    static func origin(padding: Int) -> Int
    /// Which point of the weights belongs to a point of the input: there may be fewer.
    static func weightPoint(of point: Int) -> Int
}

/// A tile that serves the weight gradient too.
protocol WinogradGradientTile: WinogradTile {
    /// A, from a tile of the outputs' gradient to points.
    associatedtype OutputGradient: LinearMap
    /// Gᵀ, from points to the gradient of three taps.
    associatedtype WeightGradient: LinearMap
}

extension WinogradTile {
    static var sourceSpacing: Int { Output.outputs }
    @inline(__always) static func weightPoint(of point: Int) -> Int { point }

    // In two dimensions.
    static var points: Int { Input.outputs * Input.outputs }
    static var weightPoints: Int { Weights.outputs * Weights.outputs }

    /// Floats of a tile at all points, of both factors or of a factor and a product.
    static func floatsPerTile(_ inputs: Int, _ outputs: Int) -> Int { points * (inputs + outputs) }

    /// Tiles that fit the L2 cache beside U, or dU, of so many channels; nil where there is hardly room for any: U then
    /// comes from further away, whatever the tiles are.
    static func tilesBesideWeights(_ inputs: Int, _ outputs: Int) -> Int? {
        let tiles = (Cut.cache - weightPoints * inputs * outputs) / floatsPerTile(inputs, outputs)
        return tiles >= 16 ? tiles : nil
    }

    @inline(__always)
    static func weightPoint(ofSquare point: Int) -> Int {
        let (row, column) = point.quotientAndRemainder(dividingBy: Input.outputs)
        return weightPoint(of: row) * Weights.outputs + weightPoint(of: column)
    }

    /// What a tap of the weights counts at a point.
    @inline(__always)
    static func weight(of tap: Int, at point: Int) -> Float {
        var weight: Float = 0
        Weights.apply({ $0 == tap ? Vector(repeating: 1) : .zero }, { if $0 == point { weight = $1[0] } })
        return weight
    }

    /// Whether no point before it belongs to the same point of the weights: those that share one follow each other.
    @inline(__always)
    static func isFirstOfWeightPoint(square point: Int) -> Bool {
        func isFirst(_ point: Int) -> Bool { point == 0 || weightPoint(of: point) != weightPoint(of: point - 1) }
        let (row, column) = point.quotientAndRemainder(dividingBy: Input.outputs)
        return isFirst(row) && isFirst(column)
    }
}

/// F(4, 3): four outputs from six inputs with 6 instead of 12 multiplications; a square takes 36 instead of 144.
///
/// The points are 0, ±¾, ±1½ and ∞. With the usual 0, ±1, ±2, ∞ the largest errors are 3.5 times as large and the mean
/// square ones twice: what counts is how far the powers of the points are from 1.
enum FourOutputs: WinogradGradientTile {
    static func origin(padding: Int) -> Int { -padding }

    // The points a and b, the squares, and the constants of the polynomial t (t² − a²)(t² − b²).
    private static var a: Float { 0.75 }
    private static var b: Float { 1.5 }
    private static var a2: Float { a * a }
    private static var b2: Float { b * b }

    enum Input: LinearMap {
        static var inputs: Int { 6 }
        static var outputs: Int { 6 }

        @inline(__always)
        static func apply(_ x: (Int) -> Vector, _ v: (Int, Vector) -> Void) {
            let (x0, x1, x2, x3, x4, x5) = (x(0), x(1), x(2), x(3), x(4), x(5))
            v(0, x4.adding(-(a2 + b2), x2).adding(a2 * b2, x0))
            let (evenA, oddA) = (x4.adding(-b2, x2), x3.adding(-b2, x1))
            v(1, evenA.adding(a, oddA))
            v(2, evenA.adding(-a, oddA))
            let (evenB, oddB) = (x4.adding(-a2, x2), x3.adding(-a2, x1))
            v(3, evenB.adding(b, oddB))
            v(4, evenB.adding(-b, oddB))
            v(5, x5.adding(-(a2 + b2), x3).adding(a2 * b2, x1))
        }
    }

    enum Output: LinearMap {
        static var inputs: Int { 6 }
        static var outputs: Int { 4 }

        @inline(__always)
        static func apply(_ m: (Int) -> Vector, _ y: (Int, Vector) -> Void) {
            let (m1, m2, m3, m4) = (m(1), m(2), m(3), m(4))
            let (evenA, oddA, evenB, oddB) = (m1 + m2, m1 - m2, m3 + m4, m3 - m4)
            y(0, m(0) + evenA + evenB)
            y(1, (b * oddB).adding(a, oddA))
            y(2, (b2 * evenB).adding(a2, evenA))
            y(3, m(5).adding(a2 * a, oddA).adding(b2 * b, oddB))
        }
    }

    enum OutputGradient: LinearMap {
        static var inputs: Int { 4 }
        static var outputs: Int { 6 }

        @inline(__always)
        static func apply(_ y: (Int) -> Vector, _ m: (Int, Vector) -> Void) {
            let (y0, y1, y2, y3) = (y(0), y(1), y(2), y(3))
            m(0, y0)
            let (evenA, oddA) = (y0.adding(a2, y2), y1.adding(a2, y3))
            m(1, evenA.adding(a, oddA))
            m(2, evenA.adding(-a, oddA))
            let (evenB, oddB) = (y0.adding(b2, y2), y1.adding(b2, y3))
            m(3, evenB.adding(b, oddB))
            m(4, evenB.adding(-b, oddB))
            m(5, y3)
        }
    }

    // The derivatives of the polynomial at 0, at ±a and at ±b, inverted.
    private static var g0: Float { 1 / (a2 * b2) }
    private static var gA: Float { 1 / (2 * a2 * (a2 - b2)) }
    private static var gB: Float { 1 / (2 * b2 * (b2 - a2)) }

    enum Weights: LinearMap {
        static var inputs: Int { 3 }
        static var outputs: Int { 6 }

        @inline(__always)
        static func apply(_ w: (Int) -> Vector, _ u: (Int, Vector) -> Void) {
            let (w0, w1, w2) = (w(0), w(1), w(2))
            u(0, g0 * w0)
            let evenA = (gA * w0).adding(gA * a2, w2)
            u(1, evenA.adding(gA * a, w1))
            u(2, evenA.adding(-gA * a, w1))
            let evenB = (gB * w0).adding(gB * b2, w2)
            u(3, evenB.adding(gB * b, w1))
            u(4, evenB.adding(-gB * b, w1))
            u(5, w2)
        }
    }

    enum WeightGradient: LinearMap {
        static var inputs: Int { 6 }
        static var outputs: Int { 3 }

        @inline(__always)
        static func apply(_ u: (Int) -> Vector, _ w: (Int, Vector) -> Void) {
            let (u1, u2, u3, u4) = (u(1), u(2), u(3), u(4))
            let (evenA, evenB) = (u1 + u2, u3 + u4)
            w(0, (g0 * u(0)).adding(gA, evenA).adding(gB, evenB))
            w(1, (gA * a * (u1 - u2)).adding(gB * b, u3 - u4))
            w(2, u(5).adding(gA * a2, evenA).adding(gB * b2, evenB))
        }
    }
}

/// A whole map of two pixels with one of padding: of its inputs two are known to be zero, and
///
///     y₀ = w₁x₀ + w₂x₁ = w₁(x₀ + x₁) + (w₂ − w₁)x₁
///     y₁ = w₀x₀ + w₁x₁ = w₁(x₀ + x₁) + (w₀ − w₁)x₀
///
/// takes 3 multiplications, where F(4, 3) takes 6 and F(2, 3) takes 4; a square takes 9.
enum TwoPixelMap: WinogradGradientTile {
    static func origin(padding: Int) -> Int { 0 }

    enum Input: LinearMap {
        static var inputs: Int { 2 }
        static var outputs: Int { 3 }

        @inline(__always)
        static func apply(_ x: (Int) -> Vector, _ v: (Int, Vector) -> Void) {
            let (x0, x1) = (x(0), x(1))
            v(0, x0 + x1)
            v(1, x1)
            v(2, x0)
        }
    }

    enum Output: LinearMap {
        static var inputs: Int { 3 }
        static var outputs: Int { 2 }

        @inline(__always)
        static func apply(_ m: (Int) -> Vector, _ y: (Int, Vector) -> Void) {
            let m0 = m(0)
            y(0, m0 + m(1))
            y(1, m0 + m(2))
        }
    }

    enum OutputGradient: LinearMap {
        static var inputs: Int { 2 }
        static var outputs: Int { 3 }

        @inline(__always)
        static func apply(_ y: (Int) -> Vector, _ m: (Int, Vector) -> Void) {
            let (y0, y1) = (y(0), y(1))
            m(0, y0 + y1)
            m(1, y0)
            m(2, y1)
        }
    }

    enum Weights: LinearMap {
        static var inputs: Int { 3 }
        static var outputs: Int { 3 }

        @inline(__always)
        static func apply(_ w: (Int) -> Vector, _ u: (Int, Vector) -> Void) {
            let w1 = w(1)
            u(0, w1)
            u(1, w(2) - w1)
            u(2, w(0) - w1)
        }
    }

    enum WeightGradient: LinearMap {
        static var inputs: Int { 3 }
        static var outputs: Int { 3 }

        @inline(__always)
        static func apply(_ u: (Int) -> Vector, _ w: (Int, Vector) -> Void) {
            let (u1, u2) = (u(1), u(2))
            w(0, u2)
            w(1, u(0) - u1 - u2)
            w(2, u1)
        }
    }
}
