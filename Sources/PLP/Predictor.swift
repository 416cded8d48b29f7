// The predictors as C knows them; plp_predictor, one at work; and its arithmetic, for whoever computes elsewhere.

import CPLP
import PLPKernels
import PLPTraining

/// A predictor that C has a kind of, with its options.
private protocol Listed: Predictor {
    static var kind: plp_predictor_kind { get }
    static var standard: Self { get }
    init(_ options: plp_predictor_options) throws(Failure)
    /// Writes the options that this kind looks at.
    func write(to options: inout plp_predictor_options)
}

private let all: [any Listed.Type] = [PLP.self, Lookahead.self, EMA.self, SWA.self]

private func listed(_ kind: plp_predictor_kind) throws(Failure) -> any Listed.Type {
    guard let found = all.first(where: { $0.kind == kind }) else {
        throw .argument("kind", found: kind.rawValue, expected: "a plp_predictor_kind")
    }
    return found
}

/// The predictor that options describe.
func makePredictor(_ options: UnsafePointer<plp_predictor_options>?, _ name: String) throws(Failure) -> any Predictor {
    let options = try given(options, name)
    let predictor = try listed(options.kind).init(options)
    try predictor.validate()
    return predictor
}

/// The watch of what options describe.
func makeWatch(
    _ options: UnsafePointer<plp_predictor_options>?, samples: Int64
) throws(Failure) -> Watch {
    let predictor = try makePredictor(options, "watch")
    guard let rule = predictor as? PLP else {
        throw .argument("watch", found: "\(type(of: predictor))", expected: "PLP, whose predictions are of places")
    }
    return Watch(rule, samples: try number(samples, "watch_samples", in: 0...1000))
}

extension PLP: Listed {
    static var kind: plp_predictor_kind { PLP_PREDICTOR_PLP }
    static var standard: PLP { PLP() }

    init(_ options: plp_predictor_options) throws(Failure) {
        self.init(
            coefficients: options.coefficients == nil && options.coefficient_count == 0
                ? PLP.coefficients(step: options.step)
                : try array(options.coefficients, options.coefficient_count, "coefficients"),
            period: options.period == 0 ? nil : Int(options.period), start: Int(options.start),
            end: options.end == .max ? nil : Int(options.end), momentum: try MomentumTreatment(options.momentum),
            statistics: try StatisticsTreatment(options.statistics))
    }

    /// Without coefficients, and with their number as the period, so that one may be changed without the other.
    func write(to options: inout plp_predictor_options) {
        options.start = Int64(start)
        options.end = end.map(Int64.init) ?? .max
        options.step = PLP.paperStep
        options.momentum = momentum.code
        options.statistics = statistics.code
    }
}

extension Lookahead: Listed {
    static var kind: plp_predictor_kind { PLP_PREDICTOR_LOOKAHEAD }
    static var standard: Lookahead { Lookahead() }

    init(_ options: plp_predictor_options) throws(Failure) {
        self.init(
            period: Int(options.period), rate: options.rate, momentum: try MomentumTreatment(options.momentum),
            statistics: try StatisticsTreatment(options.statistics))
    }

    func write(to options: inout plp_predictor_options) {
        options.period = Int64(period)
        options.rate = rate
        options.momentum = momentum.code
        options.statistics = statistics.code
    }
}

extension EMA: Listed {
    static var kind: plp_predictor_kind { PLP_PREDICTOR_EMA }
    static var standard: EMA { EMA() }

    init(_ options: plp_predictor_options) throws(Failure) {
        self.init(
            decay: options.decay, warmup: options.warmup != 0, statistics: try StatisticsTreatment(options.statistics))
    }

    func write(to options: inout plp_predictor_options) {
        options.decay = decay
        options.warmup = warmup ? 1 : 0
        options.statistics = statistics.code
    }
}

extension SWA: Listed {
    static var kind: plp_predictor_kind { PLP_PREDICTOR_SWA }
    static var standard: SWA { SWA(start: 0) }

    init(_ options: plp_predictor_options) throws(Failure) {
        self.init(
            start: Int(options.start), period: Int(options.period),
            statistics: try StatisticsTreatment(options.statistics))
    }

    func write(to options: inout plp_predictor_options) {
        options.period = Int64(period)
        options.start = Int64(start)
        options.statistics = statistics.code
    }
}

extension MomentumTreatment {
    var code: plp_momentum_rule {
        switch self {
        case .kept: PLP_MOMENTUM_KEPT
        case .reset: PLP_MOMENTUM_RESET
        }
    }

    init(_ code: plp_momentum_rule) throws(Failure) {
        guard let found = Self.allCases.first(where: { $0.code == code }) else {
            throw .argument("momentum", found: code.rawValue, expected: "a plp_momentum_rule")
        }
        self = found
    }
}

extension StatisticsTreatment {
    var code: plp_statistics_rule {
        switch self {
        case .kept: PLP_STATISTICS_KEPT
        case .predicted: PLP_STATISTICS_PREDICTED
        case .recomputed: PLP_STATISTICS_RECOMPUTED
        }
    }

    init(_ code: plp_statistics_rule) throws(Failure) {
        guard let found = Self.allCases.first(where: { $0.code == code }) else {
            throw .argument("statistics", found: code.rawValue, expected: "a plp_statistics_rule")
        }
        self = found
    }
}

