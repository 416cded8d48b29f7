// The weight gradient of a 3×3 convolution over the tiles of Winograd.swift:
//
//     dU[point] = Σ over tiles of V[point]ᵀ · M′[point],  dw = Gᵀ dU G,
//
// with V the transformed input and M′ = A dy Aᵀ. A part is a block of dU, some channels of V by some of M′: at all points
// or at one, over all tiles or a slice of them, which it transforms itself or finds transformed. Cuts.swift says why.

struct WinogradWeightGradient<Tile: WinogradGradientTile>: WeightGradientPass {
    /// What a part sums up, and whether it transforms the tiles by itself.
    private enum Way {
        /// A block of dU at all points over a slice of the tiles, which it transforms.
        case ownTiles
        /// The same of tiles that all threads have transformed.
        case blocks
        /// A block at one point.
        case points
    }

    private let shape: ConvolutionShape
    private let tilesPerRow: Int
    private let bandsPerImage: Int
    private let way: Way
    /// Input channels of a block of dU; its output channels are `Cut.columns`.
    private let rowsPerBlock: Int
    /// Bands that are transformed together, by a part or by all threads.
    private let bandsPerChunk: Int
    private let slices: GradientSlices

    init(_ shape: ConvolutionShape) {
        self.shape = shape
        tilesPerRow = divideUp(shape.outputWidth, by: Tile.Output.outputs)
        bandsPerImage = divideUp(shape.outputHeight, by: Tile.Output.outputs)
        let bands = shape.images * bandsPerImage
        let columns = min(Cut.columns, roundUp(shape.outputChannels, to: Vector.lanes))
        func rows(_ most: Int) -> Int {
            roundUp(divideUp(shape.inputChannels, by: divideUp(shape.inputChannels, by: most)), to: Vector.lanes)
        }
        func blocks(_ rows: Int) -> Int {
            divideUp(shape.inputChannels, by: rows) * divideUp(shape.outputChannels, by: Cut.columns)
        }
        let tiles = bands * tilesPerRow
        let square = rows(Cut.columns)
        let mostTiles: Int
        var sliceCount = 1
        if blocks(square) <= Cut.ownBlocks, blocks(square) * tiles / Cut.sliceTiles >= Cut.parts / 2 {
            (way, rowsPerBlock) = (.ownTiles, square)
            mostTiles = max(Tile.tilesBesideWeights(square, columns) ?? 0, Cut.ownTiles)
            sliceCount = Cut.slices(of: blocks(square), atMost: tiles / Cut.sliceTiles)
        } else {
            (way, rowsPerBlock) =
                blocks(square) >= Cut.parts / 2 ? (.blocks, square) : (.points, rows(Cut.columns / 2))
            let chunk = Cut.chunk(beside: Tile.weightPoints * shape.inputChannels * shape.outputChannels)
            mostTiles = max(chunk / Tile.floatsPerTile(shape.inputChannels, shape.outputChannels), Cut.chunkTiles)
        }
        let chunk = min(max(1, mostTiles / tilesPerRow), bands)
        bandsPerChunk = way == .ownTiles ? chunk : divideUp(bands, by: divideUp(bands, by: chunk))
        slices = GradientSlices(count: sliceCount, weightCount: shape.weightCount)
    }

    private var tilesPerChunk: Int { bandsPerChunk * tilesPerRow }
    /// Channels of V and of M′ that are in memory together.
    private var inputStride: Int { way == .ownTiles ? rowsPerBlock : roundUp(shape.inputChannels, to: Vector.lanes) }
    private var outputStride: Int {
        let all = PackedMatrix.paddedColumns(shape.outputChannels)
        return way == .ownTiles ? min(all, Cut.columns) : all
    }
    private var pointStrideV: Int { tilesPerChunk * inputStride + Vector.lanes }
    private var pointStrideM: Int { tilesPerChunk * outputStride + Vector.lanes }
    private var transformedCount: Int { Tile.points * (pointStrideV + pointStrideM) }
    /// Of dU, a block or, by points, all of it, are in memory together.
    private var rowStrideU: Int { way == .points ? outputStride : Cut.columns }
    private var pointStrideU: Int { (way == .points ? shape.inputChannels : rowsPerBlock) * rowStrideU + Vector.lanes }
    private var countU: Int { Tile.weightPoints * pointStrideU }

