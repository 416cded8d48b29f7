// Each pass of the convolution against its formula in float64, over shapes that leave remainders everywhere.

import Glibc
import PLPKernels
import Synchronization
import Testing

/// Floats that end where memory ends: whoever reads behind them crashes.
private final class GuardedFloats {
    private let pages: UnsafeMutableRawPointer
    private let size: Int
    let values: UnsafeMutableBufferPointer<Float>

    init(count: Int) {
        let (page, bytes) = (4096, count * MemoryLayout<Float>.stride)
        size = (bytes + page - 1) / page * page + page
        pages = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        mprotect(pages + size - page, page, PROT_NONE)
        let start = (pages + size - page - bytes).bindMemory(to: Float.self, capacity: count)
        values = UnsafeMutableBufferPointer(start: start, count: count)
    }

    deinit { munmap(pages, size) }
}

/// Maps in memory of their own: `channels` values of each pixel in the middle of `stride`, the rest a mark.
private struct TestMaps {
    static let mark: Float = 12345
    private let memory: GuardedFloats
    let maps: Maps

    init(count: Int, height: Int, width: Int, channels: Int, gap: Int, seed: UInt64? = nil) {
        let stride = channels + 2 * gap
        memory = GuardedFloats(count: count * height * width * stride)
        memory.values.update(repeating: Self.mark)
        maps = Maps(
            memory.values.baseAddress! + gap, count: count, height: height, width: width, channels: channels,
            stride: stride)
        var generator = Generator(state: seed ?? 0)
        forEachValue { maps.base[$0] = seed == nil ? .nan : generator.next() }
    }

    func forEachValue(_ body: (Int) -> Void) {
        for pixel in 0..<maps.pixels { for channel in 0..<maps.channels { body(pixel * maps.stride + channel) } }
    }

    /// What lies between the slices is as it was.
    var marksIntact: Bool {
        let marks = memory.values.count { $0 == Self.mark }
        return marks == maps.pixels * (maps.stride - maps.channels)
    }
}

/// A linear congruential generator of values between -1 and 1.
private struct Generator {
    var state: UInt64

    mutating func next() -> Float {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 32)) / Float(Int32.max)
    }
}

/// Calls `body` for each product of the convolution with the indices of its input, weight and output.
private func forEachProduct(
    _ shape: ConvolutionShape, x: Maps, y: Maps, _ body: (_ x: Int, _ w: Int, _ y: Int) -> Void
) {
    let (inputs, outputs) = (shape.inputChannels, shape.outputChannels)
    for image in 0..<x.count {
        for i in 0..<y.height {
            for j in 0..<y.width {
                for r in 0..<shape.kernel {
                    for t in 0..<shape.kernel {
                        let (row, column) = (i * shape.stride + r - shape.padding, j * shape.stride + t - shape.padding)
                        guard (0..<x.height).contains(row), (0..<x.width).contains(column) else { continue }
                        let from = ((image * x.height + row) * x.width + column) * x.stride
                        let to = ((image * y.height + i) * y.width + j) * y.stride
                        let weight = (r * shape.kernel + t) * inputs * outputs
                        for c in 0..<inputs {
                            for o in 0..<outputs { body(from + c, weight + c * outputs + o, to + o) }
                        }
                    }
                }
            }
        }
    }
}

private func relativeError(_ values: UnsafePointer<Float>, _ expected: [Double], at indices: [Int]) -> Double {
    let largest = indices.map { abs(expected[$0]) }.max() ?? 0
    return indices.map { abs(Double(values[$0]) - expected[$0]) }.map { $0.isNaN ? .infinity : $0 }.max()!
        / max(largest, 1e-30)
}

private let bound = 1e-5

private func shape(
    _ images: Int, _ height: Int, _ width: Int, _ inputs: Int, _ outputs: Int, _ kernel: Int, _ stride: Int,
    _ padding: Int
) -> ConvolutionShape {
    ConvolutionShape(
        images: images, height: height, width: width, inputChannels: inputs, outputChannels: outputs, kernel: kernel,
        stride: stride, padding: padding)
}

