// Convolution of any kernel, stride and padding as a matrix product: the values that a block of result pixels reads are
// gathered into the rows of a matrix (im2col), one block at a time, so that the matrix never leaves the cache.
// A 1×1 kernel with stride 1 needs no gathering where rows of the matrix are read: the maps are the matrix. A weight
// gradient reads its columns, which at the maps' stride compete for the same lines of the L1 cache: it gathers always.
//
// The input gradient of a convolution with stride s is s² convolutions with stride 1, one for each phase (y mod s,
// x mod s) of the result's pixels, each with the taps that reach the phase: nothing is multiplied by zero, nothing
// scattered. Of a 3×3 kernel with stride 2, the four phases have 1, 2, 2 and 4 of the nine taps.

/// A tap: which weight, and where it reads, relative to where the result's pixel lies in the source.
private struct Tap {
    var weight: Int
    var y: Int
    var x: Int
}

/// Copies the values that a row of result pixels reads into the rows of a matrix [pixel][tap][channel].
private struct Gathering {
    /// Taps side by side in a row of the kernel: where maps have no gaps, their values are one run of memory.
    private struct Run {
        var y: Int
        var x: Int
        var count: Int
    }

    private let step: Int
    private let columns: Int
    private var runs: [Run] = []

    init(step: Int, columns: Int, taps: some Sequence<Tap>) {
        self.step = step
        self.columns = columns
        for tap in taps {
            if let last = runs.last, last.y == tap.y, last.x + last.count == tap.x {
                runs[runs.count - 1].count += 1
            } else {
                runs.append(Run(y: tap.y, x: tap.x, count: 1))
            }
        }
    }

    /// The matrix is the source itself.
    func isIdentity(_ source: Maps) -> Bool {
        step == 1 && columns == source.width && runs.count == 1 && runs[0].count == 1 && runs[0].y == 0
            && runs[0].x == 0
    }

    /// From a row of the matrix to the next: an odd number of cache lines, of 16 floats each, so that the values of a
    /// column do not compete for the same lines of the cache.
    static func rowStride(depth: Int) -> Int { roundUp(depth, to: Vector.lanes) | Vector.lanes }

    /// Writes row `row` of the result, of image `image`. Up to 15 floats behind the last row are overwritten.
    func gather(
        _ source: Maps, through activation: Activation?, image: Int, row: Int, to matrix: UnsafeMutablePointer<Float>,
        rowStride: Int
    ) {
        let channels = source.channels
        let end = UnsafePointer(source.base + (source.pixels - 1) * source.stride + channels)
        for column in 0..<columns {
            var target = matrix + column * rowStride
            for run in runs {
                let (y, x) = (row * step + run.y, column * step + run.x)
                // Of the pixels at x ..< x + count, those inside the map.
                let first = max(-x, 0)
                let inside = y < 0 || y >= source.height ? 0..<0 : first..<max(min(run.count, source.width - x), first)
                fill(&target, count: min(inside.lowerBound, run.count) * channels)
                let pixel = source.base + ((image * source.height + y) * source.width + x) * source.stride
                if let activation {
                    copy(
                        inside.count, of: source, from: pixel + inside.lowerBound * source.stride, through: activation,
                        to: target)
                    target += inside.count * channels
                } else if source.stride == channels {
                    copy(pixel + inside.lowerBound * channels, before: end, to: &target, count: inside.count * channels)
                } else {
                    for index in inside {
                        copy(pixel + index * source.stride, before: end, to: &target, count: channels)
                    }
                }
                fill(&target, count: (run.count - inside.upperBound) * channels)
            }
        }
    }

    /// Copies whole vectors, more than `count` values if need be: what they overwrite is written later.
    @inline(__always)
    private func copy(
        _ source: UnsafePointer<Float>, before end: UnsafePointer<Float>, to target: inout UnsafeMutablePointer<Float>,
        count: Int
    ) {
        let start = target
        forEachVector(in: 0..<count) { lane, _ in
            Vector(at: source + lane, count: end - source - lane).store(to: start + lane)
        }
        target += count
    }

