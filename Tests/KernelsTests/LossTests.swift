import Foundation
import PLPKernels
import Testing

struct LossTests {
    private let threads = Threads(2)

    /// The mean loss in float64.
    private func loss(_ logits: [Double], _ labels: [Int32], _ classes: Int) -> Double {
        labels.indices.reduce(0) { sum, image in
            let row = logits[image * classes..<(image + 1) * classes]
            let largest = row.max()!
            let own = row[image * classes + Int(labels[image])]
            return sum + log(row.reduce(0) { $0 + exp($1 - largest) }) + largest - own
        } / Double(labels.count)
    }

    @Test(arguments: [(1, 1), (3, 4), (7, 10), (32, 100)])
    func lossAndGradient(_ count: Int, _ classes: Int) {
        let logits = normals(count * classes, seed: 1, deviation: 4)
        let labels = (0..<count).map { Int32($0 * 7 % classes) }
        var gradient = [Float](repeating: .nan, count: logits.count)
        let metrics = SoftmaxCrossEntropy.evaluate(
            logits: logits, labels: labels, count: count, classes: classes, gradient: &gradient, threads: threads)
        let exact = logits.map(Double.init)
        #expect(abs(metrics.loss - loss(exact, labels, classes)) < 1e-6)
        let differences = exact.indices.map { index in
            var (above, below) = (exact, exact)
            above[index] += 1e-5
            below[index] -= 1e-5
            return (loss(above, labels, classes) - loss(below, labels, classes)) / 2e-5
        }
        #expect(zip(gradient, differences).allSatisfy { abs(Double($0) - $1) < 1e-6 })

        for image in 0..<count {
            let own = logits[image * classes + Int(labels[image])]
            let rank = logits[image * classes..<(image + 1) * classes].count { $0 > own }
            let single = SoftmaxCrossEntropy.evaluate(
                logits: Array(logits[(image * classes)...]), labels: [labels[image]], count: 1, classes: classes,
                threads: threads)
            #expect(single.correct == (rank < 1 ? 1 : 0))
            #expect(single.correctTop5 == (rank < 5 ? 1 : 0))
        }
    }

    @Test func largeLogitsDoNotOverflow() {
        let metrics = SoftmaxCrossEntropy.evaluate(
            logits: [1000, -1000], labels: [1], count: 1, classes: 2, threads: threads)
        #expect(metrics.lossSum == 2000)
    }

    @Test func tiesGoToTheLowerClass() {
        let zeros = [Float](repeating: 0, count: 8)
        let ranks = (0..<8).map {
            SoftmaxCrossEntropy.evaluate(logits: zeros, labels: [Int32($0)], count: 1, classes: 8, threads: threads)
        }
        #expect(ranks.map(\.correct) == [1, 0, 0, 0, 0, 0, 0, 0])
        #expect(ranks.map(\.correctTop5) == [1, 1, 1, 1, 1, 0, 0, 0])
    }

    @Test func notANumberIsNeverCorrectAndShowsInTheLoss() {
        for label in 0..<2 as Range<Int32> {
            let metrics = SoftmaxCrossEntropy.evaluate(
                logits: [.nan, 1], labels: [label], count: 1, classes: 2, threads: threads)
            #expect(metrics.lossSum.isNaN)
            #expect(metrics.correct == 0)
            #expect(metrics.correctTop5 == label)  // the number comes second
        }
    }

    @Test func metricsAddUp() {
        var sum = BatchMetrics()
        sum += BatchMetrics(lossSum: 3, count: 2, correct: 1, correctTop5: 2)
        sum += BatchMetrics(lossSum: 1, count: 2, correct: 0, correctTop5: 1)
        #expect(sum == BatchMetrics(lossSum: 4, count: 4, correct: 1, correctTop5: 3))
        #expect(sum.loss == 1)
    }
}
