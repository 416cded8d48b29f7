// A data set made by code, for where the real one is not at hand.

import PLPBase
import PLPKernels

private let canvas = ImageShape.cifar

extension Dataset {
    /// Made images of 100 classes in 20 groups of five: a group is a texture (class / 5), its classes are shapes that
    /// bear it. As many images of each class as the count allows.
    ///
    /// Place, size, tilt, the texture's phase, colours, light and noise are drawn for each image, so that pixels by
    /// themselves say little about the class: linear classifiers (ridge and logistic regression on the pixels of 10,000
    /// training images) get at most 12 % of test images right, and a ResNet18 of a quarter of its width 98 % after six
    /// epochs of them. Each texture tends to a hue, which gives networks something to begin with.
    ///
    /// An image is a function of seed, split and index: a longer set begins with the shorter one, and it is the same on
    /// every machine (nothing but IEEE's own operations is used).
    ///
    /// - Throws: `Failure(.invalidArgument)` unless `count` is 1 to 1,000,000.
    public static func synthetic(split: Split, count: Int, seed: UInt64 = 0) throws(Failure) -> Dataset {
        try require(
            (1...1_000_000).contains(count), "synthetic set", "\(count) images", expected: "1 to 1,000,000")
        let classes = Texture.all.count * Shape.allCases.count
        let pixels = try Bytes(count: count * canvas.values)
        let start = pixels.start
        let block = 256
        Threads().forEach((count - 1) / block + 1) { index in
            for image in index * block..<min((index + 1) * block, count) {
                var random = RandomStream(seed: seed, .synthesis, split == .train ? 0 : 1, UInt64(image))
                let label = image % classes
                let picture = Picture(
                    Shape.allCases[label % Shape.allCases.count], Texture.all[label / Shape.allCases.count], &random)
                picture.draw(to: start + image * canvas.values, &random)
            }
        }
        return try Dataset(
            name: "synthetic \(split)", pixels, labels: (0..<count).map { Int32($0 % classes) }, classes: classes,
            labelNames: Texture.all.flatMap { texture in Shape.allCases.map { "\($0) of \(texture.name)" } })
    }
}

private enum Shape: CaseIterable {
    case disc, square, triangle, cross, ring

    /// Signed distance, roughly, from the edge of a shape of radius 1 (negative inside).
    func distance(_ u: Float, _ v: Float) -> Float {
        switch self {
        case .disc: (u * u + v * v).squareRoot() - 1
        case .square: max(abs(u), abs(v)) - 0.88
        case .triangle: max(abs(u) * 0.866 - v * 0.5, v) - 0.62
        case .cross: max(min(abs(u), abs(v)) - 0.36, max(abs(u), abs(v)) - 1.08)
        case .ring: abs((u * u + v * v).squareRoot() - 0.76) - 0.3
        }
    }
}

private struct Texture {
    enum Kind: String, CaseIterable {
        case horizontal = "horizontal stripes"
        case vertical = "vertical stripes"
        case diagonal = "diagonal stripes"
        case checks, dots, rings, zigzag
    }

    let kind: Kind
    /// Pixels.
    let period: Float
    /// The place on the colour circle, 0 to 1, that its colours tend to.
    let hue: Float
    let name: String

    static let all: [Texture] = {
        var all: [Texture] = []
        for kind in Kind.allCases {
            let periods: [(String, Float)] =
                kind == .zigzag ? [("fine", 4), ("coarse", 7)] : [("fine", 3), ("medium", 4.8), ("coarse", 7.7)]
            for (name, period) in periods {
                // Neighbours are far apart on the circle.
                let hue = Float(all.count * 7 % 20) / 20
                all.append(Texture(kind: kind, period: period, hue: hue, name: "\(name) \(kind.rawValue)"))
            }
        }
        return all
    }()

    /// 0 to 1, at a place measured in periods.
    func value(_ x: Float, _ y: Float, fromCentre radius: Float) -> Float {
        switch kind {
        case .horizontal: wave(y)
        case .vertical: wave(x)
        case .diagonal: wave((x + y) * 0.7071)
        case .checks: 1 - abs(wave(x * 0.6) - wave(y * 0.6))
        case .dots: wave(x * 0.8) * wave(y * 0.8)
        case .rings: wave(radius)
        case .zigzag: wave(y + ramp(x * 0.6))
        }
    }
}

/// From 0 to 1 and back over a period of 1.
private func ramp(_ x: Float) -> Float { abs(2 * (x - x.rounded(.down)) - 1) }

/// The same, with steeper edges.
private func wave(_ x: Float) -> Float { min(max(2 * ramp(x) - 0.5, 0), 1) }

/// What is drawn for one image.
private struct Picture {
    typealias Colour = SIMD3<Float>

    let shape: Shape
    let texture: Texture
    let centre: (x: Float, y: Float)
    let radius: Float
    /// Cosine and sine.
    let tilt: (Float, Float)
    let frequency: Float
    let phase: (x: Float, y: Float)
    let mirrored: Bool
    let background: Colour
    let light: (x: Colour, y: Colour)
    let dark: Colour
    let bright: Colour
    let noise: Float

    init(_ shape: Shape, _ texture: Texture, _ random: inout RandomStream) {
        func colour(_ range: Range<Float> = 0..<255) -> Colour {
            Colour(random.uniform(range), random.uniform(range), random.uniform(range))
        }
        self.shape = shape
        self.texture = texture
        radius = random.uniform(8..<12)
        centre = (random.uniform(11..<20), random.uniform(11..<20))
        let slope = random.uniform(-0.2..<0.2)
        let length = (1 + slope * slope).squareRoot()
        tilt = (1 / length, slope / length)
        frequency = random.uniform(0.92..<1.08) / texture.period
        phase = (random.uniform(0..<1), random.uniform(0..<1))
        mirrored = random.next() >> 63 == 1
        background = colour(0..<130)
        light = ((colour() - 127) * 0.012, (colour() - 127) * 0.012)
        let hue = Colour(ramp(texture.hue), ramp(texture.hue + 1 / 3), ramp(texture.hue + 2 / 3))
        bright = hue * 60 + colour(70..<195)
        dark = bright * random.uniform(0.25..<0.55)
        noise = random.uniform(4..<16)
    }

    func draw(to pixels: UnsafeMutablePointer<UInt8>, _ random: inout RandomStream) {
        for y in 0..<canvas.size {
            for x in 0..<canvas.size {
                let (dx, dy) = (Float(x) - centre.x, Float(y) - centre.y)
                let u = tilt.0 * dx + tilt.1 * dy
                let v = tilt.0 * dy - tilt.1 * dx
                var colour = background + light.x * dx + light.y * dy
                let coverage = 0.5 - shape.distance(u / radius, v / radius) * radius
                if coverage > 0 {
                    let value = texture.value(
                        (mirrored ? -u : u) * frequency + phase.x, v * frequency + phase.y,
                        fromCentre: (u * u + v * v).squareRoot() * frequency + phase.x)
                    colour += (dark + (bright - dark) * value - colour) * min(coverage, 1)
                }
                let bits = random.next()
                for channel in 0..<ImageShape.channels {
                    // A sum of two uniform numbers, of variance 1/6 each.
                    let pair = bits >> UInt64(16 * channel)
                    let deviate = Float(pair & 255) + Float(pair >> 8 & 255) - 255
                    let value = colour[channel] + noise * deviate * (1 / 104.5)
                    pixels[channel * canvas.plane + y * canvas.size + x] = UInt8(min(max(value, 0), 255))
                }
            }
        }
    }
}