    /// Copies pixels through an activation. Apart, so that the loop around it stays as small as copying needs it.
    @inline(never)
    private func copy(
        _ count: Int, of source: Maps, from first: UnsafePointer<Float>, through activation: Activation,
        to target: UnsafeMutablePointer<Float>
    ) {
        for pixel in 0..<count {
            let (from, to) = (first + pixel * source.stride, target + pixel * source.channels)
            forEachVector(in: 0..<source.channels) { channel, count in
                let read = activation.lanes(channel: channel, count: count)
                read(Vector(at: from + channel, count: count)).store(to: to + channel)
            }
        }
    }

    @inline(__always)
    private func fill(_ target: inout UnsafeMutablePointer<Float>, count: Int) {
        let (start, count) = (target, max(count, 0))
        forEachVector(in: 0..<count) { lane, _ in Vector.zero.store(to: start + lane) }
        target += count
    }
}

/// The result's pixels (spacing·i + y, spacing·j + x), which read the source at (step·i + tap.y, step·j + tap.x).
private struct Phase {
    let y: Int
    let x: Int
    /// Those in a row of the result.
    let columns: Int
    let taps: [Tap]
    let gathering: Gathering

    init(y: Int, x: Int, columns: Int, taps: [Tap], step: Int) {
        (self.y, self.x, self.columns, self.taps) = (y, x, columns, taps)
        gathering = Gathering(step: step, columns: columns, taps: taps)
    }
}

/// Forward and input gradient.
struct GatheredPass: MapPass {
    private let shape: ConvolutionShape
    private let direction: Direction
    private let sourceChannels: Int
    private let targetChannels: Int
    private let targetHeight: Int
    private let targetWidth: Int
    private let spacing: Int
    private let phases: [Phase]
    private let largestDepth: Int
    private var blocks: Blocks

    init(_ shape: ConvolutionShape, _ direction: Direction) {
        self.shape = shape
        self.direction = direction
        switch direction {
        case .forward:
            (sourceChannels, targetChannels) = (shape.inputChannels, shape.outputChannels)
            (targetHeight, targetWidth) = (shape.outputHeight, shape.outputWidth)
            spacing = 1
            phases = [Phase(y: 0, x: 0, columns: shape.outputWidth, taps: forwardTaps(shape), step: shape.stride)]
        case .inputGradient:
            (sourceChannels, targetChannels) = (shape.outputChannels, shape.inputChannels)
            (targetHeight, targetWidth) = (shape.height, shape.width)
            spacing = shape.stride
            phases = (0..<shape.stride).flatMap { y in
                (0..<shape.stride).map { x in
                    Phase(
                        y: y, x: x, columns: divideUp(shape.width - x, by: shape.stride),
                        taps: gradientTaps(shape, y, x), step: 1)
                }
            }
        }
        let pixels = spacing * divideUp(targetWidth, by: spacing)
        largestDepth = phases.map { $0.taps.count }.max()! * sourceChannels
        blocks = Blocks(height: targetHeight, width: targetWidth, bandHeight: spacing)
        let (most, fewest) = Cut.gatheredRows
        blocks.cut(
            images: shape.images, atMost: min(most, max(fewest, Cut.gathered / largestDepth)) / pixels,
            atLeast: divideUp(fewest, by: pixels))
    }

    private var columns: Int { divideUp(targetWidth, by: spacing) }
    private var pixelsPerBlock: Int { blocks.bandsPerBlock * columns }
    private var gatheredCount: Int { pixelsPerBlock * Gathering.rowStride(depth: largestDepth) + Vector.lanes }
    private var scratchCount: Int { gatheredCount + roundUp(pixelsPerBlock * targetChannels, to: Vector.lanes) }
    private func packedCount(_ phase: Phase) -> Int {
        PackedMatrix.count(rows: phase.taps.count * sourceChannels, columns: targetChannels)
    }

    func blocks(images: Int) -> Int { blocks.count(images: images) }

