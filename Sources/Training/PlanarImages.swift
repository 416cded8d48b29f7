// Images from a caller's memory, in the layout that Python and C have them in.

import PLPBase
import PLPKernels

/// Images as a caller has them, one after another, each as planes of red, green and blue [3][size][size].
package enum PlanarImages {
    /// Bytes as in the data sets' files; they are normalised as the model's configuration says.
    case bytes(UnsafeBufferPointer<UInt8>)
    /// Values taken as they are.
    case values(UnsafeBufferPointer<Float>)

    private var elements: Int {
        switch self {
        case .bytes(let buffer): buffer.count
        case .values(let buffer): buffer.count
        }
    }

    /// How many images there are.
    func count(_ shape: ImageShape) throws(Failure) -> Int {
        try require(
            elements > 0 && elements % shape.values == 0, "images", "\(elements) values",
            expected: "a multiple of \(shape.values), \(shape) for each of one or more images")
        return elements / shape.values
    }

    /// Writes the images in `range` as the network takes them: float32, NHWC.
    func write(
        _ range: Range<Int>, of shape: ImageShape, normalization table: [Float],
        to destination: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        threads.forEach(range.count) { slot in
            let (source, target) = ((range.lowerBound + slot) * shape.values, destination + slot * shape.values)
            switch self {
            case .bytes(let buffer): shape.write(buffer.baseAddress! + source, table: table, to: target)
            case .values(let buffer): shape.interleave(buffer.baseAddress! + source, count: 1, to: target)
            }
        }
    }
}

// For Swift's own callers: images [count][3][size][size] as arrays of bytes, or of values taken as they are.

extension Trainer {
    /// One iteration on a mini-batch as it is, without augmentation, outside any run: the learning rate and the
    /// momentum are the optimizer's, without schedule and DEMON. The predictor's cycle goes on.
    ///
    /// - Parameters:
    ///   - images: 1 up to the batch size; bytes are normalised as the model's configuration says.
    ///   - labels: one for each image, below the model's number of classes.
    /// - Returns: loss and errors before the update.
    @discardableResult
    public func step(_ images: [UInt8], labels: [Int32]) throws(Failure) -> Metrics {
        try images.withUnsafeBufferPointer { (images) throws(Failure) in try step(.bytes(images), labels: labels) }
    }

    /// The same for values taken as they are.
    @discardableResult
    public func step(_ images: [Float], labels: [Int32]) throws(Failure) -> Metrics {
        try images.withUnsafeBufferPointer { (images) throws(Failure) in try step(.values(images), labels: labels) }
    }

    /// The forward and backward pass of ``step(_:labels:)`` without the update: leaves the gradients, and everything
    /// else as it was, running statistics included.
    @discardableResult
    public func computeGradients(_ images: [UInt8], labels: [Int32]) throws(Failure) -> Metrics {
        try images.withUnsafeBufferPointer { (images) throws(Failure) in
            try computeGradients(.bytes(images), labels: labels)
        }
    }

    /// The same for values taken as they are.
    @discardableResult
    public func computeGradients(_ images: [Float], labels: [Int32]) throws(Failure) -> Metrics {
        try images.withUnsafeBufferPointer { (images) throws(Failure) in
            try computeGradients(.values(images), labels: labels)
        }
    }
}

extension Evaluator {
    /// The network's outputs before softmax, [images][classes]; bytes are normalised as the model's configuration says.
    public func logits(_ images: [UInt8]) throws(Failure) -> [Float] {
        try images.withUnsafeBufferPointer { (images) throws(Failure) in try logits(.bytes(images)) }
    }

    /// The same for values taken as they are.
    public func logits(_ images: [Float]) throws(Failure) -> [Float] {
        try images.withUnsafeBufferPointer { (images) throws(Failure) in try logits(.values(images)) }
    }
}
