// Softmax cross-entropy, its gradient, and how many labels were among the best guesses: one pass over the logits.
//
//     loss = log Σ exp(l) − l[label]        dl = (softmax(l) − onehot(label)) / images
//
// Exponentials are taken of l − max(l), which cannot overflow; sums are float64.

import Glibc

/// What a mini-batch, or many of them added up, came to.
public struct BatchMetrics: Sendable, Equatable, Codable {
    /// The images' losses, added up.
    public var lossSum: Double
    public var count: Int
    /// Images whose label has the largest logit.
    public var correct: Int
    /// Images whose label is among the five largest logits.
    public var correctTop5: Int

    public init(lossSum: Double = 0, count: Int = 0, correct: Int = 0, correctTop5: Int = 0) {
        (self.lossSum, self.count, self.correct, self.correctTop5) = (lossSum, count, correct, correctTop5)
    }

    /// The mean loss of an image.
    public var loss: Double { lossSum / Double(count) }

    public static func += (sum: inout Self, other: Self) {
        sum.lossSum += other.lossSum
        sum.count += other.count
        sum.correct += other.correct
        sum.correctTop5 += other.correctTop5
    }
}

public enum SoftmaxCrossEntropy {
    /// Evaluates `logits` [count][classes] against `labels`, which are below `classes`. `gradient` takes the gradient
    /// of the mean loss, and may be the memory of the logits.
    ///
    /// Of equal logits the lower class's ranks first. NaN ranks above all numbers and is never a correct guess.
    public static func evaluate(
        logits: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int, classes: Int,
        gradient: UnsafeMutablePointer<Float>? = nil
    ) -> BatchMetrics {
        var metrics = BatchMetrics(count: count)
        for image in 0..<count {
            let logits = logits + image * classes
            let label = Int(labels[image])
            let own = logits[label]
            var largest = -Float.infinity
            var rank = 0
            for value in 0..<classes {
                largest = max(largest, logits[value])
                if !(logits[value] < own || (logits[value] == own && value >= label)) { rank += 1 }
            }
            metrics.correct += rank < 1 ? 1 : 0
            metrics.correctTop5 += rank < min(5, classes) ? 1 : 0

            var sum = 0.0
            for value in 0..<classes {
                let exponential = expf(logits[value] - largest)
                gradient?[image * classes + value] = exponential
                sum += Double(exponential)
            }
            metrics.lossSum += log(sum) - Double(own - largest)

            guard let gradient = gradient.map({ $0 + image * classes }) else { continue }
            let scale = Float(1 / (sum * Double(count)))
            for value in 0..<classes { gradient[value] *= scale }
            gradient[label] -= 1 / Float(count)
        }
        return metrics
    }
}
