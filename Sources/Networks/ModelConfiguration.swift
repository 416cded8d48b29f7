// What a network is made from: everything that decides its shape, its start and how it reads images.

import PLPBase
import PLPKernels

/// Everything a model is made from. Two models of one configuration start with the same parameters.
public struct ModelConfiguration: Sendable, Equatable, Codable {
    public var architecture: Architecture
    /// Number of classes, 2 to 100,000.
    public var classes: Int
    /// Pixels along a side of the images, 16 to 96; of VGG16 32 to 96. Where a layer halves a map of an odd size, what is
    /// left over is treated as in PyTorch: VGG16's poolings drop the last row and column, the other networks round up.
    public var imageSize: Int
    /// Factor on every channel count, above 0 and at most 8; counts are rounded to the nearest integer, at least 1.
    public var width: Double
    /// Probability with which dropout zeroes a value, from 0 up to, not including, 1. ResNet18 has no dropout.
    public var dropout: Float
    /// The public GoogLeNet passes a channel count as epsilon to nine of its batch normalisations, by mistake. True
    /// takes those, for its checkpoints; false takes 1e-5 everywhere.
    public var channelCountEpsilons: Bool
    /// Seed of the initial parameters.
    public var seed: UInt64
    /// How images become numbers: (pixel / 255 − mean) / deviation, for red, green and blue. CIFAR-100's by default.
    public var mean: [Float]
    public var deviation: [Float]

    public init(
        _ architecture: Architecture, classes: Int = 100, imageSize: Int = 32, width: Double = 1,
        dropout: Float? = nil,
        channelCountEpsilons: Bool = false, seed: UInt64 = 0,
        mean: [Float] = Normalization.cifar100.mean, deviation: [Float] = Normalization.cifar100.deviation
    ) {
        self.architecture = architecture
        self.classes = classes
        self.imageSize = imageSize
        self.width = width
        self.dropout = dropout ?? architecture.defaultDropout
        self.channelCountEpsilons = channelCountEpsilons
        self.seed = seed
        self.mean = mean
        self.deviation = deviation
    }

    /// Throws where a value is out of its range.
    public func validate() throws(Failure) {
        try require((2...100_000).contains(classes), "classes", classes, expected: "a number from 2 to 100,000")
        try require("image size of \(architecture)", imageSize, in: architecture.imageSizes)
        try require(width > 0 && width <= 8, "width", width, expected: "a number above 0 and at most 8")
        try require(
            dropout >= 0 && dropout < 1, "dropout", dropout, expected: "a probability from 0 up to, not including, 1")
        try require(
            !channelCountEpsilons || architecture == .googlenet, "channel-count epsilons", "true for \(architecture)",
            expected: "false, or the architecture googlenet")
        _ = try Normalization(mean: mean, deviation: deviation)
    }

    /// A channel count at this configuration's width.
    func channels(_ count: Int) -> Int { max(1, Int((Double(count) * width).rounded())) }
}
