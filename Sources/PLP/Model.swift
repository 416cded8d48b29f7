// plp_model.

import CPLP
import PLPBase
import PLPKernels
import PLPTraining

final class ModelHandle: Handle, @unchecked Sendable {
    override class var noun: String { "model" }

    private let ownTurns = Turns()
    override var turns: Turns { ownTurns }

    let model: Model
    private let architecture: OwnedString
    /// Of the data sets that descriptions have told of, since who asked may still look at the older ones.
    private let dataNames = Lock<[String: OwnedString]>([:])
    private let entryNames: [OwnedString]
    private let indices: [String: Int]
    /// Made at the first call that needs one, and kept for the next ones.
    private var cached: (evaluator: Evaluator, batchSize: Int, threads: Int64)?

    init(_ model: Model) {
        self.model = model
        architecture = OwnedString(model.configuration.architecture.name)
        entryNames = model.entries.map { OwnedString($0.name) }
        indices = Dictionary(uniqueKeysWithValues: model.entries.enumerated().map { ($1.name, $0) })
    }

    var description: plp_model_info {
        let configuration = model.configuration
        let dataName = model.trainedOn.map { name in
            Fork.postponed {
                dataNames.withLock { known in
                    if known[name] == nil { known[name] = OwnedString(name) }
                    return known[name]!
                }
            }
        }
        return plp_model_info(
            struct_size: plp_model_info.size, architecture: architecture.pointer,
            classes: Int64(configuration.classes), image_size: Int64(configuration.imageSize),
            width: configuration.width, dropout: Double(configuration.dropout),
            channel_count_epsilons: configuration.channelCountEpsilons ? 1 : 0, seed: configuration.seed,
            mean: triple(configuration.mean), deviation: triple(configuration.deviation),
            parameter_count: Int64(model.parameterCount), entry_count: Int64(model.entries.count),
            trained_on: dataName?.pointer)
    }

    func entry(_ index: Int64) throws(Failure) -> StateEntry {
        model.entries[try number(index, "index", in: 0...model.entries.count - 1)]
    }

    func index(named name: String) throws(Failure) -> Int64 {
        guard let index = indices[name] else {
            throw .argument(
                "name", found: "\"\(name)\"",
                expected: "an entry of \(model.configuration.architecture)'s state dictionary")
        }
        return Int64(index)
    }

    func describe(_ index: Int64) throws(Failure) -> plp_entry {
        let entry = try entry(index)
        var shape: (Int64, Int64, Int64, Int64) = (1, 1, 1, 1)
        withUnsafeMutableBytes(of: &shape) { shape in
            for (axis, size) in entry.shape.enumerated() {
                shape.storeBytes(of: Int64(size), toByteOffset: axis * 8, as: Int64.self)
            }
        }
        return plp_entry(
            struct_size: plp_entry.size, name: entryNames[Int(index)].pointer, kind: entry.kind.code,
            dtype: entry.kind == .counter ? PLP_INT64 : PLP_FLOAT32, rank: Int64(entry.shape.count), shape: shape,
            bytes: entry.bytes)
    }

    /// One for `count` images of a call that has its turn.
    func evaluator(images count: Int, threads: Int64) throws(Failure) -> Evaluator {
        let batchSize = min(count, 128)
        if let cached, cached.threads == threads, cached.batchSize >= batchSize { return cached.evaluator }
        cached = nil  // its memory is free for the next one
        let evaluator = try Evaluator(model, batchSize: batchSize, threads: Int(threads))
        cached = (evaluator, batchSize, threads)
        return evaluator
    }
}

extension StateEntry {
    /// Of its values, as C sees them.
    var bytes: Int { count * (kind == .counter ? MemoryLayout<Int64>.stride : MemoryLayout<Float>.stride) }

    /// Throws where a caller's array is not as large as the values.
    func check(bytes: Int) throws(Failure) {
        guard bytes == self.bytes else {
            throw .argument("bytes", found: bytes, expected: "\(self.bytes) for \(name) of shape \(shape)")
        }
    }
}

extension StateEntry.Kind {
    var code: plp_entry_kind {
        switch self {
        case .parameter: PLP_ENTRY_PARAMETER
        case .statistic: PLP_ENTRY_STATISTIC
        case .counter: PLP_ENTRY_COUNTER
        }
    }
}

