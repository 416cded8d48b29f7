// The optimizers as C knows them.

import CPLP
import PLPTraining

/// An optimizer that C has a kind of, with its options.
private protocol Listed: Optimizer {
    static var kind: plp_optimizer_kind { get }
    static var standard: Self { get }
    init(_ options: plp_optimizer_options)
    /// Writes the options that this kind looks at.
    func write(to options: inout plp_optimizer_options)
}

private let all: [any Listed.Type] = [SGD.self, AdamW.self]

private func listed(_ kind: plp_optimizer_kind) throws(Failure) -> any Listed.Type {
    guard let found = all.first(where: { $0.kind == kind }) else {
        throw .argument("kind", found: kind.rawValue, expected: "a plp_optimizer_kind")
    }
    return found
}

/// The optimizer that options describe.
func makeOptimizer(_ options: UnsafePointer<plp_optimizer_options>?) throws(Failure) -> any Optimizer {
    let options = try given(options, "optimizer")
    return try listed(options.kind).init(options)
}

extension SGD: Listed {
    static var kind: plp_optimizer_kind { PLP_OPTIMIZER_SGD }
    static var standard: SGD { SGD() }

    init(_ options: plp_optimizer_options) {
        self.init(
            learningRate: options.learning_rate, momentum: options.momentum, nesterov: options.nesterov != 0,
            demon: options.demon != 0, weightDecay: options.weight_decay)
    }

    func write(to options: inout plp_optimizer_options) {
        options.learning_rate = learningRate
        options.weight_decay = weightDecay
        options.momentum = momentum
        options.nesterov = nesterov ? 1 : 0
        options.demon = demon ? 1 : 0
    }
}

extension AdamW: Listed {
    static var kind: plp_optimizer_kind { PLP_OPTIMIZER_ADAMW }
    static var standard: AdamW { AdamW() }

    init(_ options: plp_optimizer_options) {
        self.init(
            learningRate: options.learning_rate, beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
            weightDecay: options.weight_decay)
    }

    func write(to options: inout plp_optimizer_options) {
        options.learning_rate = learningRate
        options.weight_decay = weightDecay
        options.beta1 = beta1
        options.beta2 = beta2
        options.epsilon = epsilon
    }
}

extension plp_optimizer_options: Sized {}

@c @implementation
public func plp_optimizer_options_init(
    _ options: UnsafeMutablePointer<plp_optimizer_options>?, _ struct_size: Int, _ kind: plp_optimizer_kind
) -> plp_status {
    initialize(options, size: struct_size) { () throws(Failure) in
        var options = plp_optimizer_options()
        options.struct_size = plp_optimizer_options.size
        options.kind = kind
        try listed(kind).standard.write(to: &options)
        return options
    }
}
