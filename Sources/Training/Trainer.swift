// The training loop. Batches come from Datasets, gradients from Networks, steps from Optimization; what is here decides
// their order, counts, measures, keeps the best model, and stops where it should.

import PLPDatasets
import PLPBase
import PLPKernels
import PLPNetworks
import PLPOptimization

/// A model in training: its optimizer and predictor, and how far it has come.
///
///     let trainer = try Trainer(
///         Model(ModelConfiguration(.resnet18)), optimizer: SGD(learningRate: 0.1, weightDecay: 5e-4),
///         schedule: .cosine(), predictor: PLP())
///     let history = try trainer.fit(training, validation: .fraction(0.2), test: test, epochs: 10) { progress in
///         if let epoch = progress.finished { print(epoch) }
///         return .proceed
///     }
///     try trainer.bestModel().save(to: "resnet18.safetensors")
///
/// With `schedule: .cyclic()` and nothing else it is the paper's baseline; `predictor: PLP()` makes that its method.
/// What is drawn at random follows from the seed and the place in the run alone: two trainers with one seed see the
/// same split, the same batches and the same dropout, whatever their methods, and results do not depend on the number
/// of threads.
///
/// A trainer belongs to one thread at a time, and its model with it.
public final class Trainer {
    /// The model in training, as the latest iteration left it.
    public let model: Model
    public let stepper: Stepper
    public let augmentation: Augmentation
    public let seed: UInt64
    /// Images in a mini-batch.
    public var batchSize: Int { executor.batchSize }
    public static let defaultBatchSize = 128

    /// The run so far, also where `fit` threw.
    public internal(set) var history = History()

    let watching: Watching?
    private let threads: Threads
    private let executor: Executor
    /// Images that a caller hands over, as the network takes them.
    private let staging: FloatBuffer
    /// The running statistics as they were before the latest mini-batch.
    private let statisticsBefore: FloatBuffer
    /// Time that updates took, and how many there were.
    private var updates = (seconds: 0.0, calls: 0)
    /// The best model of a complete epoch; nil until there is one.
    var best: Model?
    /// Evaluates the model in training or, where the predictor averages, a second one that holds the average.
    private var evaluator: Evaluator?

    /// - Parameters:
    ///   - model: is changed as training goes on.
    ///   - optimizer: the update, with its learning rate.
    ///   - schedule: how the learning rate goes through the run.
    ///   - predictor: what happens to the parameters after an update; nil for nothing.
    ///   - watch: whether the parameters' movement is recorded, for ``watched``; changes nothing else.
    ///   - batchSize: images in a mini-batch, 1 to 65,536. The last one of an epoch may have less.
    ///   - augmentation: of training images only.
    ///   - seed: of order, augmentation, dropout and validation split.
    ///   - threads: that compute; 0 for as many as `Threads` takes by default.
    /// - Throws: `Failure` naming an option out of its range, or if the memory is too small.
    public init(
        _ model: Model, optimizer: any Optimizer = SGD(), schedule: Schedule = .constant,
        predictor: (any Predictor)? = nil, watch: Watch? = nil, batchSize: Int = defaultBatchSize,
        augmentation: Augmentation = .standard, seed: UInt64 = 0, threads: Int = 0
    ) throws(Failure) {
        self.model = model
        self.augmentation = augmentation
        self.seed = seed
        self.threads = try Threads(checked: threads)
        stepper = try Stepper(
            optimizer, schedule: schedule, predictor: predictor, parameterCount: model.parameters.count,
            statisticsCount: model.statistics.count, threads: self.threads)
        let layers = model.entries.filter { $0.kind == .parameter }.map { $0.offset..<$0.offset + $0.count }
        watching = try watch.map { [threads = self.threads] watch throws(Failure) in
            try Watching(watch, layers: layers, count: model.parameters.count, threads: threads)
        }
        statisticsBefore = try FloatBuffer(scratch: model.statistics.count)
        executor = try Executor(model, batchSize: batchSize, mode: .training, threads: self.threads)
        staging = try FloatBuffer(scratch: batchSize * model.imageShape.values)
    }

    // MARK: - A run