extension PlanarImages {
    /// An array [count][3][size][size] of the caller's.
    init(_ images: UnsafeRawPointer?, _ dtype: plp_dtype, _ shape: ImageShape, count: Int) throws(Failure) {
        let images = try present(images, "images")
        let values = count * shape.values
        switch dtype {
        case PLP_UINT8:
            self = .bytes(UnsafeBufferPointer(start: images.assumingMemoryBound(to: UInt8.self), count: values))
        case PLP_FLOAT32:
            self = .values(UnsafeBufferPointer(start: images.assumingMemoryBound(to: Float.self), count: values))
        default: throw .argument("dtype", found: dtype.rawValue, expected: "PLP_UINT8 or PLP_FLOAT32")
        }
    }
}

private func triple(_ values: [Float]) -> (Float, Float, Float) { (values[0], values[1], values[2]) }

extension plp_model_info: Sized {}
extension plp_entry: Sized {}

extension plp_model_options: Options {
    private static let defaultArchitecture = OwnedString(Architecture.resnet18.name)

    static var defaults: plp_model_options {
        let configuration = ModelConfiguration(.resnet18)
        return plp_model_options(
            struct_size: size, architecture: defaultArchitecture.pointer, classes: Int64(configuration.classes),
            image_size: Int64(configuration.imageSize), width: configuration.width, dropout: nil,
            channel_count_epsilons: 0, seed: configuration.seed, mean: triple(configuration.mean),
            deviation: triple(configuration.deviation), trained_on: nil)
    }

    func configuration() throws(Failure) -> ModelConfiguration {
        let name = try text(architecture, "architecture")
        guard let architecture = Architecture(named: name) else {
            let names = Architecture.allCases.map(\.name).joined(separator: ", ")
            throw .argument("architecture", found: "\"\(name)\"", expected: "one of \(names)")
        }
        return ModelConfiguration(
            architecture, classes: Int(classes), imageSize: Int(image_size), width: width,
            dropout: dropout.map { Float($0.pointee) },
            channelCountEpsilons: channel_count_epsilons != 0, seed: seed, mean: [mean.0, mean.1, mean.2],
            deviation: [deviation.0, deviation.1, deviation.2])
    }
}

@c @implementation
public func plp_model_options_init(_ options: UnsafeMutablePointer<plp_model_options>?, _ struct_size: Int)
    -> plp_status
{
    initialize(options, size: struct_size)
}

@c @implementation
public func plp_model_create(
    _ options: UnsafePointer<plp_model_options>?, _ model: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    attempt { () throws(Failure) in
        let model = try present(model, "model")
        let options = try chosen(options)
        let made = try Model(try options.configuration())
        if options.trained_on != nil { made.trainedOn = try text(options.trained_on, "trained_on") }
        publish(ModelHandle(made), to: model)
    }
}

@c @implementation
public func plp_model_load(
    _ path: UnsafePointer<CChar>?, _ model: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    attempt { () throws(Failure) in
        let model = try present(model, "model")
        publish(ModelHandle(try Model(path: try text(path, "path"))), to: model)
    }
}

