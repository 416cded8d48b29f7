// What a program needs that imports PLPTraining alone: a predictor of its own, images as arrays, a look at the parameters.

import PLPTraining
import Testing

/// Every so many iterations, half the way back to where the last such iteration ended.
private struct HalfWayBack: Predictor {
    var period = 2
    var remembersStart: Bool { true }

    func action(after iteration: Int) -> PredictionAction? {
        (iteration + 1) % period == 0 ? PredictionAction(memory: (0.5, 0.5), parameters: (0, 1)) : nil
    }

    func validate() throws(Failure) {
        if period < 1 { throw Failure(.invalidArgument, "period: found \(period), expected 1 or more") }
    }
}

@Suite struct ImportTests {
    @Test func aPredictorOfOnesOwn() throws {
        let images = (0..<4 * 3 * 16 * 16).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 768) }
        let set = try Dataset(images: images, imageSize: 16, labels: [0, 1, 0, 1])
        let model = try Model(ModelConfiguration(.resnet18, classes: 2, imageSize: 16, width: 0.03))
        let trainer = try Trainer(model, predictor: HalfWayBack(), batchSize: 2)
        let loss: BatchMetrics = try trainer.step(Array(images.prefix(2 * 768)), labels: [0, 1])
        #expect(loss.count == 2)
        let history = try trainer.fit(set, epochs: 2)
        #expect(history.epochs.map(\.predictions).reduce(0, +) == 2)
        #expect(try Evaluator(model).logits(images).count == 8)
        let parameters: FloatBuffer = model.parameters
        #expect(parameters.array.allSatisfy { $0.isFinite })
        #expect(throws: Failure.self) { try Trainer(model, predictor: HalfWayBack(period: 0)) }
    }
}
