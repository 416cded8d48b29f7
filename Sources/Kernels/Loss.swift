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
        gradient: UnsafeMutablePointer<Float>? = nil, threads: Threads
    ) -> BatchMetrics {
        var metrics = BatchMetrics(count: count)
        withUnsafeTemporaryAllocation(of: (loss: Double, rank: Int).self, capacity: count) { results in
            let group = Cut.size(of: count, atMost: Vector.lanes)
            threads.forEach(divideUp(count, by: group)) { index in
                for image in index * group..<min((index + 1) * group, count) {
                    results[image] = evaluate(
                        logits + image * classes, label: Int(labels[image]), classes: classes,
                        gradient: gradient.map { $0 + image * classes }, images: count)
                }
            }
            for (loss, rank) in results {
                metrics.lossSum += loss
                metrics.correct += rank < 1 ? 1 : 0
                metrics.correctTop5 += rank < min(5, classes) ? 1 : 0
            }
        }
        return metrics
    }

    /// One of `images` images: its loss, and how many classes rank before its label.
    private static func evaluate(
        _ logits: UnsafePointer<Float>, label: Int, classes: Int, gradient: UnsafeMutablePointer<Float>?, images: Int
    ) -> (loss: Double, rank: Int) {
        let own = logits[label]
        var largest = -Float.infinity
        var rank = 0
        for value in 0..<classes {
            largest = max(largest, logits[value])
            if !(logits[value] < own || (logits[value] == own && value >= label)) { rank += 1 }
        }
        var sum = 0.0
        for value in 0..<classes {
            let exponential = expf(logits[value] - largest)
            gradient?[value] = exponential
            sum += Double(exponential)
        }
        if let gradient {
            let scale = Float(1 / (sum * Double(images)))
            for value in 0..<classes { gradient[value] *= scale }
            gradient[label] -= 1 / Float(images)
        }
        return (log(sum) - Double(own - largest), rank)
    }
}
