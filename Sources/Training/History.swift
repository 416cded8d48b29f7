// What a run came to, epoch by epoch. It is part of a checkpoint, and says itself how far the run has come.

import FoundationEssentials
import PLPKernels

/// Loss and errors over a number of images.
public typealias Metrics = BatchMetrics

extension Metrics {
    /// The fraction of images whose label has the largest logit.
    public var accuracy: Double { Double(correct) / Double(count) }
    /// The fraction of images whose label does not have the largest logit.
    public var top1Error: Double { 1 - accuracy }
    /// The fraction of images whose label is not among the five largest logits.
    public var top5Error: Double { 1 - Double(correctTop5) / Double(count) }
}

/// A run so far. Epochs and iterations are counted from 0.
public struct History: Sendable, Equatable, Codable {
    public struct Epoch: Sendable, Equatable, Codable {
        public var number: Int
        /// Mini-batches trained on.
        public var iterations = 0
        /// How many of them ended in a prediction, that is, in parameters that a predictor replaced.
        public var predictions = 0
        /// The learning rate of its last iteration.
        public var learningRate = 0.0
        /// Time spent in training; validation and callbacks do not count.
        public var seconds = 0.0
        /// Over its mini-batches as they came: augmented, with dropout, and under parameters that changed meanwhile.
        public var training = Metrics()
        /// Of the model at its end, on the validation images.
        public var validation: Metrics?
        /// False for an epoch under way, or stopped in its middle.
        public var isComplete = false

        /// Images trained on in a second.
        public var imagesPerSecond: Double { seconds > 0 ? Double(training.count) / seconds : 0 }

        init(number: Int) { self.number = number }
    }

    /// The epochs in order; the last one may be incomplete.
    public package(set) var epochs: [Epoch] = []
    /// What the run is trained on and what chooses its best model, in words.
    public package(set) var data = ""
    /// The epoch at whose end the model was best: of the highest validation accuracy, the first of equals; without
    /// validation, the latest complete one. Nil before an epoch is complete.
    public package(set) var bestEpoch: Int?
    /// Of the best model on the test set, which is measured once, when the training is done, and chooses nothing.
    public package(set) var test: Metrics?
    /// Whether the latest `fit` was cut short: stopped by its callback, or by an error.
    public package(set) var isStopped = false

    /// Epochs that are complete.
    public var completeEpochs: Int { epochs.count - (epochs.last?.isComplete == false ? 1 : 0) }
}

extension History: CustomStringConvertible {
    /// A line for each epoch, and one for the best model on the test set.
    public var description: String {
        let judged = bestEpoch.map { "best epoch \($0)" } ?? "the model in training"
        let best = test.map { "\(judged): test \($0.inWords)" }
        return (epochs.map(\.description) + [best].compactMap(\.self)).joined(separator: "\n")
    }
}

extension History.Epoch: CustomStringConvertible {
    /// "epoch 3: loss 2.314, accuracy 41.2 %, validation loss 2.401, accuracy 39.9 %, 812 images/s"
    public var description: String {
        "epoch \(number): \(training.inWords)" + (validation.map { ", validation \($0.inWords)" } ?? "")
            + ", \(Int(min(imagesPerSecond, 1e9).rounded())) images/s"
    }
}

extension Metrics {
    fileprivate var inWords: String {
        "loss \((loss * 1000).rounded() / 1000), accuracy \((accuracy * 1000).rounded() / 10) %"
    }
}
