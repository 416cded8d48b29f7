// What Benchmarks/scaling.py asks for, as JSON: for one training step of a network, how long each part of each parallel
// loop takes on one thread, how long all between the loops takes, what a loop costs besides its parts, and how long whole
// steps take on one thread and on others.
//
//     LoopBenchmark NETWORK BATCH_SIZE ROUNDS THREADS …

import Foundation
import PLPBase
import PLPKernels
import PLPTraining

struct Report: Encodable {
    var vectors: String
    /// Seconds that a loop takes longer than its parts, by the number of threads.
    var barriers: [Int: Double] = [:]
    /// Seconds of whole steps, by the number of threads.
    var steps: [Int: [Double]] = [:]
    var sections: [LoopTimes.Section] = []
}

func seconds(_ body: () throws -> Void) rethrows -> Double {
    try Double(ContinuousClock().measure(body) / .nanoseconds(1)) * 1e-9
}

/// What a loop of a part for each thread takes longer than its parts, as the shortest mean of some loops.
func barrier(_ threads: Threads) -> Double {
    let (loops, part) = (20, 1e-5)
    return (0..<100).map { _ in
        seconds {
            for _ in 0..<loops {
                threads.forEach(threads.count) { _ in
                    let end = now() + part
                    while now() < end {}
                }
            }
        } / Double(loops) - part
    }.min()!
}

let arguments = CommandLine.arguments.dropFirst()
guard arguments.count > 3, let network = Architecture(named: arguments[1]), let batchSize = Int(arguments[2]),
    let rounds = Int(arguments[3])
else {
    FileHandle.standardError.write(Data("LoopBenchmark: expected NETWORK BATCH_SIZE ROUNDS THREADS …\n".utf8))
    exit(2)
}
let counts = arguments.dropFirst(3).compactMap { Int($0) }

var random = RandomStream(seed: 0, .synthesis)
let images = (0..<batchSize * 3 * 32 * 32).map { _ in random.uniform(-1..<1) }
let labels = (0..<batchSize).map { Int32($0 % 100) }

func trainer(_ threads: Int) throws -> Trainer {
    try Trainer(
        Model(ModelConfiguration(network, dropout: 0, seed: 0)),
        optimizer: SGD(learningRate: 0.01, momentum: 0.9, weightDecay: 5e-4), batchSize: batchSize, threads: threads)
}

func step(_ trainer: Trainer) throws {
    try images.withUnsafeBufferPointer { _ = try trainer.step(.values($0), labels: labels) }
}

var report = Report(vectors: Build.vectors)
let trainers = try counts.map { (count: $0, trainer: try trainer($0)) }
for (_, trainer) in trainers { try step(trainer) }
// Recorded steps between the others, so that both see the same machine.
let recorded = try trainer(1)
try step(recorded)
let times = LoopTimes()
for _ in 0..<rounds {
    times.beginStep()
    LoopTimes.current = times
    try step(recorded)
    LoopTimes.current = nil
    times.endStep()
    for count in counts { report.barriers[count] = min(report.barriers[count] ?? .infinity, barrier(Threads(count))) }
    for (count, trainer) in trainers { report.steps[count, default: []].append(try seconds { try step(trainer) }) }
}
report.sections = times.sections
FileHandle.standardOutput.write(try JSONEncoder().encode(report))
