// Two-dimensional convolution of NHWC maps, its shape, and which algorithm computes which of its three passes:
//
//     y[n, i, j, o]  = Σ x[n, s·i + r − p, s·j + t − p, c] · w[r, t, c, o]      forward
//     dx[n, i, j, c] = Σ dy · w over all (output, tap) that read x[n, i, j, c]  input gradient
//     dw[r, t, c, o] = Σ x[n, s·i + r − p, s·j + t − p, c] · dy[n, i, j, o]     weight gradient
//
// with stride s, padding p, and x zero outside the map. There is no bias: what follows a convolution adds it, in the
// epilogue.

/// What a convolution convolves: all sizes, known before the first call.
public struct ConvolutionShape: Hashable, Sendable {
    /// The most images a call may bring.
    public var images: Int
    public var height: Int
    public var width: Int
    public var inputChannels: Int
    public var outputChannels: Int
    /// Side of the square kernel.
    public var kernel: Int
    public var stride: Int
    /// Rows and columns of zeros around the map.
    public var padding: Int

    public init(
        images: Int, height: Int, width: Int, inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1,
        padding: Int = 0
    ) {
        self.images = images
        self.height = height
        self.width = width
        self.inputChannels = inputChannels
        self.outputChannels = outputChannels
        self.kernel = kernel
        self.stride = stride
        self.padding = padding
    }

    public var outputHeight: Int { (height + 2 * padding - kernel) / stride + 1 }
    public var outputWidth: Int { (width + 2 * padding - kernel) / stride + 1 }
    public var weightCount: Int { kernel * kernel * inputChannels * outputChannels }

    /// Multiplications and additions of one pass over all images, by the formulas above.
    public var operations: Int { 2 * images * outputHeight * outputWidth * weightCount }
}

/// A convolution, planned for its shape. Weights are `[kernel][kernel][inputChannels][outputChannels]`, and so are
/// their gradients. Results are the same to the bit on any number of threads.
public final class Convolution {
    public let shape: ConvolutionShape
    private let forwardPass: any MapPass
    private let inputGradientPass: any MapPass
    private let weightGradientPass: any WeightGradientPass

    /// Chooses algorithms and block sizes; allocates nothing large.
    public init(_ shape: ConvolutionShape) {
        self.shape = shape
        (forwardPass, inputGradientPass, weightGradientPass) = Self.passes(shape)
    }

    private static func passes(_ shape: ConvolutionShape) -> (any MapPass, any MapPass, any WeightGradientPass) {
        // With a few channels only, the transforms would cost more than they save.
        guard shape.kernel == 3, min(shape.inputChannels, shape.outputChannels) >= 8 else { return gathered(shape) }
        return switch (shape.stride, shape.padding) {
        case (1, 1) where shape.height == 2 && shape.width == 2:
            (
                WinogradPass<TwoPixelMap>(shape, .forward), WinogradPass<TwoPixelMap>(shape, .inputGradient),
                WinogradWeightGradient<TwoPixelMap>(shape)
            )
        case (1, 0...2):
            (
                WinogradPass<FourOutputs>(shape, .forward), WinogradPass<FourOutputs>(shape, .inputGradient),
                WinogradWeightGradient<FourOutputs>(shape)
            )
        case (2, 1):
            (
                WinogradPass<StrideTwo>(shape, .forward), WinogradPass<StrideTwoGradient>(shape, .inputGradient),
                WinogradWeightGradient<StrideTwo>(shape)
            )
        default: gathered(shape)
        }
    }

    private static func gathered(_ shape: ConvolutionShape) -> (any MapPass, any MapPass, any WeightGradientPass) {
        (GatheredPass(shape, .forward), GatheredPass(shape, .inputGradient), GatheredWeightGradient(shape))
    }

    /// Floats of scratch memory that forward and either gradient need. Nothing in it outlives a call, so calls that are not
    /// made at the same time may share it.
    public func workspaceCounts(threads: Threads) -> (forward: Int, gradient: Int) {
        let workers = threads.count
        return (
            forwardPass.workspaceCount(workers: workers),
            max(
                inputGradientPass.workspaceCount(workers: workers),
                weightGradientPass.workspaceCount(workers: workers))
        )
    }

    /// What `forward` calls for each block of its result: with the block's number, its pixels, counted over all images
    /// in NHWC order, and the channels that are written, by one call for all or by several. Called on the thread that
    /// wrote them, while they are in that thread's cache.
    public typealias Epilogue = (_ block: Int, _ pixels: Range<Int>, _ channels: Range<Int>) -> Void

    /// Blocks that `forward` writes `images` images in.
    public func forwardBlocks(images: Int) -> Int { forwardPass.blocks(images: images) }

    /// y = x * w, with the values of x read through `activation`.
    public func forward(
        _ x: Maps, through activation: Activation? = nil, weights: UnsafePointer<Float>, to y: Maps,
        workspace: UnsafeMutablePointer<Float>, threads: Threads, epilogue: Epilogue? = nil
    ) {
        assert(areShaped(x, y))
        forwardPass.run(
            x, through: activation, weights: weights, to: y, accumulate: false, workspace: workspace,
            epilogue: epilogue, threads: threads)
    }

