// plp_trainer: making one, training, single steps, measuring.

import CPLP
import PLPTraining

final class TrainerHandle: Handle, @unchecked Sendable {
    override class var noun: String { "trainer" }
    /// A call on a trainer is one on its model.
    override var turns: Turns? { model.turns }

    let trainer: Trainer
    let model: ModelHandle
    /// What plp_history.data has pointed to.
    private var data: [String: OwnedString] = [:]
    /// The names in the profile, in its order.
    private lazy var layers = trainer.profile.map { (OwnedString($0.layer), OwnedString($0.operation.rawValue)) }

    init(_ trainer: Trainer, _ model: ModelHandle) {
        self.trainer = trainer
        self.model = model
    }

    func history() -> plp_history {
        let history = trainer.history
        let text = data[history.data] ?? OwnedString(history.data)
        data[history.data] = text
        return plp_history(
            struct_size: plp_history.size, data: text.pointer, epoch_count: Int64(history.epochs.count),
            best_epoch: Int64(history.bestEpoch ?? -1), is_stopped: history.isStopped ? 1 : 0,
            test: plp_metrics(history.test))
    }

    func profile() -> [plp_profile_entry] {
        zip(trainer.profile, layers).map { entry, names in
            plp_profile_entry(
                struct_size: plp_profile_entry.size, layer: names.0.pointer, operation: names.1.pointer,
                seconds: entry.seconds, calls: Int64(entry.calls))
        }
    }
}

// MARK: - Options

extension plp_trainer_options: Options {
    /// Of each kind of schedule the options that Swift gives it.
    static var defaults: plp_trainer_options {
        var options = plp_trainer_options()
        options.struct_size = size
        options.schedule = PLP_SCHEDULE_CONSTANT
        for schedule in [Schedule.cyclic(), .multiStep(milestones: []), .cosine()] { schedule.write(to: &options) }
        options.watch_samples = Int64(Watch().samples)
        options.batch_size = Int64(Trainer.defaultBatchSize)
        options.crop = Int64(Augmentation.standard.crop)
        options.flip = Augmentation.standard.flip ? 1 : 0
        options.rotation = Double(Augmentation.standard.rotation)
        return options
    }

    func makeTrainer(for model: Model) throws(Failure) -> Trainer {
        try Trainer(
            model, optimizer: optimizer == nil ? SGD() : try makeOptimizer(optimizer), schedule: try makeSchedule(),
            predictor: predictor == nil ? nil : try makePredictor(predictor, "predictor"),
            watch: watch == nil ? nil : try makeWatch(watch, samples: watch_samples), batchSize: Int(batch_size),
            augmentation: try Augmentation(crop: Int(crop), flip: flip != 0, rotation: Float(rotation)), seed: seed,
            threads: Int(threads))
    }

    private func makeSchedule() throws(Failure) -> Schedule {
        let schedule: Schedule =
            switch schedule {
            case PLP_SCHEDULE_CONSTANT: .constant
            case PLP_SCHEDULE_CYCLIC: .cyclic(peak: cyclic_peak, up: Int(cyclic_up), down: Int(cyclic_down))
            case PLP_SCHEDULE_MULTI_STEP:
                .multiStep(
                    milestones: try array(milestones, milestone_count, "milestones").map { Int($0) },
                    factor: step_factor, total: Int(milestone_total))
            case PLP_SCHEDULE_COSINE: .cosine(floor: cosine_floor)
            default: throw .argument("schedule", found: schedule.rawValue, expected: "a plp_schedule")
            }
        return warmup_epochs == 0 ? schedule : .warmUp(epochs: warmup_epochs, then: schedule)
    }
}

extension Schedule {
    fileprivate func write(to options: inout plp_trainer_options) {
        switch self {
        case .cyclic(let peak, let up, let down):
            options.cyclic_peak = peak
            options.cyclic_up = Int64(up)
            options.cyclic_down = Int64(down)
        case .multiStep(_, let factor, _):
            options.step_factor = factor
        case .cosine(let floor):
            options.cosine_floor = floor
        case .constant, .warmUp:
            break
        }
    }
}

extension plp_fit_options: Options {
    static var defaults: plp_fit_options {
        plp_fit_options(
            struct_size: size, epochs: 1, validation_fraction: 0, validation: nil, test: nil, callback: nil,
            user_data: nil)
    }
}

@c @implementation
public func plp_trainer_options_init(
    _ options: UnsafeMutablePointer<plp_trainer_options>?, _ struct_size: Int
) -> plp_status {
    initialize(options, size: struct_size)
}

@c @implementation
public func plp_fit_options_init(_ options: UnsafeMutablePointer<plp_fit_options>?, _ struct_size: Int) -> plp_status {
    initialize(options, size: struct_size)
}

// MARK: - Life

@c @implementation
public func plp_trainer_create(
    _ model: OpaquePointer?, _ options: UnsafePointer<plp_trainer_options>?,
    _ trainer: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    attempt(model, .reading) { (handle: ModelHandle) throws(Failure) in
        let destination = try present(trainer, "trainer")
        let made = try chosen(options).makeTrainer(for: handle.model)
        publish(TrainerHandle(made, handle), to: destination)
    }
}

@c @implementation
public func plp_trainer_free(_ trainer: OpaquePointer?) { release(trainer) }

