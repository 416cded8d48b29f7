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
public func plp_trainer_moves(
    _ trainer: OpaquePointer?, _ first: Int64, _ count: Int64, _ moves: UnsafeMutablePointer<plp_move>?,
    _ iterations: UnsafeMutablePointer<Int64>?
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let (watch, watched, sizes) = try handle.trainer.recorded
        let cycles = try part(first, count, of: Int(sizes.cycles), "cycles")
        let layers = Int(sizes.layers)
        for (place, cycle) in cycles.enumerated() {
            iterations?[place] = Int64(watch.iteration(ofCycle: cycle))
            guard let moves else { continue }
            for layer in 0..<layers {
                let move = watched.moves[cycle * layers + layer]
                moves[place * layers + layer] = plp_move(
                    predicted: move.predicted, actual: move.actual, product: move.product)
            }
        }
    }
}

@c @implementation
public func plp_trainer_trajectories(
    _ trainer: OpaquePointer?, _ first: Int64, _ count: Int64, _ values: UnsafeMutablePointer<Float>?
) -> plp_status {
    attempt(trainer, .reading) { (handle: TrainerHandle) throws(Failure) in
        let (_, watched, sizes) = try handle.trainer.recorded
        let iterations = try part(first, count, of: Int(sizes.iterations), "iterations")
        let width = Int(sizes.layers * sizes.samples)
        let values = try present(values, "values")
        for (place, value) in watched.trajectories[iterations.lowerBound * width..<iterations.upperBound * width]
            .enumerated()
        {
            values[place] = value
        }
    }
}
