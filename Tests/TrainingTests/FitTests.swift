import PLPBase
import PLPDatasets
import PLPKernels
import PLPNetworks
import PLPOptimization
import PLPTestSupport
import Testing
import PLPTraining

@Suite struct FitTests {
    @Test func recordsWhatHappens() throws {
        let trainer = try Small.trainer(predictor: PLP())
        let history = try trainer.fit(Small.training, validation: .fraction(0.2), test: Small.test, epochs: 3)
        #expect(history == trainer.history)
        #expect(history.epochs.map(\.number) == [0, 1, 2])
        #expect(history.epochs.allSatisfy { $0.isComplete && $0.iterations == 7 && $0.training.count == 51 })
        #expect(history.epochs.map(\.predictions) == [2, 2, 3])
        #expect(history.epochs.allSatisfy { $0.validation?.count == 13 && $0.seconds > 0 && $0.imagesPerSecond > 0 })
        #expect(history.data == "\(Small.training.name), 64 images, 13 of them for validation")
        #expect(!history.isStopped)
        // The last of 21 iterations of a cosine.
        let schedule = Schedule.cosine().factor(at: RunPosition(iteration: 20, total: 21, perEpoch: 7))
        #expect(history.epochs[2].learningRate == 0.05 * schedule)

        let accuracies = history.epochs.map { $0.validation!.accuracy }
        #expect(history.bestEpoch == accuracies.firstIndex(of: accuracies.max()!))
        #expect(try history.test == Evaluator(trainer.bestModel()).evaluate(Small.test))

        let lines = history.description.split(separator: "\n")
        #expect(lines.count == 4)
        let line = #/epoch 1: loss [\d.]+, accuracy [\d.]+ %, validation loss .+ %, \d+ images/s/#
        #expect(lines[1].wholeMatch(of: line) != nil)
        #expect(lines[3].hasPrefix("best epoch \(history.bestEpoch!): test loss "))
    }

    @Test func withoutValidationTheLatestModelCounts() throws {
        let trainer = try Small.trainer()
        let history = try trainer.fit(Small.training, test: Small.test, epochs: 2)
        #expect(history.bestEpoch == 1)
        #expect(history.epochs.allSatisfy { $0.validation == nil && $0.training.count == 64 })
        #expect(try history.test == trainer.evaluate(Small.test))
        #expect(try trainer.bestModel().parameters.array == trainer.model.parameters.array)
    }

    @Test func validatesOnASetOfItsOwn() throws {
        let history = try Small.trainer().fit(Small.training, validation: .dataset(Small.test), epochs: 1)
        #expect(history.epochs[0].training.count == 64 && history.epochs[0].validation?.count == 24)
    }