    func workspaceCount(workers: Int) -> Int {
        phases.reduce(0) { $0 + packedCount($1) } + workers * scratchCount
    }

    func run(
        _ source: Maps, through activation: Activation?, weights: UnsafePointer<Float>, to target: Maps,
        accumulate: Bool, workspace: UnsafeMutablePointer<Float>, epilogue: Convolution.Epilogue?, threads: Threads
    ) {
        var end = workspace
        for phase in phases {
            pack(weights, phase, to: end, threads)
            end += packedCount(phase)
        }
        let scratch = end
        threads.sweep(blocks.count(images: target.count)) { block, worker in
            let bands = blocks.bands(of: block, images: target.count)
            let gathered = scratch + worker * scratchCount
            var packed = workspace
            for phase in phases {
                multiply(
                    source, activation, phase, packed, to: target, bands: bands, accumulate: accumulate,
                    gathered: gathered, product: gathered + gatheredCount)
                packed += packedCount(phase)
            }
            epilogue?(block, blocks.pixels(of: bands), 0..<targetChannels)
        }
    }

    /// The weights of a phase, as rows (tap, source channel) and columns of target channels.
    private func pack(
        _ weights: UnsafePointer<Float>, _ phase: Phase, to packed: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        let rows = phase.taps.count * sourceChannels
        let chunks = divideUp(sourceChannels, by: Vector.lanes)
        threads.forEach(phase.taps.count * chunks) { index in
            let (tap, chunk) = index.quotientAndRemainder(dividingBy: chunks)
            let matrix = weights + phase.taps[tap].weight * shape.inputChannels * shape.outputChannels
            let first = chunk * Vector.lanes
            let count = min(Vector.lanes, sourceChannels - first)
            let range = tap * sourceChannels + first..<tap * sourceChannels + first + count
            switch direction {
            case .forward:
                PackedMatrix.pack(range, of: rows, columns: targetChannels, to: packed) { row in
                    matrix + (row - tap * sourceChannels) * targetChannels
                }
            case .inputGradient:
                PackedMatrix.packTransposed(
                    range, of: rows, columns: targetChannels, from: matrix + first, stride: sourceChannels, to: packed)
            }
        }
    }

    private func multiply(
        _ source: Maps, _ activation: Activation?, _ phase: Phase, _ packed: UnsafePointer<Float>, to target: Maps,
        bands: Range<Int>, accumulate: Bool, gathered: UnsafeMutablePointer<Float>,
        product: UnsafeMutablePointer<Float>
    ) {
        let depth = phase.taps.count * sourceChannels
        let left: LeftMatrix
        var rows = 0
        if spacing == 1 && activation == nil && phase.gathering.isIdentity(source) {
            let first = source.base + blocks.firstPixel(of: bands.lowerBound) * source.stride
            left = .rows(first, stride: source.stride)
            rows = bands.count * phase.columns
        } else {
            let rowStride = Gathering.rowStride(depth: depth)
            forEachRow(of: phase, in: bands) { image, row in
                phase.gathering.gather(
                    source, through: activation, image: image, row: row, to: gathered + rows * rowStride,
                    rowStride: rowStride)
                rows += phase.columns
            }
            left = .rows(gathered, stride: rowStride)
        }
        if spacing == 1 {
            PLPKernels.multiply(
                left, packed, to: target.base + blocks.firstPixel(of: bands.lowerBound) * target.stride,
                stride: target.stride, rows: rows, columns: targetChannels, depth: depth, accumulate: accumulate)
        } else {
            PLPKernels.multiply(
                left, packed, to: product, stride: targetChannels, rows: rows, columns: targetChannels, depth: depth)
            var from = product
            forEachRow(of: phase, in: bands) { image, row in
                let first = (image * targetHeight + row * spacing + phase.y) * targetWidth + phase.x
                for column in 0..<phase.columns {
                    let to = target.base + (first + column * spacing) * target.stride
                    for channel in stride(from: 0, to: targetChannels, by: Vector.lanes) {
                        let count = targetChannels - channel
                        let value = Vector(at: from + channel, count: count)
                        (accumulate ? Vector(at: to + channel, count: count) + value : value)
                            .store(to: to + channel, count: count)
                    }
                    from += targetChannels
                }
            }
        }
    }

