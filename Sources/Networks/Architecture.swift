// Which networks there are. Each is one file, which says what a network is called, what it takes, and which layers it
// has; the list is here. What C, Python and the command offer follows from it, and a test compares their documentation.

import PLPKernels

/// A network that models are made of.
public struct Architecture: Sendable {
    /// What files, C and Python call it.
    public let name: String
    /// The images it can take, in pixels along a side.
    public let imageSizes: ClosedRange<Int>
    /// The probability with which dropout zeroes a value where a configuration says nothing else; 0 where nothing drops.
    public let defaultDropout: Float
    /// Writes the layers down, in the order they run. The last one's outputs are the logits.
    let layers: @Sendable (_ graph: inout Graph, _ configuration: ModelConfiguration) -> Void

    package init(
        _ name: String, imageSizes: ClosedRange<Int> = ImageShape.sizes, dropout: Float = 0,
        layers: @escaping @Sendable (_ graph: inout Graph, _ configuration: ModelConfiguration) -> Void
    ) {
        self.name = name
        self.imageSizes = imageSizes
        defaultDropout = dropout
        self.layers = layers
    }
}

/// Those of the experiment, as in the public trainer weiaicunzai/pytorch-cifar100, whose parameter names and shapes they
/// keep.
extension Architecture: CaseIterable {
    public static let allCases: [Architecture] = [.resnet18, .vgg16, .googlenet]
}

extension Architecture: Hashable, CustomStringConvertible {
    public static func == (one: Architecture, other: Architecture) -> Bool { one.name == other.name }

    public func hash(into hasher: inout Hasher) { hasher.combine(name) }

    public var description: String { name }

    /// The network of a name; nil where there is none.
    public init?(named name: String) {
        guard let known = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = known
    }
}

/// In files, a network is its name.
extension Architecture: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let known = Self(named: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no network of that name")
        }
        self = known
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(name)
    }
}
