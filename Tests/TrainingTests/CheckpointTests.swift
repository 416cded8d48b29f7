import Foundation
import PLPBase
import PLPNetworks
import PLPOptimization
import PLPTestSupport
import Testing
import PLPTraining

@Suite struct CheckpointTests {
    static let predictors: [(any Predictor)?] = [
        nil, PLP(), PLP(period: 5, momentum: .reset, statistics: .predicted), Lookahead(statistics: .predicted),
        EMA(decay: 0.9), SWA(start: 1, period: 2),
    ]

    /// Stopped in the middle of an epoch and of a predictor's cycle, restored into a new trainer and finished on another
    /// number of threads, a run is bit for bit the one that nothing stopped.
    @Test(arguments: predictors.indices, [(0, 4), (1, 0)])
    func resumesToTheLastBit(predictor: Int, stop: (epoch: Int, iteration: Int)) throws {
        let predictor = Self.predictors[predictor]
        let optimizer: any Optimizer =
            predictor is SWA || predictor?.momentum == .reset ? AdamW() : SGD(learningRate: 0.05, demon: true)
        func trainer(threads: Int = 1) throws -> Trainer {
            try Small.trainer(optimizer: optimizer, predictor: predictor, threads: threads)
        }
        func fit(_ trainer: Trainer, _ reply: (Trainer.Progress) -> Trainer.Progress.Reply = { _ in .proceed }) throws {
            try trainer.fit(
                Small.training, validation: .fraction(0.2), test: Small.test, epochs: 2, onProgress: reply)
        }
        let whole = try trainer()
        try fit(whole)
        let first = try trainer(threads: 3)
        try fit(first) { ($0.epoch, $0.iteration) == (stop.epoch, stop.iteration) ? .stop : .proceed }
        let second = try trainer()
        let folder = try Folder()
        try first.save(to: folder.path + "/run.safetensors")
        try second.restore(from: folder.path + "/run.safetensors")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["run.safetensors"])
        #expect(try Snapshot(second) == Snapshot(first))
        #expect(second.stepper.iteration == stop.epoch * 7 + stop.iteration + 1)
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
        func change(_ found: String, _ change: String) throws {
            var changed = try Safetensors(path: path)
            for (key, json) in changed.metadata {
                #expect(json.contains(found))
                changed.metadata[key] = json.replacingOccurrences(of: found, with: change)
            }
            try changed.write(to: folder.path + "/changed")
        }
        for (found, damage) in [
            ("\"number\":0", "\"number\":7"), ("\"iteration\":5", "\"iteration\":-1"),
            ("\"isComplete\":false", "\"isComplete\":true"), ("\"data\":", "\"bestEpoch\":0,\"data\":"),
        ] {
            try change(found, damage)
            expectFailure(.corrupt, "changed: counters") { try trainer.restore(from: folder.path + "/changed") }
        }
        let zeros = "[\([String](repeating: "0", count: 1_000_001).joined(separator: ","))]"
        try change("\"batchesTracked\":", "\"batchesTracked\":\(zeros),\"was\":")
        expectFailure(.corrupt, "changed: plp.checkpoint: found more than 1,000,000 values") {
            try trainer.restore(from: folder.path + "/changed")
        }
        try change("\"isComplete\":", "\"wasComplete\":")
        expectFailure(
            .corrupt, "changed: plp.checkpoint: not the expected JSON: no isComplete found in history.epochs.0"
        ) { try trainer.restore(from: folder.path + "/changed") }
        // Whatever else another version has.
        try Safetensors(tensors: [], metadata: ["plp.checkpoint": #"{"version":1}"#]).write(to: folder.path + "/older")
        expectFailure(.invalidArgument, "older: version: found 1, expected 4") {
            try trainer.restore(from: folder.path + "/older")
        }
        #expect(try Snapshot(trainer) == before)

        try trainer.restore(from: path)
        #expect(try Snapshot(trainer) == Snapshot(source))
    }

    /// The longest run that there can be can be read again.
    @Test func longHistoriesGoThroughCheckpoints() throws {
        let folder = try Folder()
        let path = folder.path + "/run"
        let trainer = try Small.trainer()
        try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 1)
        try trainer.save(to: path)
        var file = try Safetensors(path: path)
        let text = try #require(file.metadata["plp.checkpoint"])
        var state = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        var history = try #require(state["history"] as? [String: Any])
        let epoch = try #require((history["epochs"] as? [[String: Any]])?.first)
        func write(epochs count: Int) throws {
            history["epochs"] = (0..<count).map { number in epoch.merging(["number": number]) { $1 } }
            state["history"] = history
            let bytes = try JSONSerialization.data(withJSONObject: state)
            file.metadata["plp.checkpoint"] = String(decoding: bytes, as: UTF8.self)
            try file.write(to: path)
        }
        try write(epochs: 25_001)
        expectFailure(.corrupt, "run: counters") { try trainer.restore(from: path) }
        try write(epochs: 25_000)
        try trainer.restore(from: path)
        try trainer.save(to: path)
        try trainer.restore(from: path)
        #expect(trainer.history.epochs.count == 25_000)
        expectFailure(.invalidArgument, "epochs: found 25001") {
            try trainer.fit(Small.training, validation: .fraction(0.2), epochs: 25_001)
        }
    }

