// Checkpoints: a run on disk. A safetensors file holds the vectors, tensor by tensor under PyTorch's names and in its
// layouts behind a prefix, and the rest as JSON in its metadata. Written durably: see Files.replace.

import FoundationEssentials
import PLPBase
import PLPKernels
import PLPNetworks
import PLPOptimization

extension Trainer {
    private static let metadataKey = "plp.checkpoint"
    private static let version = 4

    /// The most values of JSON in the state: what `mostEpochs` make of it, with room. A bound on the time that a damaged
    /// or hostile file takes.
    private static let mostValues = 1_000_000

    private struct Version: Decodable { var version: Int }

    /// All of a checkpoint that is not a tensor.
    private struct State: Codable {
        var version = Trainer.version
        var model: ModelConfiguration
        var trainedOn: String?
        /// What the trainer was made with, each option as JSON.
        var options: [String: String]
        /// Steps of the optimizer, which give the place in the predictor's cycle, and those since its momentum started.
        var iteration: Int
        var stepsOfMomentum: Int
        var batchesTracked: [Int64]
        var bestBatchesTracked: [Int64]?
        var history: History
    }

    /// Compared as text: where an option is written in another way than before, the version has to be raised.
    private func options() throws(Failure) -> [String: String] {
        let predictor = if let predictor = stepper.predictor { try description(of: predictor) } else { "none" }
        let watch = if let watching { try json(watching.watch) } else { "none" }
        return [
            "optimizer": try description(of: stepper.optimizer), "schedule": try json(stepper.schedule),
            "predictor": predictor, "watch": watch, "batch size": "\(batchSize)",
            "augmentation": try json(augmentation), "seed": "\(seed)",
        ]
    }

    /// The vectors of a checkpoint, each with the entries whose values are in it and the prefix of their tensors' names;
    /// `best` for the best model's.
    private func vectors(best: Model?) -> [(prefix: String, entries: [StateEntry], values: FloatBuffer)] {
        let parameters = model.entries.filter { $0.kind == .parameter }
        let statistics = model.entries.filter { $0.kind == .statistic }
        let vectors: [(String, [StateEntry], FloatBuffer?)] =
            [("model.", parameters, model.parameters), ("model.", statistics, model.statistics)]
            + stepper.state.map { ("optimizer.\($0.name).", parameters, $0.values) }
            + [
                ("memory.", parameters, stepper.prediction?.memory),
                ("memory.", statistics, stepper.statisticsPrediction?.memory),
                ("watch.first.", parameters, watching?.first), ("watch.second.", parameters, watching?.second),
                ("best.", parameters, best?.parameters), ("best.", statistics, best?.statistics),
            ]
        return vectors.compactMap { prefix, entries, values in values.map { (prefix, entries, $0) } }
    }

    /// Writes all the run needs to go on to the last bit: parameters, running statistics, the optimizer's vectors, the
    /// predictor's memory and its place in the cycle, what was watched, history, best model. Whatever interrupts it,
    /// `path` holds the old file or the new one.
    public func save(to path: String) throws(Failure) {
        var tensors = vectors(best: best).flatMap { prefix, entries, values in
            entries.map { model.source($0, in: values, prefix: prefix) }
        }
        if let watching {
            for ((name, shape), values) in zip(recordShapes(watching, stepper.iteration), watching.watched.records) {
                tensors.append(Safetensors.Source(.init(name: name, shape: shape, values: .float32(values))))
            }
        }
        let state = State(
            model: model.configuration, trainedOn: model.trainedOn, options: try options(),
            iteration: stepper.iteration, stepsOfMomentum: stepper.stepsOfMomentum,
            batchesTracked: model.batchesTracked, bestBatchesTracked: best?.batchesTracked, history: history)
        try Safetensors.write(tensors, metadata: [Self.metadataKey: json(state)], to: path)
    }

