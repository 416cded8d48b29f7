// A linear prediction held against what came: passes over flat vectors, in which every layer's parameters are a range.

/// How far a layer's parameters were predicted to move and how far they moved, as squared lengths, and the product of
/// the two moves as vectors. Sums over layers are those of the layers together.
public struct Move: Sendable, Equatable {
    public var predicted: Float
    public var actual: Float
    public var product: Float

    public init(predicted: Float, actual: Float, product: Float) {
        self.predicted = predicted
        self.actual = actual
        self.product = product
    }

    /// The distance between where the parameters were predicted to be and where they came, in lengths of the actual
    /// move; NaN where there was none.
    public var error: Double {
        let square = Double(predicted) - 2 * Double(product) + Double(actual)
        return (max(square, 0) / Double(actual)).squareRoot()
    }

    /// The cosine of the angle between the two moves; NaN where one is zero.
    public var cosine: Double { Double(product) / (Double(predicted) * Double(actual)).squareRoot() }
}

public enum Moves {
    /// The layers in pieces, one for each part of a loop.
    public struct Pieces: Sendable {
        let all: [(layer: Int, range: Range<Int>)]
        let layers: Int

        public init(_ layers: [Range<Int>]) {
            self.layers = layers.count
            all = layers.enumerated().flatMap { layer, range in
                stride(from: range.lowerBound, to: range.upperBound, by: Cut.block).map {
                    (layer, $0..<min($0 + Cut.block, range.upperBound))
                }
            }
        }
    }

    /// The move from the midpoint m₂₃ of the latest two of three iterates to the prediction Σ cᵢ θᵢ, in the place of θ₁.
    ///
    /// Computed from differences between iterates, which float32 has exactly where they are small:
    /// c₁ (θ₁ − θ₂) + (c₃ − ½) (θ₃ − θ₂) + (Σ c − 1) θ₂.
    public static func predict(
        first: UnsafeMutablePointer<Float>, second: UnsafePointer<Float>, third: UnsafePointer<Float>,
        coefficients: SIMD3<Double>, _ pieces: Pieces, _ threads: Threads
    ) {
        let (a, b, c) = (Float(coefficients.x), Float(coefficients.z - 0.5), Float(coefficients.sum() - 1))
        threads.forEach(pieces.all.count) { index in
            forEachVector(in: pieces.all[index].range) { position, lanes in
                let middle = Vector(at: second + position, count: lanes)
                var move = (Vector(at: first + position, count: lanes) - middle) * Vector(repeating: a)
                move = move.adding(b, Vector(at: third + position, count: lanes) - middle)
                if c != 0 { move = move.adding(c, middle) }
                move.store(to: first + position, count: lanes)
            }
        }
    }

    /// Each layer's move as it was predicted, and the actual one, from m₂₃ to m₃₄, the midpoint of the latest iterate
    /// before the new one and that: (θ₄ − θ₂)/2.
    public static func compare(
        predicted: UnsafePointer<Float>, second: UnsafePointer<Float>, fourth: UnsafePointer<Float>, _ pieces: Pieces,
        _ threads: Threads
    ) -> [Move] {
        // Piece by piece and then in their order, so that the number of threads changes nothing.
        let sums = [SIMD4<Double>](unsafeUninitializedCapacity: pieces.all.count) { sums, count in
            let sums = sums.baseAddress!
            count = pieces.all.count
            threads.forEach(count) { index in
                var (squares, actualSquares, products) = (Vector(), Vector(), Vector())
                forEachVector(in: pieces.all[index].range) { position, lanes in
                    let move = Vector(at: predicted + position, count: lanes)
                    let actual =
                        (Vector(at: fourth + position, count: lanes) - Vector(at: second + position, count: lanes))
                        * Vector(repeating: 0.5)
                    squares.addProduct(move, move)
                    actualSquares.addProduct(actual, actual)
                    products.addProduct(move, actual)
                }
                sums.advanced(by: index).initialize(
                    to: SIMD4(Double(squares.sum()), Double(actualSquares.sum()), Double(products.sum()), 0))
            }
        }
        var layers = [SIMD4<Double>](repeating: .zero, count: pieces.layers)
        for (piece, sum) in zip(pieces.all, sums) { layers[piece.layer] += sum }
        return layers.map { Move(predicted: Float($0.x), actual: Float($0.y), product: Float($0.z)) }
    }

    /// A copy, on all threads.
    public static func copy(
        _ source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>, _ pieces: Pieces, _ threads: Threads
    ) {
        threads.forEach(pieces.all.count) { index in
            let range = pieces.all[index].range
            (target + range.lowerBound).update(from: source + range.lowerBound, count: range.count)
        }
    }
}
