// The predictors as C knows them, and what they do, for whoever computes elsewhere.

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

private let all: [any Listed.Type] = [PLP.self, Lookahead.self, EMA.self]

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
        self.init(decay: options.decay, statistics: try StatisticsTreatment(options.statistics))
    }

    func write(to options: inout plp_predictor_options) {
        options.decay = decay
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
