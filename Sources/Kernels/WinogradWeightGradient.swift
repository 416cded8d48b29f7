// The weight gradient of a 3×3 convolution over the tiles of Winograd.swift:
//
//     dU[point] = Σ over tiles of V[point]ᵀ · M′[point],  dw = Gᵀ dU G,
//
// with V the transformed input and M′ = A dy Aᵀ. A part is a block of dU, some channels of V by some of M′: at all points
// or at one, over all tiles or a slice of them, which it transforms itself or finds transformed. Cuts.swift says why.

struct WinogradWeightGradient<Tile: WinogradGradientTile>: WeightGradientPass {
    /// What a part sums up, and whether it transforms the tiles by itself.
    private enum Way {
        /// A block at all points over a slice of the tiles, which it transforms.
        case ownTiles
        /// A block at all points, of tiles that all threads have transformed.
        case blocks
        /// A block at one point.
        case points
    }

    private let shape: ConvolutionShape
    private let tilesPerRow: Int
    private let bandsPerImage: Int
    private let way: Way
    /// Input and output channels of a block of dU.
    private let rowsPerBlock: Int
    private let columnsPerBlock: Int
    /// Bands that are transformed together, by a part or by all threads.
    private let bandsPerChunk: Int
    private let slices: GradientSlices

    init(_ shape: ConvolutionShape) {
        self.shape = shape
        tilesPerRow = divideUp(shape.outputWidth, by: Tile.Output.outputs)
        bandsPerImage = divideUp(shape.outputHeight, by: Tile.Output.outputs)
        let bands = shape.images * bandsPerImage
        let tiles = bands * tilesPerRow
        let (inputs, outputs) = (shape.inputChannels, shape.outputChannels)
        func size(of channels: Int, atMost most: Int, step: Int = Vector.lanes) -> Int {
            roundUp(divideUp(channels, by: divideUp(channels, by: most)), to: step)
        }
        let rows = size(of: inputs, atMost: Cut.columns)
        let columns = min(
            size(of: outputs, atMost: Cut.columns, step: Cut.columnStep), PackedMatrix.paddedColumns(outputs))
        let blocks = divideUp(inputs, by: rows) * divideUp(outputs, by: columns)
        // Twice as many floats as the block of dU has, that transforming it is worth it.
        let tilesPerSlice = divideUp(2 * Tile.weightPoints * rows * columns, by: Tile.floatsPerTile(rows, columns))
        let mostTiles: Int
        var sliceCount = 1
        if blocks <= Cut.ownBlocks.most, blocks * (tiles / tilesPerSlice) >= Cut.ownBlocks.fewestParts {
            way = .ownTiles
            (rowsPerBlock, columnsPerBlock) = (rows, columns)
            mostTiles = max(Tile.tilesBesideWeights(rows, columns) ?? 0, Cut.ownTiles)
            sliceCount = Cut.slices(of: blocks, atMost: tiles / tilesPerSlice)
        } else {
            let blocks = divideUp(inputs, by: rows) * divideUp(outputs, by: Cut.columns)
            way = blocks >= Cut.parts / 2 ? .blocks : .points
            rowsPerBlock = way == .blocks ? rows : size(of: inputs, atMost: Cut.columns / 2)
            columnsPerBlock = Cut.columns
            let chunk = Cut.chunk(beside: Tile.weightPoints * inputs * outputs)
            mostTiles = max(chunk / Tile.floatsPerTile(inputs, outputs), Cut.chunkTiles)
        }
        let chunk = min(max(1, mostTiles / tilesPerRow), bands)
        bandsPerChunk = way == .ownTiles ? chunk : divideUp(bands, by: divideUp(bands, by: chunk))
        slices = GradientSlices(count: sliceCount, weightCount: shape.weightCount)
    }

    private var tilesPerChunk: Int { bandsPerChunk * tilesPerRow }
    /// Channels of V and of M′ that are transformed together, as they lie in memory.
    private var inputStride: Int { way == .ownTiles ? rowsPerBlock : roundUp(shape.inputChannels, to: Vector.lanes) }
    private var outputStride: Int {
        way == .ownTiles ? columnsPerBlock : PackedMatrix.paddedColumns(shape.outputChannels)
    }
    private var pointStrideV: Int { tilesPerChunk * inputStride + Vector.lanes }
    private var pointStrideM: Int { tilesPerChunk * outputStride + Vector.lanes }
    private var transformedCount: Int { Tile.points * (pointStrideV + pointStrideM) }
    /// Of dU, a block or, by points, all of it, are in memory together.
    private var rowStrideU: Int { way == .points ? outputStride : columnsPerBlock }
    private var pointStrideU: Int { (way == .points ? shape.inputChannels : rowsPerBlock) * rowStrideU + Vector.lanes }
    private var countU: Int { Tile.weightPoints * pointStrideU }

    func workspaceCount(workers: Int) -> Int {
        slices.sumsCount + (way == .points ? 1 : workers) * countU + (way == .ownTiles ? workers : 1) * transformedCount
    }