    /// Calls `body` for each band whose row of the phase lies inside the map, with its image and its number in there.
    @inline(__always)
    private func forEachRow(of phase: Phase, in bands: Range<Int>, _ body: (_ image: Int, _ row: Int) -> Void) {
        for band in bands {
            let (image, row) = band.quotientAndRemainder(dividingBy: blocks.bandsPerImage)
            if row * spacing + phase.y < targetHeight { body(image, row) }
        }
    }
}

private func forwardTaps(_ shape: ConvolutionShape) -> [Tap] {
    (0..<shape.kernel * shape.kernel).map { index in
        let (y, x) = index.quotientAndRemainder(dividingBy: shape.kernel)
        return Tap(weight: index, y: y - shape.padding, x: x - shape.padding)
    }
}

/// The taps (r, t) that join input pixel (s·i + y, s·j + x) to an output: s divides y + p − r and x + p − t.
private func gradientTaps(_ shape: ConvolutionShape, _ y: Int, _ x: Int) -> [Tap] {
    // From the last tap to the first, so that they read from left to right.
    (0..<shape.kernel * shape.kernel).reversed().compactMap { index in
        let (row, column) = index.quotientAndRemainder(dividingBy: shape.kernel)
        let (down, right) = (y + shape.padding - row, x + shape.padding - column)
        guard down.isMultiple(of: shape.stride), right.isMultiple(of: shape.stride) else { return nil }
        return Tap(weight: index, y: down / shape.stride, x: right / shape.stride)
    }
}

/// Weight gradient: the transposed gathered matrix times dy. A part is a block of the gradient, rows by columns, over a
/// slice of the pixels.
struct GatheredWeightGradient: WeightGradientPass {
    /// Rows of the gradient: some taps of all channels, or some channels of one tap.
    private struct Rows {
        let taps: Range<Int>
        let channels: Range<Int>
        let gathering: Gathering

        init(_ shape: ConvolutionShape, taps: Range<Int>, channels: Range<Int>) {
            (self.taps, self.channels) = (taps, channels)
            gathering = Gathering(step: shape.stride, columns: shape.outputWidth, taps: forwardTaps(shape)[taps])
        }

        var count: Int { taps.count * channels.count }
    }

    private let shape: ConvolutionShape
    private let rowBlocks: [Rows]
    private let largestDepth: Int
    private let columnBlocks: Int
    private let columnsPerBlock: Int
    private let slices: GradientSlices
    private let blocks: Blocks

    init(_ shape: ConvolutionShape) {
        self.shape = shape
        let (taps, channels) = (shape.kernel * shape.kernel, shape.inputChannels)
        if channels < Cut.gradientRows {
            let tapsPerBlock = Cut.gradientRows / channels
            rowBlocks = stride(from: 0, to: taps, by: tapsPerBlock).map {
                Rows(shape, taps: $0..<min($0 + tapsPerBlock, taps), channels: 0..<channels)
            }
        } else {
            let parts = divideUp(channels, by: Cut.gradientRows)
            let part = divideUp(channels, by: parts)
            rowBlocks = (0..<taps).flatMap { tap in
                (0..<parts).map {
                    Rows(shape, taps: tap..<tap + 1, channels: $0 * part..<min(($0 + 1) * part, channels))
                }
            }
        }
        largestDepth = rowBlocks.map(\.count).max()!
        blocks = Blocks(
            height: shape.outputHeight, width: shape.outputWidth, bandHeight: 1,
            bandsPerBlock: max(1, Cut.gradientPixels / shape.outputWidth))
        let (rowBlockCount, blockCount) = (rowBlocks.count, blocks.count(images: shape.images))
        func sliceCount(columnBlocks: Int) -> Int { Cut.slices(of: rowBlockCount * columnBlocks, atMost: blockCount) }
        columnsPerBlock = Cut.gradientColumns(
            of: shape.outputChannels, pixels: shape.images * shape.outputHeight * shape.outputWidth,
            slices: sliceCount)
        columnBlocks = divideUp(shape.outputChannels, by: columnsPerBlock)
        slices = GradientSlices(count: sliceCount(columnBlocks: columnBlocks), weightCount: shape.weightCount)
    }

