// How training images are varied.

import PLPBase
import PLPKernels

/// Random variations of training images, by parts: what each part draws does not depend on whether the others are on.
public struct Augmentation: Sendable, Equatable, Encodable {
    /// The image is padded with so many black pixels on each side, and a random window of its old size is taken; 0 is
    /// off.
    public let crop: Int
    /// Half of the images are mirrored, left to right.
    public let flip: Bool
    /// The image is rotated about its centre by up to so many degrees either way, to the nearest pixel (torchvision's
    /// default, so that results compare), black outside; 0 is off.
    public let rotation: Float

    /// - Throws: `Failure(.invalidArgument)` unless crop is 0 to 96 and rotation 0 to 180.
    public init(crop: Int = 0, flip: Bool = false, rotation: Float = 0) throws(Failure) {
        let largest = ImageShape.sizes.upperBound
        try require(
            (0...largest).contains(crop), "augmentation", "crop of \(crop) pixels", expected: "0 to \(largest)")
        try require(
            (0...180).contains(rotation), "augmentation", "rotation of \(rotation) degrees", expected: "0 to 180")
        self.init(known: crop, flip, rotation)
    }

    private init(known crop: Int, _ flip: Bool, _ rotation: Float) {
        self.crop = crop
        self.flip = flip
        self.rotation = rotation
    }

    /// Images as they are.
    public static let none = Augmentation(known: 0, false, 0)
    /// Padding by 4 and mirroring, usual for CIFAR.
    public static let standard = Augmentation(known: 4, true, 0)

    /// What happens to an image of the data set in an epoch.
    func placement(seed: UInt64, epoch: Int, image: Int) -> Placement {
        if self == .none { return .unmoved }
        var random = RandomStream(
            seed: seed, .augmentation, UInt64(truncatingIfNeeded: epoch), UInt64(truncatingIfNeeded: image))
        let dx = random.below(2 * crop + 1) - crop
        let dy = random.below(2 * crop + 1) - crop
        let mirrored = random.next() >> 63 == 1
        let angle = random.uniform(-rotation..<rotation)
        return Placement(dx: dx, dy: dy, mirrored: flip && mirrored, angle: angle)
    }
}