    @Test func optionsThatDifferAreNamedOneByOne() throws {
        let folder = try Folder()
        let path = folder.path + "/run"
        try Small.trainer(schedule: .warmUp(epochs: 2, then: .cosine()), predictor: PLP(end: 9)).save(to: path)
        let of = (warmUp: Schedule.warmUp(epochs: 2, then: .cosine()), plp: PLP(end: 9))
        let cases: [([String], Trainer)] = [
            (
                ["batch_size: 8 in the checkpoint, 4 in the trainer", "seed: 1 in the checkpoint, 9 in the trainer"],
                try Small.trainer(schedule: of.warmUp, predictor: of.plp, batchSize: 4, seed: 9)
            ),
            (
                ["predictor: PLP in the checkpoint, none in the trainer"],
                try Small.trainer(schedule: of.warmUp)
            ),
            (
                [
                    "predictor.coefficients: [-0.5, 0.5, 1] in the checkpoint, [-1, 2] in the trainer",
                    "predictor.period: 3 in the checkpoint, 4 in the trainer",
                    "predictor.end: 9 in the checkpoint, nothing in the trainer",
                ], try Small.trainer(schedule: of.warmUp, predictor: PLP(coefficients: [-1, 2], period: 4))
            ),
            (
                [
                    "optimizer.lr: 0.05 in the checkpoint, 0.06 in the trainer",
                    "optimizer.weight_decay: 0.0001 in the checkpoint, 0 in the trainer",
                ],
                try Small.trainer(
                    optimizer: SGD(learningRate: 0.06, weightDecay: 0), schedule: of.warmUp, predictor: of.plp)
            ),
            (
                ["schedule: warm_up in the checkpoint, constant in the trainer"],
                try Small.trainer(schedule: .constant, predictor: of.plp)
            ),
            (
                ["schedule.then.floor: 0 in the checkpoint, 0.5 in the trainer"],
                try Small.trainer(schedule: .warmUp(epochs: 2, then: .cosine(floor: 0.5)), predictor: of.plp)
            ),
            (
                ["model.seed: 3 in the checkpoint, 8 in the trainer"],
                try Small.trainer(model: Small.model(seed: 8), schedule: of.warmUp, predictor: of.plp)
            ),
        ]
        for (lines, trainer) in cases {
            let before = try Snapshot(trainer)
            #expect(
                throws: Failure(
                    .invalidArgument,
                    (["\(path): found a run with other options than this trainer's"] + lines).joined(
                        separator: "\n    "))
            ) { try trainer.restore(from: path) }
            #expect(try Snapshot(trainer) == before)
        }
    }

    /// How options are written is part of the format: where this test has to change, so has the version.
    @Test func optionsAreWrittenAsEver() throws {
        struct State: Codable {
            var version: Int
            var options: [String: String]
        }
        func options(
            _ optimizer: any Optimizer, _ schedule: Schedule, _ predictor: (any Predictor)?
        ) throws -> [String: String] {
            let trainer = try Small.trainer(optimizer: optimizer, schedule: schedule, predictor: predictor)
            let folder = try Folder()
            try trainer.save(to: folder.path + "/run")
            let json = try #require(Safetensors(path: folder.path + "/run").metadata["plp.checkpoint"])
            let state = try JSONDecoder().decode(State.self, from: Data(json.utf8))
            #expect(state.version == 4)
            return state.options
        }
        #expect(
            try options(SGD(), .constant, nil) == [
                "optimizer":
                    #"SGD {"demon":false,"learningRate":0.001,"momentum":0.9,"nesterov":false,"weightDecay":0.0001}"#,
                "schedule": #"{"constant":{}}"#, "predictor": "none", "watch": "none", "batch size": "8",
                "augmentation": #"{"crop":4,"flip":true,"rotation":0}"#, "seed": "1",
            ])
        let kinds: [(Schedule, String, any Predictor, String)] = [
            (
                .warmUp(epochs: 0.5, then: .cosine(floor: 0.1)),
                #"{"warmUp":{"epochs":0.5,"then":{"cosine":{"floor":0.1}}}}"#, PLP(start: 6, end: 9),
                #"PLP {"coefficients":[-0.5,0.5,1],"end":9,"momentum":"kept","period":3,"start":6,"statistics":"kept"}"#
            ),
            (
                .multiStep(milestones: [1, 2]), #"{"multiStep":{"factor":0.2,"milestones":[1,2],"total":0}}"#,
                Lookahead(momentum: .reset),
                #"Lookahead {"momentum":"reset","period":5,"rate":0.5,"statistics":"kept"}"#
            ),
            (
                .cyclic(), #"{"cyclic":{"down":2000,"peak":2,"up":2000}}"#, EMA(),
                #"EMA {"decay":0.999,"statistics":"predicted","warmup":true}"#
            ),
            (
                .constant, #"{"constant":{}}"#, SWA(start: 5),
                #"SWA {"period":1,"start":5,"statistics":"recomputed"}"#
            ),
        ]
        for (schedule, scheduleText, predictor, predictorText) in kinds {
            let found = try options(AdamW(), schedule, predictor)
            #expect(
                found["optimizer"]
                    == #"AdamW {"beta1":0.9,"beta2":0.999,"epsilon":1e-08,"learningRate":0.001,"weightDecay":0.01}"#)
            #expect(found["schedule"] == scheduleText)
            #expect(found["predictor"] == predictorText)
        }
    }

    /// Saving that fails at once. What fails half way needs a process of its own, whose files may not grow, and has it in
    /// Tests/Python/test_training.py.
    @Test func failedSavingLeavesNothingBehind() throws {
        let folder = try Folder()
        let trainer = try Small.trainer()
        expectFailure(.notFound, "nowhere/run.safetensors") {
            try trainer.save(to: folder.path + "/nowhere/run.safetensors")
        }
        let path = folder.path + "/taken"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        expectFailure(.inputOutput, "taken: found a folder") { try trainer.save(to: path) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["taken"])
    }
}