    @Test func reportsEachIteration() throws {
        var seen: [String] = []
        var finished: [History.Epoch] = []
        let trainer = try Small.trainer(predictor: PLP(), batchSize: 16)
        let history = try trainer.fit(
            Small.training, validation: .dataset(Small.test), test: Small.test, epochs: 2
        ) { progress in
            #expect(progress.epochs == 2)
            #expect(progress.running.count >= progress.batch.count)
            seen.append("\(progress.phase) \(progress.epoch) \(progress.iteration)/\(progress.iterations)")
            if progress.predicted { seen.append("predicted") }
            if let epoch = progress.finished { finished.append(epoch) }
            return .proceed
        }
        #expect(
            seen == [
                "training 0 0/4", "training 0 1/4", "training 0 2/4", "predicted", "training 0 3/4", "validation 0 0/1",
                "epochEnd 0 3/4", "training 1 0/4", "training 1 1/4", "predicted", "training 1 2/4", "training 1 3/4",
                "validation 1 0/1", "epochEnd 1 3/4", "test 1 0/1",
            ])
        #expect(finished == history.epochs)
    }

    /// Stopped at each kind of iteration and called again, a run ends as one that nothing stopped.
    @Test func goesOnWhereItWasStopped() throws {
        let whole = try Small.trainer(predictor: PLP())
        try whole.fit(Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2)

        let stops: [(Trainer.Progress.Phase, epoch: Int, iteration: Int)] = [
            (.training, 0, 3), (.training, 0, 6), (.validation, 0, 0), (.epochEnd, 0, 6), (.training, 1, 0),
            (.validation, 1, 0), (.test, 1, 0),
        ]
        let trainer = try Small.trainer(predictor: PLP())
        for stop in stops {
            let history = try trainer.fit(Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2) {
                ($0.phase, $0.epoch, $0.iteration) == (stop.0, stop.epoch, stop.iteration) ? .stop : .proceed
            }
            #expect(history.isStopped && history.test == nil)
            #expect(history.epochs.count == stop.epoch + 1)
            if stop.0 == .training { #expect(history.epochs.last?.iterations == stop.iteration + 1) }
        }
        try trainer.fit(Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2)
        #expect(try Snapshot(trainer) == Snapshot(whole))
    }

    /// Finished at each kind of iteration a run trains no further, validates an epoch that is trained to its end, and
    /// measures the best model. Called again, it goes on as one that nothing ended.
    @Test(
        arguments: [
            (.training, 0, 3, complete: 0), (.training, 0, 6, complete: 1), (.validation, 0, 0, complete: 1),
            (.epochEnd, 0, 6, complete: 1), (.training, 1, 2, complete: 1), (.test, 1, 0, complete: 2),
        ] as [(Trainer.Progress.Phase, epoch: Int, iteration: Int, complete: Int)])
    func finishesEarly(phase: Trainer.Progress.Phase, epoch: Int, iteration: Int, complete: Int) throws {
        func fit(_ trainer: Trainer, _ onProgress: (Trainer.Progress) -> Trainer.Progress.Reply) throws -> History {
            try trainer.fit(
                Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2, onProgress: onProgress)
        }
        let trainer = try Small.trainer(predictor: PLP())
        var isAsked = false
        let history = try fit(trainer) {
            #expect(!isAsked || $0.phase != .training)
            guard ($0.phase, $0.epoch, $0.iteration) == (phase, epoch, iteration) else { return .proceed }
            isAsked = true
            return .finish
        }
        #expect(isAsked && !history.isStopped && history.completeEpochs == complete)
        #expect(history.epochs.prefix(complete).allSatisfy { $0.validation != nil })
        #expect(history.test == (try Evaluator(trainer.bestModel()).evaluate(Small.test)))

        let whole = try Small.trainer(predictor: PLP())
        _ = try fit(whole) { _ in .proceed }
        _ = try fit(trainer) { _ in .proceed }
        #expect(try Snapshot(trainer) == Snapshot(whole))
    }

    @Test func trainsMoreEpochsOnRequest() throws {
        let (once, twice) = (try Small.trainer(schedule: .constant), try Small.trainer(schedule: .constant))
        try once.fit(Small.training, epochs: 3)
        try twice.fit(Small.training, epochs: 1)
        try twice.fit(Small.training, epochs: 3)
        #expect(try Snapshot(once) == Snapshot(twice))
    }

    /// With a learning rate of zero nothing tells two methods apart but the images and dropout they draw.
    @Test func methodsOfOneSeedSeeTheSameStartAndBatches() throws {
        func losses(_ predictor: (any Predictor)?, seed: UInt64 = 1) throws -> [Double] {
            let model = try Model(ModelConfiguration(.googlenet, width: 0.03, seed: 3))
            let trainer = try Small.trainer(
                model: model, optimizer: SGD(learningRate: 0), predictor: predictor, seed: seed)
            var losses: [Double] = []
            try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 2) {
                if $0.phase == .training { losses.append($0.batch.loss) }
                return .proceed
            }
            return losses
        }
        let plain = try losses(nil)
        #expect(plain.count == 14)
        #expect(try losses(PLP()) == plain)
        #expect(try losses(EMA()) == plain)
        #expect(try losses(nil, seed: 2) != plain)
    }

    @Test func threadsChangeNothing() throws {
        let (one, three) = (try Small.trainer(predictor: PLP()), try Small.trainer(predictor: PLP(), threads: 3))
        for trainer in [one, three] { try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 1) }
        #expect(try Snapshot(one) == Snapshot(three))
    }

    @Test func predictsFromTheIteratesOfTheSameRunWithoutPrediction() throws {
        var iterates: [[Float]] = []
        let plain = try Small.trainer()
        try plain.fit(Small.training, epochs: 1) { _ in
            iterates.append(plain.model.parameters.array)
            return .proceed
        }
        let trainer = try Small.trainer(predictor: PLP())
        try trainer.fit(Small.training, epochs: 1) { $0.iteration == 2 ? .stop : .proceed }
        #expect(trainer.model.parameters.array == (try predict(iterates[0], iterates[1], iterates[2])))
    }

    @Test func evaluatesAndKeepsTheAverage() throws {
        let trainer = try Small.trainer(predictor: EMA(decay: 0.8, warmup: false, statistics: .kept))
        var average = trainer.model.parameters.array
        try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 1) {
            guard $0.phase == .training else { return .proceed }
            for (index, value) in trainer.model.parameters.values.enumerated() {
                average[index] = 0.8 * average[index] + 0.2 * value
            }
            return .proceed
        }
        let best = try trainer.bestModel()
        #expect(zip(best.parameters.values, average).allSatisfy { abs($0 - $1) < 1e-5 })
        #expect(best.statistics.array == trainer.model.statistics.array)
        #expect(try trainer.evaluate(Small.test) == Evaluator(best).evaluate(Small.test))
    }

    /// As the parameters do: what they had before the first mini-batch is remembered.
    @Test func runningStatisticsGoThePartOfTheWayThatParametersGo() throws {
        let predictor = Lookahead(period: 1, rate: 0.5, statistics: .predicted)
        let (plain, trainer) = (try Small.trainer(), try Small.trainer(predictor: predictor))
        let start = plain.model.statistics.array
        for trainer in [plain, trainer] { try trainer.fit(Small.training, epochs: 1) { _ in .stop } }
        let expected = zip(start, plain.model.statistics.array).map { ($0 + $1) / 2 }
        #expect(zip(trainer.model.statistics.array, expected).allSatisfy { abs($0 - $1) < 1e-5 })
    }

    @Test func predictedVariancesStayVariances() throws {
        // The latest iterate times -1: what is predicted of any variance is below zero.
        let predictor = PLP(coefficients: [0, -1], statistics: .predicted)
        let trainer = try Small.trainer(predictor: predictor)
        try trainer.fit(Small.training, epochs: 1) { $0.predicted ? .stop : .proceed }
        for entry in trainer.model.entries where entry.name.hasSuffix("running_var") {
            #expect(trainer.model.values(of: entry, in: trainer.model.statistics).allSatisfy { $0 == 0 })
        }
    }

    @Test func stopsAtALossThatIsNotFinite() throws {
        let trainer = try Small.trainer()
        try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 1)
        let best = try trainer.bestModel().parameters.array
        var statistics: [Float] = []
        expectFailure(.notFinite, "after 1 of 2 epochs and 3 of 7 iterations: loss: found nan, expected") {
            try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 2) {
                guard $0.epoch == 1, $0.iteration == 2 else { return .proceed }
                let bias = trainer.model.entries.last { $0.kind == .parameter }!
                trainer.model.setValues(of: bias, to: [Float](repeating: .nan, count: bias.count))
                statistics = trainer.model.statistics.array
                return .proceed
            }
        }
        #expect(trainer.history.epochs.map(\.iterations) == [7, 3])
        #expect(trainer.history.isStopped && trainer.history.bestEpoch == 0)
        #expect(try trainer.bestModel().parameters.array == best)
        #expect(trainer.model.statistics.array == statistics)
    }

    /// Without validation too the best model is that of a complete epoch, whatever happens to the model afterwards.
    @Test(arguments: [nil, EMA(decay: 0.8)] as [EMA?])
    func theBestModelIsThatOfTheBestEpoch(predictor: EMA?) throws {
        let trainer = try Small.trainer(predictor: predictor)
        var ends: [[Float]] = []
        expectFailure(.notFinite, "after 2 of 3 epochs and 3 of 8 iterations: loss: found nan") {
            try trainer.fit(Small.training, epochs: 3) {
                if $0.phase == .epochEnd {
                    ends.append(
                        (predictor == nil ? trainer.model.parameters : trainer.stepper.prediction!.memory).array)
                }
                if ($0.epoch, $0.iteration) == (2, 2) { trainer.model.parameters.values.update(repeating: .nan) }
                return .proceed
            }
        }
        #expect(trainer.history.bestEpoch == 1 && ends.count == 2)
        let best = try trainer.bestModel()
        #expect(best.parameters.array == ends[1] && ends[1].allSatisfy(\.isFinite))
        #expect(Updates.isFinite(best.statistics.pointer, count: best.statistics.count))
    }

    @Test func theBestModelStaysThatOfTheBestEpochInTheMiddleOfTheNext() throws {
        let trainer = try Small.trainer()
        #expect(try trainer.bestModel().parameters.array == trainer.model.parameters.array)
        var end: [Float] = []
        try trainer.fit(Small.training, epochs: 2) {
            if $0.phase == .epochEnd { end = trainer.model.parameters.array }
            return $0.epoch == 1 && $0.iteration == 4 ? .stop : .proceed
        }
        #expect(trainer.history.bestEpoch == 0)
        #expect(try trainer.bestModel().parameters.array == end)
    }

    /// What the last update did, no loss tells of.
    @Test(arguments: ["parameters", "running statistics"])
    func stopsAtAModelThatIsNotFinite(_ part: String) throws {
        let trainer = try Small.trainer()
        try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 1)
        let best = try trainer.bestModel().parameters.array
        let buffer = part == "parameters" ? trainer.model.parameters : trainer.model.statistics
        let place = "after 1 of 2 epochs and 7 of 7 iterations"
        expectFailure(.notFinite, "\(place): \(part): found infinite values or NaN, expected") {
            try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 2) {
                guard $0.phase == .validation, $0.iteration == $0.iterations - 1 else { return .proceed }
                buffer.pointer[0] = .infinity
                return .proceed
            }
        }
        #expect(trainer.history.isStopped && trainer.history.completeEpochs == 1)
        #expect(trainer.history.epochs[1].validation == nil)
        #expect(try trainer.bestModel().parameters.array == best)
    }

    /// The best model is finite, and its logits need not be.
    @Test func stopsAtATestLossThatIsNotFinite() throws {
        let trainer = try Small.trainer(optimizer: SGD(learningRate: 0))
        expectFailure(.notFinite, "after 1 of 1 epochs: test loss: found ") {
            try trainer.fit(Small.training, test: Small.test, epochs: 1) {
                guard $0.phase == .training, $0.iteration == $0.iterations - 1 else { return .proceed }
                let bias = trainer.model.entries.last { $0.kind == .parameter }!
                let huge = Float.greatestFiniteMagnitude
                trainer.model.setValues(of: bias, to: (0..<bias.count).map { $0 % 2 == 0 ? huge : -huge })
                return .proceed
            }
        }
        #expect(trainer.history.bestEpoch == 0 && trainer.history.test == nil)
    }

    @Test func isNotStoppedWhileItGoesOn() throws {
        let trainer = try Small.trainer()
        try trainer.fit(Small.training, epochs: 1) { _ in
            #expect(!trainer.history.isStopped)
            return .proceed
        }
    }

    /// Each network learns images of another size by heart, and goes on from its checkpoint.
    @Test(arguments: [(Architecture.resnet18, 16), (.googlenet, 21), (.vgg16, 64)])
    func imagesOfOtherSizes(architecture: Architecture, size: Int) throws {
        var random = RandomStream(seed: 0, .synthesis)
        let pixels = (0..<16 * 3 * size * size).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let set = try pixels.withUnsafeBytes {
            try Dataset(images: $0, imageSize: size, labels: (0..<16).map { $0 % 4 })
        }
        func trainer() throws -> Trainer {
            let configuration = ModelConfiguration(
                architecture, classes: 4, imageSize: size, width: 0.06, dropout: 0, seed: 3)
            return try Trainer(
                Model(configuration), optimizer: SGD(learningRate: 0.05), batchSize: 8, augmentation: .none)
        }
        let first = try trainer()
        try first.fit(set, epochs: 20)
        let path = try Folder()
        try first.save(to: "\(path.path)/checkpoint")
        try first.fit(set, validation: .none, test: set, epochs: 30)
        let second = try trainer()
        try second.restore(from: "\(path.path)/checkpoint")
        try second.fit(set, test: set, epochs: 30)
        #expect(try Snapshot(first) == Snapshot(second))
        #expect(first.history.epochs[29].training.loss < 0.7 * first.history.epochs[0].training.loss)
    }

    @Test func refusesWhatMakesNoSense() throws {
        expectFailure(.invalidArgument, "batch size", "0") { _ = try Small.trainer(batchSize: 0) }
        expectFailure(.invalidArgument, "threads", "-1") { _ = try Small.trainer(threads: -1) }
        expectFailure(.invalidArgument, "learning rate", "nan") {
            _ = try Small.trainer(optimizer: SGD(learningRate: .nan))
        }
        let trainer = try Small.trainer()
        expectFailure(.invalidArgument, "epochs: found 0") { try trainer.fit(Small.training, epochs: 0) }
        expectFailure(.invalidArgument, "validation: found 1.0") {
            try trainer.fit(Small.training, validation: .fraction(1), epochs: 1)
        }
        let few = try Small.trainer(model: Model(ModelConfiguration(.resnet18, classes: 10, width: 0.03)))
        expectFailure(.invalidArgument, "classes of", "found 100", "at most the model's 10") {
            try few.fit(Small.training, epochs: 1)
        }
        let larger = try Small.trainer(model: Model(ModelConfiguration(.resnet18, imageSize: 48, width: 0.03)))
        expectFailure(.invalidArgument, "image size of synthetic train: found 32, expected the model's 48") {
            try larger.fit(Small.training, epochs: 1)
        }
        for set in [Small.training, Small.test] {
            expectFailure(.invalidArgument, "image size of \(set.name): found 32") { _ = try larger.evaluate(set) }
        }
        try trainer.fit(Small.training, epochs: 2)
        expectFailure(.invalidArgument, "epochs: found 1") { try trainer.fit(Small.training, epochs: 1) }
        expectFailure(.invalidArgument, "data: found", "another trainer") { try trainer.fit(Small.test, epochs: 3) }
        // Still usable.
        try trainer.fit(Small.training, epochs: 3)
        #expect(trainer.history.epochs.count == 3)
    }
}