    func workspaceCount(workers: Int) -> Int {
        slices.sumsCount + (way == .points ? 1 : workers) * countU + (way == .ownTiles ? workers : 1) * transformedCount
    }

    @specialized(where Tile == FourOutputs)
    @specialized(where Tile == TwoPixelMap)
    @specialized(where Tile == StrideTwo)
    func run(
        _ x: Maps, _ dy: Maps, to dw: UnsafeMutablePointer<Float>, workspace: UnsafeMutablePointer<Float>,
        threads: Threads
    ) {
        let gradients = workspace + slices.sumsCount
        let transformed = gradients + (way == .points ? 1 : threads.count) * countU
        let bands = x.count * bandsPerImage
        switch way {
        case .ownTiles:
            threads.sweep(partCount) { index, worker in
                let part = part(index)
                let v = transformed + worker * transformedCount
                sum(
                    part, bands: slices.part(part.slice, of: bands), x, dy, in: gradients + worker * countU, v,
                    v + Tile.points * pointStrideV, to: slices.sum(part.slice, in: dw, workspace))
            }
        case .blocks:
            forEachChunk(of: bands, x, dy, transformed, threads) { v, m, tiles, isFirst in
                threads.forEach(partCount) { index, worker in
                    let part = part(index)
                    let u = gradients + worker * countU
                    for point in 0..<Tile.points {
                        addProduct(
                            v, m, tiles: tiles, point, part, outputs: shape.outputChannels, to: u,
                            accumulate: !Tile.isFirstOfWeightPoint(square: point))
                    }
                    transformGradient(u, part, to: dw, accumulate: !isFirst)
                }
            }
        case .points:
            forEachChunk(of: bands, x, dy, transformed, threads) { v, m, tiles, isFirst in
                // The last points of the weights have the most of the tiles': they come first.
                threads.forEach(Tile.weightPoints * partCount) { index in
                    let (reversed, block) = index.quotientAndRemainder(dividingBy: partCount)
                    let weightPoint = Tile.weightPoints - 1 - reversed
                    let part = part(block)
                    let target = gradients + part.rows.lowerBound * rowStrideU + part.columns.lowerBound
                    for point in 0..<Tile.points where Tile.weightPoint(ofSquare: point) == weightPoint {
                        addProduct(
                            v, m, tiles: tiles, point, part, outputs: shape.outputChannels, to: target,
                            accumulate: !isFirst || !Tile.isFirstOfWeightPoint(square: point))
                    }
                }
            }
            let rows = Cut.size(of: shape.inputChannels, atMost: 4)
            threads.forEach(divideUp(shape.inputChannels, by: rows)) { index in
                let part = Part(
                    slice: 0, rows: index * rows..<min((index + 1) * rows, shape.inputChannels),
                    columns: 0..<shape.outputChannels)
                transformGradient(gradients + part.rows.lowerBound * rowStrideU, part, to: dw, accumulate: false)
            }
        }
        slices.add(in: dw, workspace, threads: threads)
    }

    /// Transforms the tiles of some bands after the other, by all threads, and calls `body` with V and M′ and the number
    /// of tiles.
    private func forEachChunk(
        of bands: Int, _ x: Maps, _ dy: Maps, _ transformed: UnsafeMutablePointer<Float>, _ threads: Threads,
        _ body: (_ v: UnsafePointer<Float>, _ m: UnsafePointer<Float>, _ tiles: Int, _ isFirst: Bool) -> Void
    ) {
        let (v, m) = (transformed, transformed + Tile.points * pointStrideV)
        for start in stride(from: 0, to: bands, by: bandsPerChunk) {
            let count = min(bandsPerChunk, bands - start)
            let (firstTile, tiles) = (start * tilesPerRow, count * tilesPerRow)
            let group = Cut.size(of: tiles, atMost: 8)
            threads.forEach(divideUp(tiles, by: group)) { index in
                let (first, end) = (index * group, min((index + 1) * group, tiles))
                transform(x, firstTile + first..<firstTile + end, toV: v, first: first, of: tiles)
                transform(dy, firstTile + first..<firstTile + end, toM: m, first: first, of: tiles)
            }
            body(v, m, tiles, start == 0)
        }
        threads.noteForwardSweep()
    }