    @specialized(where Tile == FourOutputs)
    @specialized(where Tile == TwoPixelMap)
    @specialized(where Tile == StrideTwo)
    func run(
        _ x: Maps, through activation: Activation?, _ dy: Maps, to dw: UnsafeMutablePointer<Float>,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        let gradients = workspace + slices.sumsCount
        let transformed = gradients + (way == .points ? 1 : threads.count) * countU
        let bands = x.count * bandsPerImage
        switch way {
        case .ownTiles:
            threads.sweep(slices.count * blockCount) { index, worker in
                let (slice, block) = index.quotientAndRemainder(dividingBy: blockCount)
                let part = part(block)
                let v = transformed + worker * transformedCount
                sum(
                    slices.part(slice, of: bands), x.slice(part.rows), activation?.slice(part.rows),
                    dy.slice(part.columns), in: gradients + worker * countU, v, v + Tile.points * pointStrideV,
                    to: slices.sum(slice, in: dw, workspace) + part.rows.lowerBound * shape.outputChannels
                        + part.columns.lowerBound)
            }
            slices.add(in: dw, workspace, threads: threads)
        case .blocks:
            forEachChunk(of: bands, x, activation, dy, transformed, threads) { v, m, tiles, isFirst in
                threads.forEach(blockCount) { index, worker in
                    let part = part(index)
                    let u = gradients + worker * countU
                    for point in 0..<Tile.points {
                        addProduct(
                            v, m, tiles: tiles, point, part, to: u,
                            accumulate: !Tile.isFirstOfWeightPoint(square: point))
                    }
                    transformGradient(u, part, to: dw, accumulate: !isFirst)
                }
            }
        case .points:
            forEachChunk(of: bands, x, activation, dy, transformed, threads) { v, m, tiles, isFirst in
                // The last points of the weights have the most of the tiles': they come first.
                threads.forEach(Tile.weightPoints * blockCount) { index in
                    let (reversed, block) = index.quotientAndRemainder(dividingBy: blockCount)
                    let weightPoint = Tile.weightPoints - 1 - reversed
                    let part = part(block)
                    let target = gradients + part.rows.lowerBound * rowStrideU + part.columns.lowerBound
                    for point in 0..<Tile.points where Tile.weightPoint(ofSquare: point) == weightPoint {
                        addProduct(
                            v, m, tiles: tiles, point, part, to: target,
                            accumulate: !isFirst || !Tile.isFirstOfWeightPoint(square: point))
                    }
                }
            }
            let rows = Cut.size(of: shape.inputChannels, atMost: 4)
            threads.forEach(divideUp(shape.inputChannels, by: rows)) { index in
                let part = Part(
                    rows: index * rows..<min((index + 1) * rows, shape.inputChannels),
                    columns: 0..<shape.outputChannels)
                transformGradient(gradients + part.rows.lowerBound * rowStrideU, part, to: dw, accumulate: false)
            }
        }
    }

    /// Transforms the tiles of some bands after the other, by all threads, and calls `body` with V and M′ and the number
    /// of tiles.
    private func forEachChunk(
        of bands: Int, _ x: Maps, _ activation: Activation?, _ dy: Maps, _ transformed: UnsafeMutablePointer<Float>,
        _ threads: Threads,
        _ body: (_ v: UnsafePointer<Float>, _ m: UnsafePointer<Float>, _ tiles: Int, _ isFirst: Bool) -> Void
    ) {
        let (v, m) = (transformed, transformed + Tile.points * pointStrideV)
        for start in stride(from: 0, to: bands, by: bandsPerChunk) {
            let count = min(bandsPerChunk, bands - start)
            let (firstTile, tiles) = (start * tilesPerRow, count * tilesPerRow)
            let group = Cut.size(of: tiles, atMost: 8)
            threads.forEach(divideUp(tiles, by: group)) { index in
                let (first, end) = (index * group, min((index + 1) * group, tiles))
                transform(x, activation, firstTile + first..<firstTile + end, toV: v, first: first, of: tiles)
                transform(dy, firstTile + first..<firstTile + end, toM: m, first: first, of: tiles)
            }
            body(v, m, tiles, start == 0)
        }
        threads.noteForwardSweep()
    }

    /// A block of the gradient over some bands, of channels that it transforms for itself, a few bands at a time.
    private func sum(
        _ bands: Range<Int>, _ x: Maps, _ activation: Activation?, _ dy: Maps, in u: UnsafeMutablePointer<Float>,
        _ v: UnsafeMutablePointer<Float>, _ m: UnsafeMutablePointer<Float>, to dw: UnsafeMutablePointer<Float>
    ) {
        let all = Part(rows: 0..<x.channels, columns: 0..<dy.channels)
        if bands.isEmpty { u.update(repeating: 0, count: countU) }
        for first in stride(from: bands.lowerBound, to: bands.upperBound, by: bandsPerChunk) {
            let end = min(first + bandsPerChunk, bands.upperBound)
            let tiles = first * tilesPerRow..<end * tilesPerRow
            transform(x, activation, tiles, toV: v, first: 0, of: tiles.count)
            transform(dy, tiles, toM: m, first: 0, of: tiles.count)
            for point in 0..<Tile.points {
                addProduct(
                    v, m, tiles: tiles.count, point, all, to: u,
                    accumulate: first > bands.lowerBound || !Tile.isFirstOfWeightPoint(square: point))
            }
        }
        transformGradient(u, all, to: dw, accumulate: false)
    }

