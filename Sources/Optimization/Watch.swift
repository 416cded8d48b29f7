// A prediction that is made and not used, held against what came: whether parameters move as a line says.

import PLPBase
import PLPKernels

/// Watches a run without taking part in it: how far from PLP's prediction the parameters came.
///
/// A cycle of PLP's predicts from its three iterates where the next midpoint will be: from the midpoint m₂₃ it goes to
/// θ′, and the parameters to m₃₄ = (θ₃ + θ₄)/2, θ₄ being the iterate after the cycle's. Recorded are both moves of each
/// layer. What is to be expected of their cosine without any law of movement is (1 + μ)/2 at SGD's momentum μ where
/// nothing is predicted, since neighbouring midpoints share a step and momentum joins the rest; `docs/method.md`
/// derives it.
public struct Watch: Sendable, Equatable, Encodable {
    /// The rule whose predictions are watched: one of three coefficients.
    public var rule: PLP
    /// Of each layer, how many parameters' values are recorded at every iteration; evenly spread over the layer.
    public var samples: Int

    public init(_ rule: PLP = PLP(), samples: Int = 1) {
        self.rule = rule
        self.samples = samples
    }

    package func validate() throws(Failure) {
        try rule.validate()
        try require("watched PLP's coefficients", rule.coefficients.count, in: 3...3)
        try require("samples", samples, in: 0...1000)
    }

    /// Where in its cycle an iteration is: 0, 1 and 2 at those that a prediction is made from, nil at others.
    fileprivate func place(of iteration: Int) -> Int? {
        guard iteration >= rule.start, iteration < rule.end ?? .max else { return nil }
        let place = (iteration - rule.start) % rule.period - (rule.period - 3)
        return place >= 0 ? place : nil
    }
}

extension Watch {
    /// How many predictions could be compared after a number of iterations.
    package func cycles(after iterations: Int) -> Int {
        max(min(rule.end ?? .max, iterations - 1) - rule.start, 0) / rule.period
    }

    /// The iteration, counted from 0, that a cycle's prediction is made after.
    public func iteration(ofCycle cycle: Int) -> Int { rule.start + (cycle + 1) * rule.period - 1 }
}

/// What a ``Watch`` has seen.
public struct Watched: Sendable, Equatable {
    /// Of each cycle that is complete and compared, the move of each layer, in the order of the model's parameters.
    public package(set) var moves: [Move] = []
    /// After each iteration, the samples of each layer.
    public package(set) var trajectories: [Float] = []

    init() {}

    /// From what ``records`` gave.
    package init(records: [[Float]]) {
        moves = stride(from: 0, to: records[0].count, by: 3).map { place in
            let record = records[0][place..<place + 3]
            return Move(predicted: record[place], actual: record[place + 1], product: record[place + 2])
        }
        trajectories = records[1]
    }

    /// All of it as numbers: of moves three each.
    package var records: [[Float]] { [moves.flatMap { [$0.predicted, $0.actual, $0.product] }, trajectories] }
}

/// A watch at work on one vector.
package final class Watching {
    package let watch: Watch
    package let layers: [Range<Int>]
    package private(set) var watched = Watched()
    /// θ₁ of a cycle and, once it is complete, the move that it predicts.
    package let first: FloatBuffer
    /// θ₂.
    package let second: FloatBuffer
    private let pieces: Moves.Pieces
    private let threads: Threads

    package init(_ watch: Watch, layers: [Range<Int>], count: Int, threads: Threads) throws(Failure) {
        try watch.validate()
        try Memory.require(floats: 2 * count, for: "watching the parameters")
        self.watch = watch
        self.layers = layers
        self.threads = threads
        first = try FloatBuffer(count: count)
        second = try FloatBuffer(count: count)
        pieces = Moves.Pieces(layers)
    }

    /// Takes note of the parameters as an iteration, counted from 0, left them.
    package func look(at parameters: UnsafePointer<Float>, after iteration: Int) {
        if watch.cycles(after: iteration + 1) > watch.cycles(after: iteration) {
            watched.moves += Moves.compare(
                predicted: first.pointer, second: second.pointer, fourth: parameters, pieces, threads)
        }
        switch watch.place(of: iteration) {
        case 0: Moves.copy(parameters, to: first.pointer, pieces, threads)
        case 1: Moves.copy(parameters, to: second.pointer, pieces, threads)
        case 2:
            let coefficients = watch.rule.coefficients
            Moves.predict(
                first: first.pointer, second: second.pointer, third: parameters,
                coefficients: SIMD3(coefficients[0], coefficients[1], coefficients[2]), pieces, threads)
        default: break
        }
        for layer in layers {
            for sample in 0..<watch.samples {
                let place = (2 * sample + 1) * layer.count / (2 * watch.samples)
                watched.trajectories.append(parameters[layer.lowerBound + place])
            }
        }
    }

    /// Goes on from what was seen; the vectors are set by themselves.
    package func restore(_ watched: Watched) { self.watched = watched }
}