@c @implementation
public func plp_model_save(_ model: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> plp_status {
    attempt(model, .reading) { (handle: ModelHandle) throws(Failure) in
        try handle.model.save(to: try text(path, "path"))
    }
}

@c @implementation
public func plp_model_describe(_ model: OpaquePointer?, _ info: UnsafeMutablePointer<plp_model_info>?) -> plp_status {
    attempt(model, nil) { (handle: ModelHandle) throws(Failure) in
        try destination(info, "info").pointee = handle.description
    }
}

@c @implementation
public func plp_model_entry(
    _ model: OpaquePointer?, _ index: Int64, _ entry: UnsafeMutablePointer<plp_entry>?
) -> plp_status {
    attempt(model, nil) { (handle: ModelHandle) throws(Failure) in
        try destination(entry, "entry").pointee = try handle.describe(index)
    }
}

@c @implementation
public func plp_model_find_entry(
    _ model: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ index: UnsafeMutablePointer<Int64>?
) -> plp_status {
    attempt(model, nil) { (handle: ModelHandle) throws(Failure) in
        try present(index, "index").pointee = try handle.index(named: try text(name, "name"))
    }
}

extension ModelHandle {
    fileprivate func copyValues(of entry: StateEntry, to target: UnsafeMutableRawPointer) {
        if entry.kind == .counter {
            target.storeBytes(of: model.batchesTracked[entry.offset], as: Int64.self)
        } else {
            model.copyValues(of: entry, to: target)
        }
    }

    fileprivate func setValues(of entry: StateEntry, from source: UnsafeRawPointer) {
        if entry.kind == .counter {
            model.batchesTracked[entry.offset] = source.loadUnaligned(as: Int64.self)
        } else {
            model.setValues(of: entry, from: source)
        }
    }

    /// All entries with the caller's arrays for them.
    fileprivate func arrays<Pointer>(
        _ values: UnsafePointer<Pointer?>?, _ bytes: UnsafePointer<Int>?
    ) throws(Failure) -> [(entry: StateEntry, array: Pointer)] {
        let (values, bytes) = (try present(values, "values"), try present(bytes, "bytes"))
        var arrays: [(StateEntry, Pointer)] = []
        for (index, entry) in model.entries.enumerated() {
            try entry.check(bytes: bytes[index])
            arrays.append((entry, try present(values[index], "values[\(index)]")))
        }
        return arrays
    }
}

@c @implementation
public func plp_model_get_values(
    _ model: OpaquePointer?, _ index: Int64, _ values: UnsafeMutableRawPointer?, _ bytes: Int
) -> plp_status {
    attempt(model, .reading) { (handle: ModelHandle) throws(Failure) in
        let entry = try handle.entry(index)
        try entry.check(bytes: bytes)
        handle.copyValues(of: entry, to: try present(values, "values"))
    }
}

@c @implementation
public func plp_model_set_values(
    _ model: OpaquePointer?, _ index: Int64, _ values: UnsafeRawPointer?, _ bytes: Int
) -> plp_status {
    attempt(model, .changing) { (handle: ModelHandle) throws(Failure) in
        let entry = try handle.entry(index)
        try entry.check(bytes: bytes)
        handle.setValues(of: entry, from: try present(values, "values"))
    }
}

@c @implementation
public func plp_model_get_state(
    _ model: OpaquePointer?, _ values: UnsafePointer<UnsafeMutableRawPointer?>?, _ bytes: UnsafePointer<Int>?
) -> plp_status {
    attempt(model, .reading) { (handle: ModelHandle) throws(Failure) in
        for (entry, array) in try handle.arrays(values, bytes) { handle.copyValues(of: entry, to: array) }
    }
}

@c @implementation
public func plp_model_set_state(
    _ model: OpaquePointer?, _ values: UnsafePointer<UnsafeRawPointer?>?, _ bytes: UnsafePointer<Int>?
) -> plp_status {
    attempt(model, .changing) { (handle: ModelHandle) throws(Failure) in
        for (entry, array) in try handle.arrays(values, bytes) { handle.setValues(of: entry, from: array) }
    }
}

@c @implementation
public func plp_model_logits(
    _ model: OpaquePointer?, _ images: UnsafeRawPointer?, _ dtype: plp_dtype, _ count: Int64, _ threads: Int64,
    _ logits: UnsafeMutablePointer<Float>?
) -> plp_status {
    attempt(model, .reading) { (handle: ModelHandle) throws(Failure) in
        let count = try number(count, "count", in: imageCounts)
        let images = try PlanarImages(images, dtype, handle.model.imageShape, count: count)
        let logits = try present(logits, "logits")
        try handle.evaluator(images: count, threads: threads).logits(images, to: logits)
    }
}

@c @implementation
public func plp_model_evaluate(
    _ model: OpaquePointer?, _ dataset: OpaquePointer?, _ threads: Int64, _ callback: plp_callback?,
    _ userData: UnsafeMutableRawPointer?, _ metrics: UnsafeMutablePointer<plp_metrics>?
) -> plp_status {
    attempt(model, nil) { (handle: ModelHandle) throws(Failure) in
        let metrics = try present(metrics, "metrics")
        let dataset = try datasetBehind(dataset, "dataset")
        // A copy of its own, so that the model may be used, and changed, while it is measured.
        let copy = try handle.turns.take(for: .reading, ModelHandle.noun) { () throws(Failure) in
            try handle.model.copy()
        }
        let evaluator = try Evaluator(copy, batchSize: min(dataset.count, 128), threads: Int(threads))
        metrics.pointee = plp_metrics(try evaluator.evaluate(dataset) { $0.report(to: callback, userData) })
    }
}

@c @implementation
public func plp_model_free(_ model: OpaquePointer?) { release(model) }