// MARK: - Training

@c @implementation
public func plp_trainer_fit(
    _ trainer: OpaquePointer?, _ train: OpaquePointer?, _ options: UnsafePointer<plp_fit_options>?
) -> plp_status {
    attempt(trainer, nil) { (handle: TrainerHandle) throws(Failure) in
        let options = try chosen(options)
        let training = try datasetBehind(train, "train")
        let validation = try options.chosenValidation()
        let test = options.test == nil ? nil : try datasetBehind(options.test, "test")
        try handle.model.turns.takeForFit(TrainerHandle.noun) { (pause) throws(Failure) in
            try handle.trainer.fit(training, validation: validation, test: test, epochs: Int(options.epochs)) {
                progress in
                pause { progress.report(to: options.callback, options.user_data) }
            }
        }
    }
}

extension plp_fit_options {
    func chosenValidation() throws(Failure) -> Trainer.Validation {
        guard validation != nil else { return validation_fraction == 0 ? .none : .fraction(validation_fraction) }
        guard validation_fraction == 0 else {
            throw .argument("validation_fraction", found: validation_fraction, expected: "0 beside a validation set")
        }
        return .dataset(try datasetBehind(validation, "validation"))
    }
}

/// The body of both functions that take a mini-batch.
private func miniBatch(
    _ trainer: OpaquePointer?, _ images: UnsafeRawPointer?, _ dtype: plp_dtype, _ labels: UnsafePointer<Int32>?,
    _ count: Int64, _ metrics: UnsafeMutablePointer<plp_metrics>?,
    _ compute: (Trainer, PlanarImages, [Int32]) throws(Failure) -> Metrics
) -> plp_status {
    attempt(trainer, .training) { (handle: TrainerHandle) throws(Failure) in
        let count = try number(count, "count", in: 1...handle.trainer.batchSize)
        let labels = Array(UnsafeBufferPointer(start: try present(labels, "labels"), count: count))
        let images = try PlanarImages(images, dtype, handle.trainer.model.imageShape, count: count)
        let result = try compute(handle.trainer, images, labels)
        metrics?.pointee = plp_metrics(result)
    }
}

@c @implementation
public func plp_trainer_step(
    _ trainer: OpaquePointer?, _ images: UnsafeRawPointer?, _ dtype: plp_dtype, _ labels: UnsafePointer<Int32>?,
    _ count: Int64, _ metrics: UnsafeMutablePointer<plp_metrics>?
) -> plp_status {
    miniBatch(trainer, images, dtype, labels, count, metrics) { (trainer, images, labels) throws(Failure) in
        try trainer.step(images, labels: labels)
    }
}

@c @implementation
public func plp_trainer_gradients(
    _ trainer: OpaquePointer?, _ images: UnsafeRawPointer?, _ dtype: plp_dtype, _ labels: UnsafePointer<Int32>?,
    _ count: Int64, _ metrics: UnsafeMutablePointer<plp_metrics>?, _ gradients: UnsafeMutablePointer<Float>?,
    _ bytes: Int
) -> plp_status {
    miniBatch(trainer, images, dtype, labels, count, metrics) { (trainer, images, labels) throws(Failure) in
        guard var target = gradients else { return try trainer.computeGradients(images, labels: labels) }
        let model = trainer.model
        let expected = model.parameterCount * MemoryLayout<Float>.stride
        guard bytes == expected else {
            throw .argument("bytes", found: bytes, expected: "\(expected) for the gradients of all parameters")
        }
        let metrics = try trainer.computeGradients(images, labels: labels)
        for entry in model.entries where entry.kind == .parameter {
            model.copyValues(of: entry, in: trainer.gradients, to: target)
            target += entry.count
        }
        return metrics
    }
}

@c @implementation
public func plp_trainer_get_gradient(
    _ trainer: OpaquePointer?, _ index: Int64, _ values: UnsafeMutablePointer<Float>?, _ bytes: Int
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let entry = try handle.model.entry(index)
        guard entry.kind == .parameter else {
            throw .argument("index", found: "\(index), \(entry.name), a \(entry.kind)", expected: "a parameter's")
        }
        try entry.check(bytes: bytes)
        handle.trainer.model.copyValues(of: entry, in: handle.trainer.gradients, to: try present(values, "values"))
    }
}

@c @implementation
public func plp_trainer_evaluate(
    _ trainer: OpaquePointer?, _ dataset: OpaquePointer?, _ callback: plp_callback?,
    _ userData: UnsafeMutableRawPointer?, _ metrics: UnsafeMutablePointer<plp_metrics>?
) -> plp_status {
    attempt(trainer, nil) { (handle: TrainerHandle) throws(Failure) in
        let metrics = try present(metrics, "metrics")
        let dataset = try datasetBehind(dataset, "dataset")
        let evaluator = try handle.model.turns.take(for: .reading, TrainerHandle.noun) { () throws(Failure) in
            try handle.trainer.evaluatorOfCopy()
        }
        metrics.pointee = plp_metrics(try evaluator.evaluate(dataset) { $0.report(to: callback, userData) })
    }
}

@c @implementation
public func plp_trainer_best_model(
    _ trainer: OpaquePointer?, _ model: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let model = try present(model, "model")
        publish(ModelHandle(try handle.trainer.bestModel()), to: model)
    }
}