private let shapes: [ConvolutionShape] = [
    // 3×3 on maps that 4×4 tiles fit, and on some they do not
    shape(3, 8, 8, 16, 64, 3, 1, 1), shape(2, 4, 4, 64, 100, 3, 1, 1), shape(5, 5, 7, 5, 3, 3, 1, 1),
    shape(2, 9, 6, 24, 40, 3, 1, 1), shape(3, 1, 1, 16, 24, 3, 1, 1), shape(3, 3, 2, 17, 16, 3, 1, 1),
    shape(2, 16, 16, 3, 64, 3, 1, 1), shape(1, 13, 4, 100, 65, 3, 1, 1), shape(2, 7, 7, 40, 24, 3, 1, 0),
    shape(2, 6, 5, 16, 24, 3, 1, 2), shape(1, 32, 32, 1, 1, 3, 1, 1), shape(7, 4, 4, 100, 130, 3, 1, 1),
    // 2×2 maps, at last so many that blocks are as large as they get, and the last one is smaller
    shape(13, 2, 2, 64, 100, 3, 1, 1), shape(5, 2, 2, 3, 5, 3, 1, 1), shape(40, 2, 2, 24, 16, 3, 1, 1),
    shape(4200, 2, 2, 8, 9, 3, 1, 1),
    // weight gradients whose parts transform their own tiles, in slices, at last of a few chunks each
    shape(1030, 5, 7, 9, 8, 3, 1, 1), shape(1, 260, 283, 8, 9, 3, 1, 1), shape(4100, 1, 3, 60, 8, 3, 1, 1),
    shape(4100, 3, 3, 20, 17, 3, 2, 1), shape(2050, 2, 7, 8, 17, 3, 2, 1), shape(130, 6, 5, 90, 20, 3, 1, 1),
    // the same for several blocks
    shape(150, 1, 3, 72, 130, 3, 1, 1), shape(90, 2, 3, 70, 90, 3, 2, 1),
    // by points, in two chunks, and with points that share weights; forward, each part has some columns of a block
    shape(200, 1, 1, 150, 140, 3, 1, 1), shape(4, 5, 4, 150, 140, 3, 2, 1), shape(3, 2, 2, 130, 150, 3, 1, 1),
    // forward and input gradient by points, in chunks, with columns for slices of the tiles; gradients in blocks
    shape(400, 1, 1, 180, 170, 3, 1, 1), shape(530, 1, 1, 260, 250, 3, 1, 1), shape(700, 1, 1, 350, 340, 3, 1, 1),
    shape(5, 2, 2, 350, 340, 3, 1, 1), shape(3, 3, 5, 270, 260, 3, 2, 1), shape(2, 5, 6, 200, 180, 3, 1, 1),
    // strides
    shape(3, 8, 8, 16, 64, 3, 2, 1), shape(2, 7, 9, 24, 40, 3, 2, 1), shape(2, 7, 6, 5, 3, 3, 2, 0),
    shape(2, 1, 5, 5, 3, 3, 2, 1), shape(2, 11, 10, 16, 24, 3, 3, 1), shape(3, 4, 4, 100, 65, 3, 2, 1),
    // 1×1
    shape(3, 5, 5, 16, 64, 1, 1, 0), shape(2, 4, 6, 100, 24, 1, 1, 0), shape(2, 8, 8, 64, 100, 1, 2, 0),
    shape(2, 5, 3, 5, 1, 1, 2, 0), shape(2, 5, 5, 300, 40, 1, 1, 0), shape(2, 4, 4, 3, 5, 1, 1, 1),
    // weight gradients in blocks of columns, at last in more than need be, for fewer slices
    shape(30, 5, 5, 300, 230, 1, 1, 0), shape(40, 5, 5, 260, 380, 1, 1, 0),
    // other kernels
    shape(2, 8, 7, 5, 16, 5, 1, 2), shape(2, 9, 9, 3, 24, 7, 2, 3), shape(1, 6, 6, 600, 20, 2, 2, 0),
    // few channels, and slices of more than one block
    shape(1, 61, 56, 3, 5, 3, 1, 1),
]

