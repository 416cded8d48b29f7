// Where the time goes, by layer and operation.

/// Time that one layer's operation has taken so far.
public struct ProfileEntry: Sendable {
    public enum Operation: String, Sendable, CaseIterable {
        case convolution, normalization, pooling, dense, dropout
        case inputGradient, weightGradient, normalizationGradient, poolingGradient, reluGradient, dropoutGradient
        /// The optimizer's step over all parameters, prediction included.
        case update
    }

    public let layer: String
    public let operation: Operation
    public let seconds: Double
    public let calls: Int

    public init(layer: String, operation: Operation, seconds: Double, calls: Int) {
        (self.layer, self.operation, self.seconds, self.calls) = (layer, operation, seconds, calls)
    }
}
