// Small runs to test with: a ResNet18 of a few channels on some images of the synthetic set.

import PLPDatasets
import PLPKernels
import PLPNetworks
import PLPOptimization
import PLPTraining

enum Small {
    static func model(seed: UInt64 = 3) throws -> Model {
        try Model(ModelConfiguration(.resnet18, width: 0.03, seed: seed))
    }

    /// 8 mini-batches in an epoch without validation; 7, and 2 of validation images, with `.fraction(0.2)`.
    static func trainer(
        model: Model? = nil, optimizer: any Optimizer = SGD(learningRate: 0.05), schedule: Schedule = .cosine(),
        predictor: (any Predictor)? = nil, batchSize: Int = 8, seed: UInt64 = 1, threads: Int = 1
    ) throws -> Trainer {
        try Trainer(
            model ?? self.model(), optimizer: optimizer, schedule: schedule, predictor: predictor,
            batchSize: batchSize, seed: seed, threads: threads)
    }

    static let training = try! Dataset.synthetic(split: .train, count: 64, seed: 0)
    static let test = try! Dataset.synthetic(split: .test, count: 24, seed: 0)

    /// Pixels of the first images of a set, and their labels.
    static func images(_ count: Int) -> (pixels: [UInt8], labels: [Int32]) {
        (
            Array(UnsafeBufferPointer(start: training.images, count: count * ImageShape.cifar.values)),
            Array(training.labels.prefix(count))
        )
    }
}

/// The state of a trainer's run that has to be the same, to the last bit, where two runs are the same.
struct Snapshot: Equatable {
    var parameters: [Float]
    var statistics: [Float]
    var batchesTracked: [Int64]
    var best: [Float]
    var history: History

    init(_ trainer: Trainer) throws {
        parameters = trainer.model.parameters.array
        statistics = trainer.model.statistics.array
        batchesTracked = trainer.model.batchesTracked
        best = try trainer.bestModel().parameters.array
        history = trainer.history
        for epoch in history.epochs.indices { history.epochs[epoch].seconds = 0 }
    }
}