extension plp_predictor_options: Sized {}

@c @implementation
public func plp_predictor_options_init(
    _ options: UnsafeMutablePointer<plp_predictor_options>?, _ struct_size: Int, _ kind: plp_predictor_kind
) -> plp_status {
    initialize(options, size: struct_size) { () throws(Failure) in
        var options = plp_predictor_options()
        options.struct_size = plp_predictor_options.size
        options.kind = kind
        try listed(kind).standard.write(to: &options)
        return options
    }
}

extension plp_action: Sized {}

@c @implementation
public func plp_predictor_action(
    _ options: UnsafePointer<plp_predictor_options>?, _ iteration: Int64, _ action: UnsafeMutablePointer<plp_action>?
) -> plp_status {
    attempt { () throws(Failure) in
        let predictor = try makePredictor(options, "options")
        let iteration = try number(iteration, "iteration", in: 0...Int.max / 2)
        let destination = try destination(action, "action")
        let action = predictor.action(after: iteration) ?? .none
        destination.pointee = plp_action(
            struct_size: plp_action.size, memory: (action.memory.x, action.memory.y),
            parameters: (action.parameters.x, action.parameters.y), changes_memory: action.changesMemory ? 1 : 0,
            replaces_parameters: action.replacesParameters ? 1 : 0,
            resets_momentum: action.replacesParameters && predictor.momentum == .reset ? 1 : 0,
            is_average: predictor.hasAverage(after: iteration) ? 1 : 0,
            remembers_start: predictor.remembersStart ? 1 : 0)
    }
}

final class PredictorHandle: Handle, @unchecked Sendable {
    override class var noun: String { "predictor" }

    private let ownTurns = Turns()
    override var turns: Turns { ownTurns }

    let prediction: Prediction

    init(_ prediction: Prediction) { self.prediction = prediction }

    func check(bytes: Int) throws(Failure) {
        let size = try prediction.stateSize()
        guard bytes == size else { throw .argument("bytes", found: bytes, expected: "\(size), the state's") }
    }
}

@c @implementation
public func plp_predictor_create(
    _ options: UnsafePointer<plp_predictor_options>?, _ parameters: UnsafePointer<Float>?, _ count: Int64,
    _ predictor: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    attempt { () throws(Failure) in
        let destination = try present(predictor, "predictor")
        let count = try number(count, "count", in: 0...Int.max / MemoryLayout<Float>.stride)
        let parameters = try present(parameters, "parameters")
        let prediction = try Prediction(makePredictor(options, "options"), count: count)
        prediction.begin(parameters)
        publish(PredictorHandle(prediction), to: destination)
    }
}

@c @implementation
public func plp_predictor_free(_ predictor: OpaquePointer?) { release(predictor) }

@c @implementation
public func plp_predictor_after_step(
    _ predictor: OpaquePointer?, _ parameters: UnsafeMutablePointer<Float>?, _ replaced: UnsafeMutablePointer<Int32>?
) -> plp_status {
    attempt(predictor, .changing) { (handle: PredictorHandle) throws(Failure) in
        let hasReplaced = handle.prediction.afterStep(try present(parameters, "parameters"))
        replaced?.pointee = hasReplaced ? 1 : 0
    }
}

@c @implementation
public func plp_predictor_average(_ predictor: OpaquePointer?, _ out: UnsafeMutablePointer<Float>?) -> plp_status {
    attempt(predictor, .reading) { (handle: PredictorHandle) throws(Failure) in
        let out = try present(out, "out")
        let prediction = handle.prediction
        guard prediction.hasAverage else {
            throw .argument(
                "predictor", found: "\(type(of: prediction.predictor)) after \(prediction.iteration) iterations",
                expected: "one that has an average")
        }
        out.update(from: prediction.memory.pointer, count: prediction.count)
    }
}

@c @implementation
public func plp_predictor_state_size(_ predictor: OpaquePointer?, _ bytes: UnsafeMutablePointer<Int>?) -> plp_status {
    attempt(predictor, .reading) { (handle: PredictorHandle) throws(Failure) in
        try present(bytes, "bytes").pointee = handle.prediction.stateSize()
    }
}

@c @implementation
public func plp_predictor_get_state(
    _ predictor: OpaquePointer?, _ state: UnsafeMutableRawPointer?, _ bytes: Int
) -> plp_status {
    attempt(predictor, .reading) { (handle: PredictorHandle) throws(Failure) in
        try handle.check(bytes: bytes)
        try handle.prediction.writeState(
            to: UnsafeMutableRawBufferPointer(start: try present(state, "state"), count: bytes))
    }
}

@c @implementation
public func plp_predictor_set_state(
    _ predictor: OpaquePointer?, _ state: UnsafeRawPointer?, _ bytes: Int
) -> plp_status {
    attempt(predictor, .changing) { (handle: PredictorHandle) throws(Failure) in
        let bytes = try number(Int64(clamping: bytes), "bytes", in: 0...Int.max)
        try handle.prediction.readState(from: UnsafeRawBufferPointer(start: try present(state, "state"), count: bytes))
    }
}