    static let mostEpochs = 25_000
    /// Images that ``StatisticsTreatment/recomputed`` looks at, in whole mini-batches: enough for means and variances.
    static let imagesForStatistics = 5_000

    /// What the best model is chosen by.
    public enum Validation {
        /// Nothing: the model of the latest complete epoch counts as the best.
        case none
        /// A random part of the training images, above 0 and below 1, which is not trained on.
        case fraction(Double)
        /// A set of its own.
        case dataset(Dataset)
    }

    /// Trains until the run has `epochs` epochs, and then measures the best model on the test set, once.
    ///
    /// Called again, on the same data, it goes on with the run: from the iteration after the one it was stopped at,
    /// from a restored checkpoint, or with more epochs than before. Data are the same where names and numbers of images
    /// are; their contents are not compared. Schedules and DEMON take `epochs` as the run's length.
    ///
    /// With ``EMA`` and ``SWA``, what is evaluated and kept are the averaged parameters, and the running statistics that
    /// their option `statistics` names.
    ///
    /// - Parameters:
    ///   - training: the set to train on.
    ///   - validation: what chooses the best model: the one of highest accuracy at an epoch's end.
    ///   - test: never chooses anything.
    ///   - epochs: the length of the whole run, epochs of an earlier call or a checkpoint included; 1 to 25,000.
    ///   - onProgress: called after each iteration on the calling thread, and at each epoch's end; its answer may end
    ///     the training: see ``Progress/Reply``. May save a checkpoint.
    /// - Returns: the run's history.
    /// - Throws: `Failure`; of kind `notFinite`, saying how far the run had come, where a loss is infinite or not a
    ///   number: model, best model and history are then as they were before that iteration. Likewise where at an
    ///   epoch's end parameters or running statistics are: best model and history are then as they were before it.
    @discardableResult
    public func fit(
        _ training: Dataset, validation: Validation = .none, test: Dataset? = nil, epochs: Int,
        onProgress: (Progress) -> Progress.Reply = { _ in .proceed }
    ) throws(Failure) -> History {
        for dataset in [training, test].compactMap(\.self) { try model.requireFit(of: dataset) }
        try require("epochs", epochs, in: max(1, history.epochs.count)...Self.mostEpochs)
        let (data, indices, heldOut) = try divide(training, validation)
        let loader = try BatchLoader(
            training, indices: indices, batchSize: batchSize, normalization: model.normalization(),
            augmentation: augmentation, shuffle: true, seed: seed, threads: threads)
        // Memory that is refused now costs no time.
        if heldOut != nil || test != nil { _ = try currentEvaluator() }
        if best == nil {
            try Memory.require(floats: model.parameters.count + model.statistics.count, for: "the best model")
        }
        history.data = data
        model.trainedOn = training.name
        history.isStopped = false
        history.test = nil
        do {
            history.isStopped = try run(loader, heldOut, test, epochs: epochs, onProgress) == .stop
        } catch {
            history.isStopped = true
            guard error.kind == .notFinite else { throw error }
            // Counts of what was done are the same whether epochs and iterations are numbered from 0 or from 1.
            let iterations = epoch.isComplete ? "" : " and \(epoch.iterations) of \(loader.iterations) iterations"
            throw Failure(
                .notFinite, "after \(history.completeEpochs) of \(epochs) epochs\(iterations): \(error.message)")
        }
        return history
    }

    /// Images that are not trained on: a set, or those of it that have the indices.
    private typealias HeldOut = (set: Dataset, indices: [Int]?)