    /// dx = the gradient by the input, or dx += it.
    public func inputGradient(
        _ dy: Maps, weights: UnsafePointer<Float>, to dx: Maps, accumulate: Bool = false,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        assert(areShaped(dx, dy))
        inputGradientPass.run(
            dy, through: nil, weights: weights, to: dx, accumulate: accumulate, workspace: workspace, epilogue: nil,
            threads: threads)
    }

    /// dw = the gradient by the weights, with the values of x read through `activation`.
    public func weightGradient(
        _ x: Maps, through activation: Activation? = nil, _ dy: Maps, to dw: UnsafeMutablePointer<Float>,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        assert(areShaped(x, dy))
        weightGradientPass.run(x, through: activation, dy, to: dw, workspace: workspace, threads: threads)
    }

    /// Whether maps are a mini-batch of this convolution's input and output.
    private func areShaped(_ x: Maps, _ y: Maps) -> Bool {
        x.count == y.count && x.count <= shape.images
            && (x.height, x.width, x.channels) == (shape.height, shape.width, shape.inputChannels)
            && (y.height, y.width, y.channels) == (shape.outputHeight, shape.outputWidth, shape.outputChannels)
    }
}

/// A pass from maps to maps: forward, or input gradient.
protocol MapPass {
    func workspaceCount(workers: Int) -> Int
    func blocks(images: Int) -> Int
    func run(
        _ source: Maps, through activation: Activation?, weights: UnsafePointer<Float>, to target: Maps,
        accumulate: Bool, workspace: UnsafeMutablePointer<Float>, epilogue: Convolution.Epilogue?, threads: Threads)
}

/// The pass to the weights.
protocol WeightGradientPass {
    func workspaceCount(workers: Int) -> Int
    func run(
        _ x: Maps, through activation: Activation?, _ dy: Maps, to dw: UnsafeMutablePointer<Float>,
        workspace: UnsafeMutablePointer<Float>, threads: Threads)
}

/// Slices of the mini-batch that a weight gradient is summed up over in parallel: each is a number of bands or of blocks
/// of them (see `Blocks`). Each has a sum of its own, the first in the gradient itself, the others in scratch memory;
/// they are added in order.
struct GradientSlices {
    let count: Int
    let weightCount: Int

    private var stride: Int { roundUp(weightCount, to: Vector.lanes) }

    /// Floats of scratch memory for the sums.
    var sumsCount: Int { (count - 1) * stride }

    /// A slice's part of `total` bands or blocks; there may be none.
    func part(_ slice: Int, of total: Int) -> Range<Int> { total * slice / count..<total * (slice + 1) / count }

    func sum(
        _ slice: Int, in dw: UnsafeMutablePointer<Float>, _ scratch: UnsafeMutablePointer<Float>
    ) -> UnsafeMutablePointer<Float> { slice == 0 ? dw : scratch + (slice - 1) * stride }

    /// Adds the sums of all slices in `dw`.
    func add(in dw: UnsafeMutablePointer<Float>, _ scratch: UnsafeMutablePointer<Float>, threads: Threads) {
        guard count > 1 else { return }
        let vectors = Cut.size(of: divideUp(weightCount, by: Vector.lanes), atMost: 4096 / Vector.lanes, atLeast: 8)
        let chunk = vectors * Vector.lanes
        threads.forEach(divideUp(weightCount, by: chunk)) { index in
            let end = min((index + 1) * chunk, weightCount)
            for lane in Swift.stride(from: index * chunk, to: end, by: Vector.lanes) {
                let lanes = weightCount - lane
                var total = Vector(at: dw + lane, count: lanes)
                for slice in 1..<count { total += Vector(at: sum(slice, in: dw, scratch) + lane, count: lanes) }
                total.store(to: dw + lane, count: lanes)
            }
        }
    }
}

/// Which way a pass goes over the convolution: from its input to its output, or back.
enum Direction {
    case forward
    case inputGradient
}

/// How maps are cut into blocks: each image is a number of bands, each `bandHeight` rows of pixels high (the last may
/// be lower), and a block is a number of bands, over the borders of images too. So a block is a range of pixels.
struct Blocks {
    var height: Int
    var width: Int
    var bandHeight: Int
    var bandsPerBlock = 1

    var bandsPerImage: Int { divideUp(height, by: bandHeight) }

    /// Makes blocks of so many bands at most, and no fewer than so many if it can be.
    mutating func cut(images: Int, atMost most: Int, atLeast least: Int) {
        bandsPerBlock = Cut.size(of: images * bandsPerImage, atMost: most, atLeast: least)
    }

    func count(images: Int) -> Int { divideUp(images * bandsPerImage, by: bandsPerBlock) }

    func bands(of block: Int, images: Int) -> Range<Int> {
        block * bandsPerBlock..<min((block + 1) * bandsPerBlock, images * bandsPerImage)
    }

    /// The first pixel of a band, counted over all images.
    func firstPixel(of band: Int) -> Int {
        let (image, number) = band.quotientAndRemainder(dividingBy: bandsPerImage)
        return (image * height + number * bandHeight) * width
    }

    func pixels(of bands: Range<Int>) -> Range<Int> {
        firstPixel(of: bands.lowerBound)..<firstPixel(of: bands.upperBound)
    }
}