@Suite struct ConvolutionTests {
    @Test("All passes follow their formulas", arguments: shapes, [0, 3])
    func formulas(shape: ConvolutionShape, gap: Int) {
        // The last mini-batch of an epoch has fewer images, perhaps fewer than there are slices.
        let images = gap == 0 ? shape.images : shape.images > 100 ? 6 : max(1, shape.images - 1)
        let x = TestMaps(
            count: images, height: shape.height, width: shape.width, channels: shape.inputChannels, gap: gap, seed: 1)
        let dy = TestMaps(
            count: images, height: shape.outputHeight, width: shape.outputWidth, channels: shape.outputChannels,
            gap: gap, seed: 2)
        let w = TestMaps(count: 1, height: 1, width: 1, channels: shape.weightCount, gap: 0, seed: 3)
        var y64 = [Double](repeating: 0, count: dy.maps.pixels * dy.maps.stride)
        var dx64 = [Double](repeating: 0, count: x.maps.pixels * x.maps.stride)
        var dw64 = [Double](repeating: 0, count: shape.weightCount)
        forEachProduct(shape, x: x.maps, y: dy.maps) { i, k, o in
            y64[o] += Double(x.maps.base[i]) * Double(w.maps.base[k])
            dx64[i] += Double(dy.maps.base[o]) * Double(w.maps.base[k])
            dw64[k] += Double(x.maps.base[i]) * Double(dy.maps.base[o])
        }
        var (inputs, outputs): ([Int], [Int]) = ([], [])
        x.forEachValue { inputs.append($0) }
        dy.forEachValue { outputs.append($0) }

        let weights = Array(0..<shape.weightCount)
        var results: [[UInt32]] = []
        for threads in [1, 2, 5, 64] {
            let threads = Threads(threads, processors: threads)
            let convolution = Convolution(shape)
            #if CHECKED
                let guarded = 0  // There is a page that nobody may touch.
            #else
                let guarded = 64
            #endif
            let needed = convolution.workspaceCounts(threads: threads)
            let workspace = try! FloatBuffer(count: max(needed.forward, needed.gradient) + guarded)
            workspace.values.update(repeating: .nan)

            let y = TestMaps(
                count: images, height: shape.outputHeight, width: shape.outputWidth, channels: shape.outputChannels,
                gap: gap)
            let blocks = Blocks(convolution.forwardBlocks(images: images), of: y.maps)
            convolution.forward(
                x.maps, weights: w.maps.base, to: y.maps, workspace: workspace.pointer, threads: threads
            ) {
                blocks.record($0, $1, $2)
            }
            #expect(relativeError(y.maps.base, y64, at: outputs) < bound)
            #expect(y.marksIntact)
            #expect(blocks.areComplete)

            let dx = TestMaps(
                count: images, height: shape.height, width: shape.width, channels: shape.inputChannels, gap: gap)
            convolution.inputGradient(
                dy.maps, weights: w.maps.base, to: dx.maps, workspace: workspace.pointer, threads: threads)
            #expect(relativeError(dx.maps.base, dx64, at: inputs) < bound)
            #expect(dx.marksIntact)

            let sum = TestMaps(
                count: images, height: shape.height, width: shape.width, channels: shape.inputChannels, gap: gap,
                seed: 4)
            let twice = inputs.map { sum.maps.base[$0] + dx.maps.base[$0] }
            convolution.inputGradient(
                dy.maps, weights: w.maps.base, to: sum.maps, accumulate: true, workspace: workspace.pointer,
                threads: threads)
            #expect(zip(inputs, twice).allSatisfy { abs(sum.maps.base[$0] - $1) <= 1e-5 * max(1, abs($1)) })
            #expect(sum.marksIntact)

            let dw = TestMaps(count: 1, height: 1, width: 1, channels: shape.weightCount, gap: 0)
            convolution.weightGradient(
                x.maps, dy.maps, to: dw.maps.base, workspace: workspace.pointer, threads: threads)
            let weightError = relativeError(dw.maps.base, dw64, at: weights)
            #expect(weightError < bound)
            #expect(dw.marksIntact)

            #expect(workspace.values.suffix(guarded).allSatisfy { $0.isNaN })
            results.append(
                outputs.map { y.maps.base[$0].bitPattern } + inputs.map { dx.maps.base[$0].bitPattern }
                    + weights.map { dw.maps.base[$0].bitPattern })
        }
        #expect(results.allSatisfy { $0 == results[0] }, "the number of threads changes no bit")
        withExtendedLifetime((x, dy, w)) {}
    }