    /// The epochs that are left, and the measurement at the end.
    private func run(
        _ loader: BatchLoader, _ heldOut: HeldOut?, _ test: Dataset?, epochs: Int,
        _ onProgress: (Progress) -> Progress.Reply
    ) throws(Failure) -> Progress.Reply {
        var isFinishing = false
        func reply(to progress: Progress) -> Progress.Reply {
            let reply = onProgress(progress)
            if reply == .finish { isFinishing = true }
            return reply
        }
        while history.completeEpochs < epochs, !isFinishing {
            if history.completeEpochs == history.epochs.count {
                history.epochs.append(History.Epoch(number: history.epochs.count))
            }
            guard try train(loader, epochs: epochs, reply) != .stop else { return .stop }
            guard epoch.iterations == loader.iterations else { break }
            guard recomputeStatistics(loader, epochs: epochs, reply) != .stop else { return .stop }
            var validation: Metrics?
            if let heldOut {
                validation = try measure(currentEvaluator(), heldOut, .validation, epochs: epochs, reply)
                guard validation != nil else { return .stop }
            }
            try finishEpoch(validation)
            let progress = progress(
                .epochEnd, epochs: epochs, iteration: loader.iterations - 1, of: loader.iterations,
                running: epoch.training)
            guard reply(to: progress) != .stop else { return .stop }
        }
        if let test {
            if best == nil, recomputeStatistics(loader, epochs: epochs, reply) == .stop { return .stop }
            self.evaluator = nil  // its memory is the next one's
            let judged = if let best { best } else { try bestModel() }
            let evaluator = try Evaluator(judged, sharing: threads)
            let metrics = try measure(evaluator, (test, nil), .test, epochs: epochs, reply)
            guard let metrics else { return .stop }
            history.test = metrics
        }
        return .proceed
    }

    /// Which images are trained on, and which choose, in words too; throws where a run is under way on others.
    private func divide(
        _ training: Dataset, _ validation: Validation
    ) throws(Failure) -> (data: String, indices: [Int]?, heldOut: HeldOut?) {
        var data = "\(training.name), \(training.count) images"
        let division: (indices: [Int]?, heldOut: HeldOut?)
        switch validation {
        case .none:
            division = (nil, nil)
        case .fraction(let fraction):
            try require(
                fraction > 0 && fraction < 1, "validation", fraction, expected: "a fraction above 0 and below 1")
            let split = try training.split(validation: fraction, seed: seed)
            division = (split.training, (training, split.validation))
            data += ", \(split.validation.count) of them for validation"
        case .dataset(let set):
            try model.requireFit(of: set)
            division = (nil, (set, nil))
            data += "; for validation \(set.name), \(set.count) images"
        }
        try require(
            history.data == data || history.data.isEmpty, "data", data,
            expected: "\(excerpt(history.data)), which this run is trained on; for another run, make another trainer")
        return (data, division.indices, division.heldOut)
    }

    /// The epoch under way.
    private var epoch: History.Epoch {
        get { history.epochs[history.epochs.count - 1] }
        set { history.epochs[history.epochs.count - 1] = newValue }
    }

    /// Trains what is left of the epoch under way.
    private func train(
        _ loader: BatchLoader, epochs: Int, _ onProgress: (Progress) -> Progress.Reply
    ) throws(Failure) -> Progress.Reply {
        loader.start(epoch: epoch.number, from: epoch.iterations)
        var begin = now()
        while let batch = loader.next() {
            let iteration = epoch.iterations
            let position = RunPosition(
                iteration: epoch.number * loader.iterations + iteration, total: epochs * loader.iterations,
                perEpoch: loader.iterations)
            let metrics = try loss(batch.images, batch.labels, batch.count)
            let outcome = step(at: position)
            epoch.iterations += 1
            epoch.predictions += outcome.predicted ? 1 : 0
            epoch.learningRate = outcome.learningRate
            epoch.training += metrics
            epoch.seconds += now() - begin
            let progress = progress(
                .training, epochs: epochs, iteration: iteration, of: loader.iterations, predicted: outcome.predicted,
                batch: metrics, running: epoch.training)
            let reply = onProgress(progress)
            guard reply == .proceed else { return reply }
            begin = now()
        }
        return .proceed
    }

    /// Measures the running statistics of an average anew, where the predictor says so: the mean of those of the
    /// epoch's first mini-batches, as `torch.optim.swa_utils.update_bn` does it with all of them.
    private func recomputeStatistics(
        _ loader: BatchLoader, epochs: Int, _ onProgress: (Progress) -> Progress.Reply
    ) -> Progress.Reply {
        guard let (average, statistics) = stepper.recomputable else { return .proceed }
        loader.start(epoch: epoch.number)
        let iterations = min(loader.iterations, (Self.imagesForStatistics - 1) / batchSize + 1)
        for iteration in 0..<iterations {
            guard let batch = loader.next() else { break }
            executor.moveStatistics(
                statistics, parameters: average, images: batch.images, count: batch.count,
                by: 1 / Float(iteration + 1))
            let progress = progress(
                .statistics, epochs: epochs, iteration: iteration, of: iterations, running: Metrics())
            guard onProgress(progress) != .stop else { return .stop }
        }
        return .proceed
    }