    /// The gradient of a part over some bands, which it transforms a few at a time.
    private func sum(
        _ part: Part, bands: Range<Int>, _ x: Maps, _ dy: Maps, in u: UnsafeMutablePointer<Float>,
        _ v: UnsafeMutablePointer<Float>, _ m: UnsafeMutablePointer<Float>, to dw: UnsafeMutablePointer<Float>
    ) {
        let (x, dy) = (x.slice(part.rows), dy.slice(part.columns))
        let block = Part(slice: 0, rows: 0..<x.channels, columns: 0..<dy.channels)
        if bands.isEmpty { u.update(repeating: 0, count: countU) }
        for first in stride(from: bands.lowerBound, to: bands.upperBound, by: bandsPerChunk) {
            let end = min(first + bandsPerChunk, bands.upperBound)
            let tiles = first * tilesPerRow..<end * tilesPerRow
            transform(x, tiles, toV: v, first: 0, of: tiles.count)
            transform(dy, tiles, toM: m, first: 0, of: tiles.count)
            for point in 0..<Tile.points {
                addProduct(
                    v, m, tiles: tiles.count, point, block, outputs: dy.channels, to: u,
                    accumulate: first > bands.lowerBound || !Tile.isFirstOfWeightPoint(square: point))
            }
        }
        transformGradient(u, part, to: dw, accumulate: false)
    }

    /// Some input channels by some output channels, over a slice of the tiles.
    private struct Part {
        var slice: Int
        var rows: Range<Int>
        var columns: Range<Int>
    }

    private var rowBlocks: Int { divideUp(shape.inputChannels, by: rowsPerBlock) }
    private var columnBlocks: Int { divideUp(shape.outputChannels, by: Cut.columns) }
    private var partCount: Int { slices.count * rowBlocks * columnBlocks }

    /// The blocks of a slice follow each other.
    private func part(_ index: Int) -> Part {
        let (rest, column) = index.quotientAndRemainder(dividingBy: columnBlocks)
        let (slice, row) = rest.quotientAndRemainder(dividingBy: rowBlocks)
        return Part(
            slice: slice, rows: row * rowsPerBlock..<min((row + 1) * rowsPerBlock, shape.inputChannels),
            columns: column * Cut.columns..<min((column + 1) * Cut.columns, shape.outputChannels))
    }

    /// V of some tiles, from number `first` on of the `count` that lie together, in blocks of rows of dU.
    private func transform(
        _ x: Maps, _ tiles: Range<Int>, toV v: UnsafeMutablePointer<Float>, first: Int, of count: Int
    ) {
        TileGrid(
            maps: x, side: Tile.Input.inputs, spacing: Tile.sourceSpacing,
            origin: Tile.origin(padding: shape.padding), tilesPerRow: tilesPerRow, bandsPerImage: bandsPerImage
        ).transform(Tile.Input.self, tiles, to: v, pointStride: pointStrideV) {
            let block = $1 / rowsPerBlock * rowsPerBlock
            let width = min(rowsPerBlock, inputStride - block)
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
        ).transform(Tile.OutputGradient.self, tiles, to: m, pointStride: pointStrideM) {
            let panel = $1 / PackedMatrix.panelWidth * PackedMatrix.panelWidth
            let width = min(PackedMatrix.panelWidth, columns - panel)
            return count * panel + (first + $0) * width + $1 - panel
        }
    }

    /// dU (+)= Vᵀ M′ at one point over the tiles that lie together, for a block of rows and columns of which M′ has
    /// `outputs`.
    private func addProduct(
        _ v: UnsafePointer<Float>, _ m: UnsafePointer<Float>, tiles: Int, _ point: Int, _ part: Part, outputs: Int,
        to u: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
        let outputs = PackedMatrix.paddedColumns(outputs)
        let rowWidth = min(rowsPerBlock, inputStride - part.rows.lowerBound)
        for panel in stride(from: part.columns.lowerBound, to: part.columns.upperBound, by: PackedMatrix.panelWidth) {
            let width = min(PackedMatrix.panelWidth, outputs - panel)
            multiplyPanel(
                LeftMatrix(
                    base: v + point * pointStrideV + tiles * part.rows.lowerBound, rowStride: 1, depthStride: rowWidth),
                m + point * pointStrideM + tiles * panel, width: width,
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