    /// Some input channels by some output channels.
    private struct Part {
        var rows: Range<Int>
        var columns: Range<Int>
    }

    private var rowBlocks: Int { divideUp(shape.inputChannels, by: rowsPerBlock) }
    private var columnBlocks: Int { divideUp(shape.outputChannels, by: columnsPerBlock) }
    private var blockCount: Int { rowBlocks * columnBlocks }

    private func part(_ index: Int) -> Part {
        let (row, column) = index.quotientAndRemainder(dividingBy: columnBlocks)
        return Part(
            rows: row * rowsPerBlock..<min((row + 1) * rowsPerBlock, shape.inputChannels),
            columns: column * columnsPerBlock..<min((column + 1) * columnsPerBlock, shape.outputChannels))
    }

    /// V of some tiles, from number `first` on of the `count` that lie together, in blocks of rows of dU.
    private func transform(
        _ x: Maps, _ activation: Activation?, _ tiles: Range<Int>, toV v: UnsafeMutablePointer<Float>, first: Int,
        of count: Int
    ) {
        TileGrid(
            maps: x, activation: activation, side: Tile.Input.inputs, spacing: Tile.sourceSpacing,
            origin: Tile.origin(padding: shape.padding), tilesPerRow: tilesPerRow, bandsPerImage: bandsPerImage
        ).transform(Tile.Input.self, tiles, to: v, pointStride: pointStrideV, isFar: way != .ownTiles) {
            let block = $1 / rowsPerBlock * rowsPerBlock
            let width = min(rowsPerBlock, roundUp(x.channels, to: Vector.lanes) - block)
            return count * block + (first + $0) * width + $1 - block
        }
    }

    /// M′ of some tiles, from number `first` on of the `count` that lie together, packed.
    private func transform(
        _ dy: Maps, _ tiles: Range<Int>, toM m: UnsafeMutablePointer<Float>, first: Int, of count: Int
    ) {
        let columns = PackedMatrix.paddedColumns(dy.channels)
        TileGrid(
            maps: dy, side: Tile.Output.outputs, spacing: Tile.Output.outputs, origin: 0, tilesPerRow: tilesPerRow,
            bandsPerImage: bandsPerImage
        ).transform(Tile.OutputGradient.self, tiles, to: m, pointStride: pointStrideM, isFar: way != .ownTiles) {
            let panel = $1 / PackedMatrix.panelWidth * PackedMatrix.panelWidth
            let width = min(PackedMatrix.panelWidth, columns - panel)
            return count * panel + (first + $0) * width + $1 - panel
        }
    }

    /// dU (+)= Vᵀ M′ at one point over the tiles that lie together, for a block of rows and columns.
    private func addProduct(
        _ v: UnsafePointer<Float>, _ m: UnsafePointer<Float>, tiles: Int, _ point: Int, _ part: Part,
        to u: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
        let rowWidth = roundUp(part.rows.count, to: Vector.lanes)
        let end = PackedMatrix.paddedColumns(part.columns.upperBound)
        for panel in stride(from: part.columns.lowerBound, to: part.columns.upperBound, by: PackedMatrix.panelWidth) {
            let width = min(PackedMatrix.panelWidth, end - panel)
            let right = m + point * pointStrideM + tiles * panel
            multiplyPanel(
                .columns(v + point * pointStrideV + tiles * part.rows.lowerBound, stride: rowWidth),
                right, width: width,
                next: way == .blocks ? .panel(right + pointStrideM, width: width, depth: tiles) : nil,
                to: u + Tile.weightPoint(ofSquare: point) * pointStrideU + panel - part.columns.lowerBound,
                stride: rowStrideU, rows: part.rows.count, columns: width, depth: tiles, accumulate: accumulate)
        }
    }

    /// dw (+)= Gᵀ dU G for the channels of a part.
    private func transformGradient(
        _ u: UnsafePointer<Float>, _ part: Part, to dw: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
        let capacity = Tile.WeightGradient.inputs * Tile.WeightGradient.outputs
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: capacity) { scratch in
            for row in part.rows {
                for column in stride(from: part.columns.lowerBound, to: part.columns.upperBound, by: Vector.lanes) {
                    let values = u + (row - part.rows.lowerBound) * rowStrideU + column - part.columns.lowerBound
                    let taps = dw + row * shape.outputChannels + column
                    let count = part.columns.upperBound - column
                    Tile.WeightGradient.applyTwice(
                        scratch.baseAddress!,
                        { Vector(at: values + ($0 * Tile.WeightGradient.inputs + $1) * pointStrideU) },
                        {
                            let tap = taps + (3 * $0 + $1) * shape.inputChannels * shape.outputChannels
                            (accumulate ? Vector(at: tap, count: count) + $2 : $2).store(to: tap, count: count)
                        })
                }
            }
        }
    }
}
