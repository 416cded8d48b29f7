import PLPKernels
import PLPNetworks
import PLPOptimization
import PLPTestSupport
import Testing
import PLPTraining

@Suite struct StepTests {
    /// What a network takes for bytes, as planes: (byte / 255 − mean) / deviation.
    func normalized(_ pixels: [UInt8], _ configuration: ModelConfiguration) -> [Float] {
        pixels.enumerated().map { place, pixel in
            let channel = place / ImageShape.cifar.plane % 3
            return (Float(pixel) / 255 - configuration.mean[channel]) / configuration.deviation[channel]
        }
    }

    @Test func bytesAreNormalizedAndValuesTakenAsTheyAre() throws {
        let (pixels, labels) = Small.images(8)
        let (bytes, values) = (try Small.trainer(), try Small.trainer())
        for _ in 0..<4 {
            let loss = try pixels.withUnsafeBufferPointer { try bytes.step(.bytes($0), labels: labels) }
            let same = try normalized(pixels, bytes.model.configuration).withUnsafeBufferPointer {
                try values.step(.values($0), labels: labels)
            }
            #expect(loss == same && loss.count == 8)
        }
        #expect(try Snapshot(bytes) == Snapshot(values))
        #expect(bytes.stepper.iteration == 4)
    }

    @Test func gradientsLeaveTheModelAlone() throws {
        let (pixels, labels) = Small.images(5)
        let trainer = try Small.trainer()
        let before = try Snapshot(trainer)
        let metrics = try pixels.withUnsafeBufferPointer { try trainer.computeGradients(.bytes($0), labels: labels) }
        #expect(try Snapshot(trainer) == before)
        let gradients = trainer.gradients.array
        #expect(gradients.contains { $0 != 0 })
        let step = try pixels.withUnsafeBufferPointer { try trainer.step(.bytes($0), labels: labels) }
        #expect(step == metrics && trainer.gradients.array == gradients)
        let bias = trainer.model.entries.last { $0.kind == .parameter }!
        #expect(trainer.gradient(of: bias) == Array(gradients[bias.offset..<bias.offset + bias.count]))
    }

    @Test func refusesWhatMakesNoSense() throws {
        let (pixels, labels) = Small.images(8)
        let trainer = try Small.trainer(batchSize: 4)
        let before = try Snapshot(trainer)
        func step(_ pixels: ArraySlice<UInt8>, _ labels: [Int32]) throws {
            try pixels.withUnsafeBufferPointer { _ = try trainer.step(.bytes($0), labels: labels) }
        }
        let image = ImageShape.cifar.values
        expectFailure(.invalidArgument, "images: found 0 values") { try step([], []) }
        expectFailure(.invalidArgument, "images: found 100 values") { try step(pixels[..<100], [0]) }
        expectFailure(.invalidArgument, "images: found 8, expected", "1 to 4") { try step(pixels[...], labels) }
        expectFailure(.invalidArgument, "labels: found 1, expected 2") { try step(pixels[..<(2 * image)], [0]) }
        expectFailure(.invalidArgument, "label: found 100", "0 to 99") { try step(pixels[..<image], [100]) }
        expectFailure(.invalidArgument, "label: found -1") { try step(pixels[..<image], [-1]) }
        let larger = try Small.trainer(model: Model(ModelConfiguration(.resnet18, imageSize: 48, width: 0.03)))
        expectFailure(.invalidArgument, "images: found 3072 values, expected a multiple of 6912, 3 × 48 × 48") {
            try pixels[..<image].withUnsafeBufferPointer { _ = try larger.step(.bytes($0), labels: [0]) }
        }
        expectFailure(.notFinite, "loss: found nan, expected") {
            try [Float](repeating: .nan, count: image).withUnsafeBufferPointer {
                _ = try trainer.step(.values($0), labels: [0])
            }
        }
        #expect(try Snapshot(trainer) == before)
    }
}

@Suite struct EvaluatorTests {
    @Test func measuresWhatTheLogitsSay() throws {
        let model = try Small.model()
        let evaluator = try Evaluator(model, batchSize: 10, threads: 2)
        let logits = try evaluator.logits(
            .bytes(UnsafeBufferPointer(start: Small.test.images, count: Small.test.count * ImageShape.cifar.values)))
        #expect(logits.count == 24 * 100)
        let metrics = try evaluator.evaluate(Small.test)
        let expected = SoftmaxCrossEntropy.evaluate(
            logits: logits, labels: Small.test.labels, count: 24, classes: 100, threads: Threads(2))
        #expect(abs(metrics.loss - expected.loss) < 1e-12)
        #expect(metrics.correct == expected.correct && metrics.correctTop5 == expected.correctTop5)
        #expect(abs(metrics.accuracy + metrics.top1Error - 1) < 1e-15)
        #expect(metrics.top5Error <= metrics.top1Error)
    }

    @Test(arguments: [-1, 1025, Int.max]) func refusesAbsurdThreads(threads: Int) throws {
        let model = try Small.model()
        expectFailure(.invalidArgument, "threads: found \(threads), expected a whole number from 0 to 1024") {
            _ = try Evaluator(model, threads: threads)
        }
    }

    @Test func seesChangedParameters() throws {
        let model = try Small.model()
        let evaluator = try Evaluator(model)
        let before = try evaluator.evaluate(Small.test)
        model.parameters.copy(from: try Small.model(seed: 4).parameters)
        let after = try evaluator.evaluate(Small.test)
        #expect(before.loss != after.loss)
        #expect(try after == Evaluator(Small.model(seed: 4)).evaluate(Small.test))
    }
}
