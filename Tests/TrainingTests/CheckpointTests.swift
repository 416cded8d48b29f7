import Foundation
import Kernels
import Networks
import Optimization
import TestSupport
import Testing
import Training

@Suite struct CheckpointTests {
    static let predictors: [(any Predictor)?] = [
        nil, PLP(), PLP(period: 5, momentum: .reset, statistics: .predicted), Lookahead(statistics: .predicted),
        EMA(decay: 0.9),
    ]

    /// Stopped in the middle of an epoch and of a predictor's cycle, restored into a new trainer and finished, a run is
    /// bit for bit the one that nothing stopped.
    @Test(arguments: predictors.indices, [(0, 4), (1, 0)])
    func resumesToTheLastBit(predictor: Int, stop: (epoch: Int, iteration: Int)) throws {
        let predictor = Self.predictors[predictor]
        func trainer() throws -> Trainer {
            try Small.trainer(optimizer: .demon(learningRate: 0.05), predictor: predictor)
        }
        func fit(_ trainer: Trainer, _ reply: (Trainer.Progress) -> Trainer.Progress.Reply = { _ in .proceed }) throws {
            try trainer.fit(
                Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2, onProgress: reply)
        }
        let whole = try trainer()
        try fit(whole)
        let first = try trainer()
        try fit(first) { ($0.epoch, $0.iteration) == (stop.epoch, stop.iteration) ? .stop : .proceed }
        let second = try trainer()
        let folder = try Folder()
        try first.save(to: folder.path + "/run.safetensors")
        try second.restore(from: folder.path + "/run.safetensors")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["run.safetensors"])
        #expect(try Snapshot(second) == Snapshot(first))
        #expect(second.optimizer.iteration == stop.epoch * 7 + stop.iteration + 1)
        try fit(second)
        #expect(try Snapshot(second) == Snapshot(whole))
    }

    /// A callback may save at any moment, and the run goes on undisturbed.
    @Test func savesFromACallback() throws {
        let whole = try Small.trainer(predictor: PLP())
        let folder = try Folder()
        var files: [String] = []
        try whole.fit(Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2) {
            let file = "\(folder.path)/\($0.phase)-\($0.epoch)-\($0.iteration)"
            if $0.phase != .training {
                files.append(file)
                do { try whole.save(to: file) } catch { Issue.record(error) }
            }
            return .proceed
        }
        #expect(files.count == 5)
        for file in files {
            let trainer = try Small.trainer(predictor: PLP())
            try trainer.restore(from: file)
            try trainer.fit(Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2)
            #expect(try Snapshot(trainer) == Snapshot(whole))
        }
    }

    @Test func refusesOtherFilesAndOtherTrainers() throws {
        let folder = try Folder()
        let path = folder.path + "/run.safetensors"
        let source = try Small.trainer(predictor: PLP())
        try source.fit(Small.training, epochs: 1) { $0.iteration == 4 ? .stop : .proceed }
        try source.save(to: path)

        let trainer = try Small.trainer(predictor: PLP())
        let before = try Snapshot(trainer)
        expectFailure(.notFound, "none.safetensors") { try trainer.restore(from: folder.path + "/none.safetensors") }
        try trainer.model.save(to: folder.path + "/model.safetensors")
        expectFailure(.corrupt, "model.safetensors", "checkpoint") {
            try trainer.restore(from: folder.path + "/model.safetensors")
        }
        let bytes = try Data(contentsOf: URL(filePath: path))
        for length in [0, 7, 100, bytes.count / 2, bytes.count - 1] {
            try bytes.prefix(length).write(to: URL(filePath: folder.path + "/short"))
            expectFailure(.corrupt, "short") { try trainer.restore(from: folder.path + "/short") }
        }
        var missing = try Safetensors(path: path)
        missing.tensors.removeAll { $0.name == "memory.fc.bias" }
        try missing.write(to: folder.path + "/missing")
        expectFailure(.corrupt, "missing: no float32 tensor memory.fc.bias") {
            try trainer.restore(from: folder.path + "/missing")
        }
        for (found, damage) in [("\"number\":0", "\"number\":7"), ("\"iteration\":5", "\"iteration\":-1")] {
            var damaged = try Safetensors(path: path)
            for (key, json) in damaged.metadata {
                #expect(json.contains(found))
                damaged.metadata[key] = json.replacingOccurrences(of: found, with: damage)
            }
            try damaged.write(to: folder.path + "/damaged")
            expectFailure(.corrupt, "damaged: counters") { try trainer.restore(from: folder.path + "/damaged") }
        }
        #expect(try Snapshot(trainer) == before)

        let others: [(String, Trainer)] = [
            ("batch size", try Small.trainer(predictor: PLP(), batchSize: 4)),
            ("seed", try Small.trainer(predictor: PLP(), seed: 9)),
            ("predictor", try Small.trainer()), ("predictor", try Small.trainer(predictor: PLP(period: 4))),
            ("optimizer", try Small.trainer(optimizer: SGD(learningRate: 0.06), predictor: PLP())),
            ("schedule", try Small.trainer(schedule: .constant, predictor: PLP())),
            ("model", try Small.trainer(model: Small.model(seed: 8), predictor: PLP())),
        ]
        for (option, other) in others {
            expectFailure(.invalidArgument, "run.safetensors: \(option): found") { try other.restore(from: path) }
        }
        try trainer.restore(from: path)
        #expect(try Snapshot(trainer) == Snapshot(source))
    }

    /// Saving that fails at once, or at the last, the renaming. What fails half way needs a process of its own, whose
    /// files may not grow, and has it in Tests/Python/test_training.py.
    @Test func failedSavingLeavesNothingBehind() throws {
        let folder = try Folder()
        let trainer = try Small.trainer()
        expectFailure(.notFound, "nowhere/run.safetensors") {
            try trainer.save(to: folder.path + "/nowhere/run.safetensors")
        }
        // A folder cannot be replaced by a file.
        let path = folder.path + "/taken"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        expectFailure(.inputOutput, "taken: renaming failed") { try trainer.save(to: path) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["taken"])
    }
}
