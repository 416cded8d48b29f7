// A labelled set of colour images, and its division into training and validation images. Where sets come from is in
// CIFAR.swift and Synthetic.swift.

import PLPBase
import PLPKernels

/// Labelled RGB images of one size, kept as bytes; it does not change once made.
public final class Dataset: @unchecked Sendable {
    /// What messages call it.
    public let name: String
    /// Images, at least one.
    public let count: Int
    package let imageShape: ImageShape
    /// Pixels along a side of an image.
    public var imageSize: Int { imageShape.size }
    /// Number of classes; labels are below it.
    public let classes: Int
    /// One label for each image.
    public let labels: [Int32]
    /// The classes' names, where they are known.
    public let labelNames: [String]?
    /// Bytes [count][3][size][size] (NCHW): red, green, blue, each row by row. Valid as long as the set lives.
    public let images: UnsafePointer<UInt8>
    /// What keeps `images` in memory.
    private let storage: Bytes

    /// Takes over a block of memory that holds `labels.count` images from `offset` on.
    init(
        name: String, _ storage: Bytes, offset: Int = 0, imageShape: ImageShape = .cifar, labels: [Int32], classes: Int,
        labelNames: [String]?
    ) throws(Failure) {
        try require(
            (1...Int(Int32.max)).contains(classes), name, "\(classes) classes",
            expected: "1 to \(grouped(Int(Int32.max)))")
        try require(!labels.isEmpty, name, "no image", expected: "at least 1")
        if let image = labels.firstIndex(where: { !(0..<Int32(classes)).contains($0) }) {
            throw Failure(
                .invalidArgument,
                "\(name): found label \(labels[image]) at image \(image), expected 0 to \(classes - 1)")
        }
        if let labelNames {
            try require(
                labelNames.count == classes, name, "\(labelNames.count) label names", expected: "\(classes)")
        }
        self.name = name
        self.storage = storage
        self.imageShape = imageShape
        self.labels = labels
        self.classes = classes
        self.labelNames = labelNames
        count = labels.count
        images = UnsafePointer(storage.start + offset)
    }

    /// A set of the caller's own images, which are copied.
    ///
    /// - Parameters:
    ///   - images: bytes [n][3][size][size]: red, green and blue planes, each row by row.
    ///   - imageSize: pixels along a side, 16 to 96.
    ///   - labels: one for each image, from 0 to `classes - 1`.
    ///   - classes: number of classes; without it, one more than the largest label.
    /// - Throws: `Failure(.invalidArgument)` where sizes do not agree or a label is out of range.
    public convenience init(
        images: [UInt8], imageSize: Int = 32, labels: [Int32], classes: Int? = nil, labelNames: [String]? = nil,
        name: String = "images"
    ) throws(Failure) {
        let storage = try Bytes(count: images.count)
        images.withUnsafeBytes { storage.copy($0) }
        try self.init(storage, imageSize, labels, classes, labelNames, name)
    }

    /// The same from memory of whatever kind.
    package convenience init(
        images: UnsafeRawBufferPointer, imageSize: Int = 32, labels: [Int32], classes: Int? = nil,
        labelNames: [String]? = nil, name: String = "images"
    ) throws(Failure) {
        let storage = try Bytes(count: images.count)
        storage.copy(images)
        try self.init(storage, imageSize, labels, classes, labelNames, name)
    }

    private convenience init(
        _ storage: Bytes, _ imageSize: Int, _ labels: [Int32], _ classes: Int?, _ labelNames: [String]?, _ name: String
    ) throws(Failure) {
        let imageShape = try ImageShape(size: imageSize)
        let (found, expected) = (storage.count, labels.count * imageShape.values)
        try require(
            found == expected, name, "\(grouped(found)) bytes",
            expected: "\(grouped(expected)) (\(grouped(labels.count)) labels, each of an image of \(imageShape) bytes)")
        try self.init(
            name: name, storage, imageShape: imageShape, labels: labels, classes: classes ?? Int(labels.max() ?? 0) + 1,
            labelNames: labelNames)
    }

    /// The bytes [3][size][size] of one image.
    public func image(_ index: Int) -> UnsafePointer<UInt8> { images + index * imageShape.values }

    /// Divides the images at random into training and validation images.
    ///
    /// - Parameters:
    ///   - fraction: validation's share of the images, from 0 (no validation image) to below 1.
    /// - Returns: indices of images, each in ascending order. Every image is in one of the two.
    /// - Throws: `Failure(.invalidArgument)` for another fraction, or one that leaves either part empty.
    public func split(
        validation fraction: Double, seed: UInt64
    ) throws(Failure) -> (training: [Int], validation: [Int]) {
        try require(fraction >= 0 && fraction < 1, "validation fraction", fraction, expected: "0 to below 1")
        let held = Int((Double(count) * fraction).rounded())
        guard held < count, held > 0 || fraction == 0 else {
            throw Failure(
                .invalidArgument,
                """
                validation fraction: \(fraction) of \(name)'s \(count) images leaves none for \
                \(held == 0 ? "validation" : "training")
                """)
        }
        var order = Array(0..<count)
        var random = RandomStream(seed: seed, .split)
        random.shuffle(&order)
        return (order[held...].sorted(), order[..<held].sorted())
    }
}