    /// Takes back what ``save(to:)`` wrote, in a trainer made with the same model configuration and options (the number
    /// of threads does not matter). `fit` then goes on from there.
    ///
    /// - Throws: `Failure`, naming what is missing or differs; nothing has changed then.
    public func restore(from path: String) throws(Failure) {
        let file = try SafetensorsReader(path)
        guard let text = file.metadata[Self.metadataKey] else {
            throw Failure(
                .corrupt, "\(path): no \(Self.metadataKey) found in its metadata, expected a trainer's checkpoint")
        }
        let json = Data(text.utf8)
        let name = "\(path): \(Self.metadataKey)"
        // Alone at first: the rest may be different in another version.
        let version = try value(Version.self, json: json, most: Self.mostValues, name: name).version
        try require(
            version == Self.version, "\(path): version", version,
            expected: "\(Self.version): checkpoints of other versions cannot be read")
        let state = try value(State.self, json: json, most: Self.mostValues, name: name)
        try check(state, path)

        var best = state.bestBatchesTracked == nil ? nil : self.best
        if best == nil, state.bestBatchesTracked != nil { best = try model.copy() }
        let vectors = vectors(best: best)
        try Memory.require(floats: vectors.reduce(0) { $0 + $1.values.count }, for: "reading \(path)")
        let places = Dictionary(file.tensors.map { ($0.name, $0) }) { $1 }
        func place(_ name: String, _ shape: [Int]) throws(Failure) -> SafetensorsReader.Place {
            guard let place = places[name], place.shape == shape, place.type == .float32 else {
                throw Failure(.corrupt, "\(path): no float32 tensor \(name) of shape \(shape) found")
            }
            return place
        }
        // Read whole before the first one is taken, so that a failure changes nothing.
        var read: [FloatBuffer] = []
        for (prefix, entries, values) in vectors {
            let buffer = try FloatBuffer(count: values.count)
            for entry in entries {
                try model.read(entry, in: buffer, from: file, try place(prefix + entry.name, entry.shape))
            }
            read.append(buffer)
        }
        let records = try watching.map { watching throws(Failure) in
            var records: [[Float]] = []
            for (name, shape) in recordShapes(watching, state.iteration) {
                records.append(try file.values(of: try place(name, shape), zero: 0))
            }
            return records
        }
        for (vector, values) in zip(vectors, read) { vector.values.copy(from: values) }
        model.batchesTracked = state.batchesTracked
        model.trainedOn = state.trainedOn
        if let tracked = state.bestBatchesTracked { best?.batchesTracked = tracked }
        self.best = best
        stepper.restore(iteration: state.iteration, stepsOfMomentum: state.stepsOfMomentum)
        if let records { watching?.restore(Watched(records: records)) }
        history = state.history
    }

    /// What a watch has recorded after a number of iterations, as tensors: names and shapes.
    private func recordShapes(_ watching: Watching, _ iteration: Int) -> [(name: String, shape: [Int])] {
        let layers = watching.layers.count
        return [
            ("watch.moves", [watching.watch.cycles(after: iteration), layers, 3]),
            ("watch.trajectories", [iteration, layers, watching.watch.samples]),
        ]
    }

    /// Throws where a checkpoint belongs to another trainer, or makes no sense.
    private func check(_ state: State, _ path: String) throws(Failure) {
        var different = try differences("model", json(state.model), json(model.configuration))
        for (option, expected) in try options().sorted(by: { $0.key < $1.key }) {
            different += differences(option, state.options[option], expected)
        }
        guard different.isEmpty else {
            let lines = ["\(path): found a run with other options than this trainer's"] + different
            throw Failure(.invalidArgument, lines.joined(separator: "\n    "))
        }
        let history = state.history
        let counters =
            history.epochs.flatMap {
                [$0.iterations, $0.predictions, $0.training.count, $0.training.correct, $0.training.correctTop5]
            } + [state.iteration, state.stepsOfMomentum, history.epochs.count]
        let tracked = [state.batchesTracked, state.bestBatchesTracked].compactMap(\.self)
        guard counters.allSatisfy({ (0...largestCount).contains($0) }), history.epochs.count <= Self.mostEpochs,
            history.epochs.indices.allSatisfy({ history.epochs[$0].number == $0 }),
            history.epochs.dropLast().allSatisfy(\.isComplete),
            history.bestEpoch.map((0..<history.completeEpochs).contains) ?? (history.completeEpochs == 0),
            (history.bestEpoch == nil) == (state.bestBatchesTracked == nil),
            tracked.allSatisfy({ $0.count == model.batchesTracked.count })
        else { throw Failure(.corrupt, "\(path): counters that contradict each other found in \(Self.metadataKey)") }
    }
}