    /// What lies around the maps is zero, whatever the shift, and a channel's last value is the last that is read.
    @Test("Values read through an activation are those that it was applied to before", arguments: shapes)
    func activation(shape: ConvolutionShape) throws {
        func maps(seed: UInt64? = nil, gap: Int = 1) -> TestMaps {
            TestMaps(
                count: shape.images, height: shape.height, width: shape.width, channels: shape.inputChannels, gap: gap,
                seed: seed)
        }
        func values(_ count: Int, seed: UInt64) -> TestMaps {
            TestMaps(count: 1, height: 1, width: 1, channels: count, gap: 0, seed: seed)
        }
        let (x, z, dense) = (maps(seed: 1), maps(), maps(seed: 1, gap: 0))
        let (scale, shift) = (values(shape.inputChannels, seed: 2), values(shape.inputChannels, seed: 3))
        let dy = TestMaps(
            count: shape.images, height: shape.outputHeight, width: shape.outputWidth, channels: shape.outputChannels,
            gap: 1, seed: 4)
        let w = values(shape.weightCount, seed: 5)
        let threads = Threads(3, processors: 3)
        let activation = Activation(scale: scale.maps.base, shift: shift.maps.base)
        BatchNormalization.apply(
            x.maps, scale: scale.maps.base, shift: shift.maps.base, relu: true, to: z.maps, threads: threads)

        let convolution = Convolution(shape)
        let needed = convolution.workspaceCounts(threads: threads)
        let workspace = try FloatBuffer(count: max(needed.forward, needed.gradient))
        func results(_ x: Maps, through activation: Activation?) -> [UInt32] {
            workspace.values.update(repeating: .nan)
            let y = TestMaps(
                count: shape.images, height: shape.outputHeight, width: shape.outputWidth,
                channels: shape.outputChannels, gap: 0)
            let dw = TestMaps(count: 1, height: 1, width: 1, channels: shape.weightCount, gap: 0)
            convolution.forward(
                x, through: activation, weights: w.maps.base, to: y.maps, workspace: workspace.pointer,
                threads: threads)
            convolution.weightGradient(
                x, through: activation, dy.maps, to: dw.maps.base, workspace: workspace.pointer, threads: threads)
            return (0..<y.maps.pixels * y.maps.channels).map { y.maps.base[$0].bitPattern }
                + (0..<shape.weightCount).map { dw.maps.base[$0].bitPattern }
        }
        let expected = results(z.maps, through: nil)
        #expect(results(x.maps, through: activation) == expected)
        #expect(results(dense.maps, through: activation) == expected)
        withExtendedLifetime((x, z, dense, scale, shift, dy, w)) {}
    }
}

/// The blocks of y that an epilogue was called for, and what was in them by then.
private final class Blocks: Sendable {
    private struct Part {
        var pixels: Range<Int>
        var channels: Range<Int>
        var values: [UInt32]
    }

    private let y: Maps
    private let blocks: Mutex<[[Part]]>

    init(_ count: Int, of y: Maps) {
        self.y = y
        blocks = Mutex(Array(repeating: [], count: count))
    }

    func record(_ block: Int, _ pixels: Range<Int>, _ channels: Range<Int>) {
        let part = Part(pixels: pixels, channels: channels, values: values(pixels, channels))
        blocks.withLock { $0[block].append(part) }
    }

    /// They have all pixels once, in order, with all channels, and y is as it was.
    var areComplete: Bool {
        blocks.withLock { blocks in
            blocks.flatMap { $0.first?.pixels ?? 0..<0 }.elementsEqual(0..<y.pixels)
                && blocks.joined().allSatisfy { $0.values == values($0.pixels, $0.channels) }
                && blocks.allSatisfy { parts in
                    parts.allSatisfy { $0.pixels == parts[0].pixels }
                        && parts.map(\.channels).sorted { $0.lowerBound < $1.lowerBound }.joined()
                            .elementsEqual(0..<y.channels)
                }
        }
    }

    private func values(_ pixels: Range<Int>, _ channels: Range<Int>) -> [UInt32] {
        pixels.flatMap { pixel in channels.map { y.base[pixel * y.stride + $0].bitPattern } }
    }
}