    /// Measures a model and reports each mini-batch; nil where the callback stops.
    private func measure(
        _ evaluator: Evaluator, _ images: HeldOut, _ phase: Progress.Phase, epochs: Int,
        _ onProgress: (Progress) -> Progress.Reply
    ) throws(Failure) -> Metrics? {
        let metrics = try evaluator.evaluate(images.set, indices: images.indices) { iteration, count, batch, running in
            onProgress(
                progress(phase, epochs: epochs, iteration: iteration, of: count, batch: batch, running: running))
        }
        if let metrics { try requireFinite(metrics.loss, "\(phase) loss") }
        return metrics
    }

    /// Keeps the model if it is the best, and closes the epoch.
    private func finishEpoch(_ validation: Metrics?) throws(Failure) {
        // A loss tells of the parameters before its update, and nothing of running statistics.
        for (name, values) in [("parameters", model.parameters), ("running statistics", model.statistics)] {
            guard Updates.isFinite(values.pointer, count: values.count) else {
                throw notFinite(name, "infinite values or NaN")
            }
        }
        let bestSoFar = history.bestEpoch.flatMap { history.epochs[$0].validation }
        let isBest = if let validation, let bestSoFar { validation.accuracy > bestSoFar.accuracy } else { true }
        if isBest {
            let kept = if let best { best } else { try model.copy() }
            takeEvaluated(into: kept)
            best = kept
            history.bestEpoch = epoch.number
        }
        epoch.validation = validation
        epoch.isComplete = true
    }

    private func progress(
        _ phase: Progress.Phase, epochs: Int, iteration: Int, of iterations: Int, predicted: Bool = false,
        batch: Metrics = Metrics(), running: Metrics
    ) -> Progress {
        Progress(
            phase: phase, epoch: epoch.number, epochs: epochs, iteration: iteration, iterations: iterations,
            learningRate: epoch.learningRate, predicted: predicted, batch: batch, running: running,
            seconds: epoch.seconds, finished: phase == .epochEnd ? epoch : nil,
            imagesPerSecond: epoch.imagesPerSecond)
    }

    // MARK: - Single steps

    // What Swift's own callers hand over are arrays: see PlanarImages.swift.

    @discardableResult
    package func step(_ images: PlanarImages, labels: [Int32]) throws(Failure) -> Metrics {
        let metrics = try loss(images, labels)
        step(at: nil)
        return metrics
    }

    @discardableResult
    package func computeGradients(_ images: PlanarImages, labels: [Int32]) throws(Failure) -> Metrics {
        let metrics = try loss(images, labels)
        forgetMiniBatch()
        return metrics
    }

    /// The gradients of the latest mini-batch's mean loss, arranged as the model's parameters. Weight decay is not in
    /// them.
    public var gradients: FloatBuffer { executor.gradients }

    /// The gradient of one of the model's parameters in PyTorch's layout.
    public func gradient(of entry: StateEntry) -> [Float] { model.values(of: entry, in: executor.gradients) }

    private func loss(_ images: PlanarImages, _ labels: [Int32]) throws(Failure) -> Metrics {
        let count = try images.count(model.imageShape)
        try require("images", count, in: 1...batchSize)
        try require(labels.count == count, "labels", labels.count, expected: "\(count), one for each image")
        let classes = model.configuration.classes
        for label in labels { try require("label", Int(label), in: 0...classes - 1) }
        images.write(
            0..<count, of: model.imageShape, normalization: try model.normalization().table(), to: staging.pointer,
            threads)
        return try loss(staging.pointer, labels, count)
    }

    /// Gradients and metrics of a mini-batch. Throws where the loss is not finite, and leaves the model as it was.
    private func loss(
        _ images: UnsafePointer<Float>, _ labels: UnsafePointer<Int32>, _ count: Int
    ) throws(Failure) -> Metrics {
        statisticsBefore.copy(from: model.statistics)
        let metrics = executor.computeGradients(
            images: images, labels: labels, count: count, seed: seed, iteration: UInt64(stepper.iteration))
        if !metrics.loss.isFinite { forgetMiniBatch() }
        try requireFinite(metrics.loss, "loss")
        return metrics
    }

