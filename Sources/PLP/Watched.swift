// What a trainer's watch has recorded.

import CPLP
import PLPKernels
import PLPTraining

extension plp_watched: Sized {}

extension Trainer {
    fileprivate var recorded: (watch: Watch, watched: Watched, sizes: plp_watched) {
        get throws(Failure) {
            guard let watch, let watched else {
                throw .argument("trainer", found: "one without a watch", expected: "one made with it")
            }
            let layers = model.entries.count { $0.kind == .parameter }
            return (
                watch, watched,
                plp_watched(
                    struct_size: plp_watched.size, cycles: Int64(watched.moves.count / layers), layers: Int64(layers),
                    iterations: Int64(stepper.iteration), samples: Int64(watch.samples))
            )
        }
    }
}

@c @implementation
public func plp_trainer_watched(_ trainer: OpaquePointer?, _ watched: UnsafeMutablePointer<plp_watched>?) -> plp_status
{
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        try destination(watched, "watched").pointee = handle.trainer.recorded.sizes
    }
}

@c @implementation
public func plp_trainer_records(
    _ trainer: OpaquePointer?, _ watched: UnsafeMutablePointer<plp_watched>?, _ moves: UnsafeMutablePointer<plp_move>?,
    _ iterations: UnsafeMutablePointer<Int64>?, _ trajectories: UnsafeMutablePointer<Float>?
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let destination = try destination(watched, "watched")
        let (watch, recorded, sizes) = try handle.trainer.recorded
        let cycles = min(try number(destination.pointee.cycles, "cycles", in: 0...Int.max), Int(sizes.cycles))
        let done = min(try number(destination.pointee.iterations, "iterations", in: 0...Int.max), Int(sizes.iterations))
        if let iterations {
            for cycle in 0..<cycles { iterations[cycle] = Int64(watch.iteration(ofCycle: cycle)) }
        }
        if let moves {
            for (place, move) in recorded.moves.prefix(cycles * Int(sizes.layers)).enumerated() {
                moves[place] = plp_move(predicted: move.predicted, actual: move.actual, product: move.product)
            }
        }
        if let trajectories {
            let values = recorded.trajectories.prefix(done * Int(sizes.layers * sizes.samples))
            for (place, value) in values.enumerated() { trajectories[place] = value }
        }
        destination.pointee = sizes
        destination.pointee.cycles = Int64(cycles)
        destination.pointee.iterations = Int64(done)
    }
}
