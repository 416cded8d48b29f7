// What a trainer tells of its run: progress, history, checkpoints, profile.

import CPLP
import PLPTraining

extension plp_history: Sized {}
extension plp_epoch: Sized {}
extension plp_progress: Sized {}
extension plp_profile_entry: Sized {}

extension plp_metrics {
    init(_ metrics: Metrics?) {
        self.init()
        guard let metrics, metrics.count > 0 else { return }
        self.init(
            count: Int64(metrics.count), loss: metrics.loss, top1_error: metrics.top1Error,
            top5_error: metrics.top5Error)
    }
}

extension plp_epoch {
    init(_ epoch: History.Epoch) {
        self.init(
            struct_size: Self.size, epoch: Int64(epoch.number), is_complete: epoch.isComplete ? 1 : 0,
            iterations: Int64(epoch.iterations), predictions: Int64(epoch.predictions),
            learning_rate: epoch.learningRate,
            seconds: epoch.seconds, images_per_second: epoch.imagesPerSecond, training: plp_metrics(epoch.training),
            validation: plp_metrics(epoch.validation))
    }
}

extension Trainer.Progress {
    /// Tells C's callback, if there is one, and gives its answer.
    func report(to callback: plp_callback?, _ userData: UnsafeMutableRawPointer?) -> Trainer.Progress.Reply {
        guard let callback else { return .proceed }
        func call(_ finished: UnsafePointer<plp_epoch>?) -> Trainer.Progress.Reply {
            let progress = plp_progress(
                struct_size: plp_progress.size, phase: phase.code, epoch: Int64(epoch), epochs: Int64(epochs),
                iteration: Int64(iteration), iterations: Int64(iterations), learning_rate: learningRate,
                predicted: predicted ? 1 : 0, batch: plp_metrics(batch), running: plp_metrics(running),
                seconds: seconds, images_per_second: imagesPerSecond, finished: finished)
            return Trainer.Progress.Reply(withUnsafePointer(to: progress) { callback($0, userData) })
        }
        guard let finished else { return call(nil) }
        return withUnsafePointer(to: plp_epoch(finished), call)
    }
}

extension Trainer.Progress.Reply {
    fileprivate init(_ code: Int32) {
        switch plp_reply(UInt32(bitPattern: code)) {
        case PLP_PROCEED: self = .proceed
        case PLP_FINISH: self = .finish
        default: self = .stop
        }
    }
}

extension Trainer.Progress.Phase {
    fileprivate var code: plp_phase {
        switch self {
        case .training: PLP_PHASE_TRAINING
        case .validation: PLP_PHASE_VALIDATION
        case .epochEnd: PLP_PHASE_EPOCH_END
        case .test: PLP_PHASE_TEST
        case .statistics: PLP_PHASE_STATISTICS
        }
    }
}

@c @implementation
public func plp_trainer_history(_ trainer: OpaquePointer?, _ history: UnsafeMutablePointer<plp_history>?) -> plp_status
{
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        try destination(history, "history").pointee = handle.history()
    }
}

@c @implementation
public func plp_trainer_epochs(
    _ trainer: OpaquePointer?, _ history: UnsafeMutablePointer<plp_history>?,
    _ epochs: UnsafeMutablePointer<plp_epoch>?, _ room: Int64
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let history = try destination(history, "history")
        let records = handle.trainer.history.epochs
        let count = min(try number(room, "room", in: 0...Int.max), records.count)
        try write(0, Int64(count), of: count, "epochs", to: epochs, "epochs") { plp_epoch(records[$0]) }
        history.pointee = handle.history()
    }
}

@c @implementation
public func plp_trainer_save(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        try handle.trainer.save(to: try text(path, "path"))
    }
}

@c @implementation
public func plp_trainer_restore(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> plp_status {
    attempt(trainer, .training) { (handle: TrainerHandle) throws(Failure) in
        try handle.trainer.restore(from: try text(path, "path"))
    }
}

@c @implementation
public func plp_trainer_profile_count(_ trainer: OpaquePointer?, _ count: UnsafeMutablePointer<Int64>?) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        try present(count, "count").pointee = Int64(handle.trainer.profile.count)
    }
}

@c @implementation
public func plp_trainer_profile(
    _ trainer: OpaquePointer?, _ first: Int64, _ count: Int64, _ entries: UnsafeMutablePointer<plp_profile_entry>?
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let profile = handle.profile()
        try write(first, count, of: profile.count, "entries", to: entries, "entries") { profile[$0] }
    }
}