    /// Takes back what the latest mini-batch did to the running statistics.
    private func forgetMiniBatch() {
        model.statistics.copy(from: statisticsBefore)
        for index in model.batchesTracked.indices { model.batchesTracked[index] &-= 1 }
    }

    @discardableResult
    private func step(at position: RunPosition?) -> Stepper.Outcome {
        #if LOOP_TIMES
            LoopTimes.current?.begin("parameters", ProfileEntry.Operation.update.rawValue, needs: nil)
        #endif
        let start = now()
        let outcome = stepper.step(
            parameters: model.parameters, gradients: executor.gradients,
            statistics: (statisticsBefore, model.statistics), at: position)
        if outcome.predicted, stepper.predictor?.statistics == .predicted { model.clampVariances() }
        watching?.look(at: model.parameters.pointer, after: stepper.iteration - 1)
        updates = (updates.seconds + now() - start, updates.calls + 1)
        return outcome
    }

    private func requireFinite(_ loss: Double, _ name: String) throws(Failure) {
        // NaN has a sign and a payload, which say nothing.
        guard loss.isFinite else { throw notFinite(name, loss.isNaN ? "nan" : "\(loss)") }
    }

    private func notFinite(_ name: String, _ found: String) -> Failure {
        Failure(.notFinite, "\(name): found \(found), expected finite numbers; a lower learning rate may help")
    }

    // MARK: - Measuring

    /// Loss and errors of the model in training over a data set, as it is; with ``EMA`` or ``SWA``, of the average. See
    /// ``Evaluator/evaluate(_:onProgress:)``.
    public func evaluate(
        _ dataset: Dataset, onProgress: (Progress) -> Progress.Reply = { _ in .proceed }
    ) throws(Failure) -> Metrics { try currentEvaluator().evaluate(dataset, onProgress: onProgress) }

    /// A copy of the best model so far, that of ``History/bestEpoch``; before any epoch is complete, of the one in
    /// training (with ``EMA`` or ``SWA``, of the average).
    public func bestModel() throws(Failure) -> Model {
        let copy = if let best { try best.copy() } else { try evaluatedCopy() }
        copy.trainedOn = model.trainedOn  // which a restored best does not know
        return copy
    }

    /// An evaluator of what ``evaluate(_:onProgress:)`` measures, which stays as it is while training goes on.
    package func evaluatorOfCopy() throws(Failure) -> Evaluator {
        try Evaluator(evaluatedCopy(), threads: threads.count)
    }

    private func evaluatedCopy() throws(Failure) -> Model {
        let copy = try model.copy()
        takeEvaluated(into: copy)
        return copy
    }

    /// How the parameters have moved, and how they were predicted to; nil where the trainer has no ``Watch``.
    public var watched: Watched? { watching?.watched }
    /// What it was made with; nil where nothing is recorded.
    public var watch: Watch? { watching?.watch }

    /// Time that each of the network's layers, and at last the update of its parameters, took in training so far.
    public var profile: [ProfileEntry] {
        executor.profile
            + [.init(layer: "parameters", operation: .update, seconds: updates.seconds, calls: updates.calls)]
    }

    /// The evaluator of the model as it is now.
    private func currentEvaluator() throws(Failure) -> Evaluator {
        let averages = stepper.evaluated(model.parameters) !== model.parameters
        let evaluator =
            if let known = self.evaluator, averages == (known.model !== model) { known } else {
                try Evaluator(averages ? model.copy() : model, sharing: threads)
            }
        self.evaluator = evaluator
        if averages { takeEvaluated(into: evaluator.model) }
        return evaluator
    }

    /// Makes `other` the model to evaluate and to keep: the one in training or the average.
    private func takeEvaluated(into other: Model) {
        other.take(
            parameters: stepper.evaluated(model.parameters),
            statistics: stepper.evaluatedStatistics(model.statistics), batchesTracked: model.batchesTracked)
    }
}