    private var pixelsPerBlock: Int { blocks.bandsPerBlock * shape.outputWidth }
    private var gatheredCount: Int { pixelsPerBlock * Gathering.rowStride(depth: largestDepth) + Vector.lanes }
    private var scratchCount: Int {
        gatheredCount + PackedMatrix.count(rows: pixelsPerBlock, columns: columnsPerBlock)
    }

    func workspaceCount(workers: Int) -> Int { slices.sumsCount + workers * scratchCount }

    func run(
        _ x: Maps, through activation: Activation?, _ dy: Maps, to dw: UnsafeMutablePointer<Float>,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        let scratch = workspace + slices.sumsCount
        let blockCount = blocks.count(images: x.count)
        threads.sweep(slices.count * rowBlocks.count * columnBlocks) { part, worker in
            let (rest, column) = part.quotientAndRemainder(dividingBy: columnBlocks)
            let (slice, row) = rest.quotientAndRemainder(dividingBy: rowBlocks.count)
            accumulate(
                x, activation, dy, rows: rowBlocks[row],
                columns: column * columnsPerBlock..<min((column + 1) * columnsPerBlock, shape.outputChannels),
                blocks: slices.part(slice, of: blockCount), to: slices.sum(slice, in: dw, workspace),
                scratch: scratch + worker * scratchCount)
        }
        slices.add(in: dw, workspace, threads: threads)
    }

    private func accumulate(
        _ x: Maps, _ activation: Activation?, _ dy: Maps, rows: Rows, columns: Range<Int>, blocks range: Range<Int>,
        to sum: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let firstRow = rows.taps.lowerBound * shape.inputChannels + rows.channels.lowerBound
        let target = sum + firstRow * shape.outputChannels + columns.lowerBound
        if range.isEmpty {
            for row in 0..<rows.count {
                (target + row * shape.outputChannels).update(repeating: 0, count: columns.count)
            }
        }
        let rowStride = Gathering.rowStride(depth: rows.count)
        let (source, gradient) = (x.slice(rows.channels), dy.slice(columns))
        let activation = activation?.slice(rows.channels)
        let right = scratch + gatheredCount
        for block in range {
            let bands = blocks.bands(of: block, images: x.count)
            let pixels = blocks.pixels(of: bands)
            for (index, band) in bands.enumerated() {
                let (image, row) = band.quotientAndRemainder(dividingBy: blocks.bandsPerImage)
                rows.gathering.gather(
                    source, through: activation, image: image, row: row,
                    to: scratch + index * shape.outputWidth * rowStride, rowStride: rowStride)
            }
            PackedMatrix.pack(0..<pixels.count, of: pixels.count, columns: columns.count, to: right) { pixel in
                UnsafePointer(gradient.base + (pixels.lowerBound + pixel) * gradient.stride)
            }
            // Where gathering only copies, the rows that the next block copies are known.
            let next = blocks.firstPixel(of: bands.upperBound)
            let upcoming =
                block + 1 < range.upperBound && rows.gathering.isIdentity(source)
                ? Upcoming.rows(source.base + next * source.stride, stride: source.stride, width: rows.count) : nil
            PackedMatrix.forEachPanel(rows: pixels.count, columns: columns.count) { column, width, offset in
                multiplyPanel(
                    .columns(scratch, stride: rowStride), right + offset, width: width,
                    next: column == 0 ? upcoming : nil, to: target + column, stride: shape.outputChannels,
                    rows: rows.count, columns: min(width, columns.count - column), depth: pixels.count,
                    accumulate: block != range.lowerBound)
            }
        }
    }
}
