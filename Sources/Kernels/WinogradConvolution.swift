// 3×3 convolution over the tiles of Winograd.swift: input transform, one matrix product for each point, and output
// transform,
//
//     V[point][tile][source channel] · U[point][source channel][target channel] = M[point][tile][target channel].
//
// Either a block of tiles goes through all three on one thread, or each is a loop of all threads over a chunk of tiles:
// see Cuts.swift.
//
// The input gradient is the convolution of dy with the kernel turned around, source and target exchanged.

import CLinux

/// The square tiles of maps: which pixels each covers.
struct TileGrid {
    var maps: Maps
    /// What their values are read through.
    var activation: Activation?
    /// Pixels of a side of a tile.
    var side: Int
    /// Pixels from one tile to the next, and where the first starts.
    var spacing: Int
    var origin: Int
    var tilesPerRow: Int
    var bandsPerImage: Int

    /// Where a tile starts, perhaps outside the map, and which of its rows and columns lie inside.
    typealias Pixels = (first: UnsafeMutablePointer<Float>, rows: Range<Int>, columns: Range<Int>)

    /// The pixels of a tile, counted over all images.
    @inline(__always)
    func tile(_ index: Int) -> Pixels {
        let (band, column) = index.quotientAndRemainder(dividingBy: tilesPerRow)
        let (image, row) = band.quotientAndRemainder(dividingBy: bandsPerImage)
        let (y, x) = (row * spacing + origin, column * spacing + origin)
        let (top, left) = (min(max(0, -y), side), min(max(0, -x), side))
        return (
            maps.base + ((image * maps.height + y) * maps.width + x) * maps.stride,
            top..<max(top, min(side, maps.height - y)), left..<max(left, min(side, maps.width - x))
        )
    }

    @inline(__always)
    func pixel(_ row: Int, _ column: Int, of tile: Pixels) -> UnsafeMutablePointer<Float> {
        tile.first + (row * maps.width + column) * maps.stride
    }

    /// Applies `map` to `tiles` in both dimensions, pixels outside the maps being zero. The value of a tile and channel
    /// at a point goes to `target[point * pointStride + place(tile, channel)]`. A target that `isFar`, in no L2 cache, is
    /// fetched before.
    @inline(__always)
    func transform<Map: LinearMap>(
        _ map: Map.Type, _ tiles: Range<Int>, to target: UnsafeMutablePointer<Float>, pointStride: Int,
        isFar: Bool = false, place: (_ tile: Int, _ channel: Int) -> Int
    ) {
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: Map.inputs * Map.outputs) { scratch in
            var pixels = tile(tiles.lowerBound)
            for index in tiles {
                let nextPixels = tile(index + 1)
                for channel in stride(from: 0, to: maps.channels, by: Vector.lanes) {
                    let (tile, count) = (index - tiles.lowerBound, maps.channels - channel)
                    if isFar {
                        let next = count > Vector.lanes ? place(tile, channel + Vector.lanes) : place(tile + 1, 0)
                        for point in 0..<Map.outputs * Map.outputs {
                            fetch_to_write(target + next + point * pointStride)
                        }
                    }
                    if index + 1 < tiles.upperBound { fetch(channel, of: nextPixels) }
                    let place = target + place(tile, channel)
                    if let activation {
                        apply(map, to: pixels, channel, count, activation, scratch.baseAddress!, place, pointStride)
                    } else {
                        apply(map, to: pixels, channel, count, PlainReading(), scratch.baseAddress!, place, pointStride)
                    }
                }
                pixels = nextPixels
            }
        }
    }

    /// Fetches a vector of channels of a tile, but for the columns that the tile before it has, too. Its rows are far
    /// apart, which a processor does not foresee.
    @inline(__always)
    private func fetch(_ channel: Int, of tile: Pixels) {
        let shared = tile.columns.lowerBound == 0 ? side - spacing : 0
        for row in tile.rows {
            for column in max(shared, tile.columns.lowerBound)..<max(shared, tile.columns.upperBound) {
                CLinux.fetch(pixel(row, column, of: tile) + channel)
            }
        }
    }

    /// Applies `map` to a vector of channels of a tile, of which there are `count` or, in the last one, fewer.
    @inline(__always)
    private func apply<Map: LinearMap>(
        _: Map.Type, to tile: Pixels, _ channel: Int, _ count: Int, _ reading: some Reading,
        _ scratch: UnsafeMutablePointer<Vector>, _ target: UnsafeMutablePointer<Float>, _ pointStride: Int
    ) {
        let read = reading.lanes(channel: channel, count: count)
        @inline(__always) func value(_ row: Int, _ column: Int, count: Int = Vector.lanes) -> Vector {
            read(Vector(at: pixel(row, column, of: tile) + channel, count: count))
        }
        @inline(__always) func store(_ row: Int, _ column: Int, _ value: Vector) {
            value.store(to: target + (row * Map.outputs + column) * pointStride)
        }
        let (rows, columns) = (tile.rows, tile.columns)
        if count < Vector.lanes {
            Map.applyTwice(
                scratch, columns: columns, { rows.contains($0) ? value($0, $1, count: count) : .zero }, store)
        } else if rows.count < side || columns.count < side {
            Map.applyTwice(scratch, columns: columns, { rows.contains($0) ? value($0, $1) : .zero }, store)
        } else {
            Map.applyTwice(scratch, { value($0, $1) }, store)
        }
    }
}

/// Forward and input gradient.
struct WinogradPass<Tile: WinogradTile>: MapPass {
    private let direction: Direction
    private let sourceChannels: Int
    private let targetChannels: Int
    private let padding: Int
    /// Blocks that a part transforms to the target, and all of the way there where U is small.
    private var blocks: Blocks
    /// Columns of the products that a part computes of its block: all, or some where blocks are few.
    private var columnsPerPart: Int
    /// Blocks whose V and M are in memory together: one for each worker, or many for all, a chunk.
    private var blocksPerChunk = 1
    private let isByPoints: Bool

    init(_ shape: ConvolutionShape, _ direction: Direction) {
        self.direction = direction
        let side = Tile.Output.outputs
        switch direction {
        case .forward:
            (sourceChannels, targetChannels, padding) = (shape.inputChannels, shape.outputChannels, shape.padding)
            blocks = Blocks(height: shape.outputHeight, width: shape.outputWidth, bandHeight: side)
        case .inputGradient:
            (sourceChannels, targetChannels, padding) = (shape.outputChannels, shape.inputChannels, 2 - shape.padding)
            blocks = Blocks(height: shape.height, width: shape.width, bandHeight: side)
        }
        let floatsPerTile = Tile.floatsPerTile(sourceChannels, targetChannels)
        isByPoints = Tile.weightPoints * sourceChannels * targetChannels > Cut.weights
        columnsPerPart = PackedMatrix.paddedColumns(targetChannels)
        var columnsAreCut = false
        var chunks = 1
        let (most, fewest): (Int, Int)
        if isByPoints {
            (most, fewest) = (max(1, Cut.cache / floatsPerTile), 1)
            let tiles = shape.images * blocks.bandsPerImage * tilesPerRow
            let weights = Tile.weightPoints * sourceChannels * targetChannels
            chunks = divideUp(tiles * floatsPerTile, by: Cut.chunk(beside: weights))
        } else if let tiles = Tile.tilesBesideWeights(sourceChannels, targetChannels) {
            (most, fewest) = (min(tiles, Cut.tiles), Cut.fewestTiles.near)
        } else {
            (most, fewest) = (min(max(24, Cut.cache / floatsPerTile), Cut.tiles), Cut.fewestTiles.far)
            columnsAreCut = true
        }
        blocks.cut(
            images: divideUp(shape.images, by: chunks), atMost: most / tilesPerRow,
            atLeast: divideUp(fewest, by: tilesPerRow))
        let count = blocks.count(images: shape.images)
        if columnsAreCut { columnsPerPart = Cut.columns(of: columnsPerPart, inEachOf: count) }
        if isByPoints { blocksPerChunk = divideUp(count, by: chunks) }
    }

    private var tilesPerRow: Int { divideUp(blocks.width, by: Tile.Output.outputs) }
    private var tilesPerBlock: Int { blocks.bandsPerBlock * tilesPerRow }
    private var tilesPerChunk: Int { blocksPerChunk * tilesPerBlock }

    // Sizes in memory. From point to point another cache line, so that the points of a tile do not compete for the same
    // lines of the cache.
    private var sourceStride: Int { roundUp(sourceChannels, to: Vector.lanes) }
    private var targetStride: Int { PackedMatrix.paddedColumns(targetChannels) }
    private var pointStrideV: Int { tilesPerChunk * sourceStride + Vector.lanes }
    /// M has the columns of a part, or by points all.
    private var rowStrideM: Int { isByPoints ? targetStride : columnsPerPart }
    private var pointStrideM: Int { tilesPerChunk * rowStrideM + Vector.lanes }
    private var pointStrideU: Int {
        PackedMatrix.count(rows: sourceChannels, columns: targetChannels) + Vector.lanes
    }

    func blocks(images: Int) -> Int { blocks.count(images: images) }

    private var transformedCount: Int { Tile.points * (pointStrideV + pointStrideM) }
    /// By points: the turned kernel, and a piece of U for each worker.
    private var kernelCount: Int { direction == .inputGradient ? 9 * sourceChannels * targetStride : 0 }
    private var pieceCount: Int { Tile.Weights.outputs * (Cut.pieceDepth * Cut.pieceColumns + Vector.lanes) }

    /// The panels of target channels that pieces of U are made for.
    private var panelCount: Int { divideUp(targetStride, by: Cut.pieceColumns) }
    private func columns(ofPanel panel: Int) -> Range<Int> {
        panel * Cut.pieceColumns..<min((panel + 1) * Cut.pieceColumns, targetStride)
    }

    func workspaceCount(workers: Int) -> Int {
        isByPoints
            ? kernelCount + transformedCount + workers * pieceCount
            : Tile.weightPoints * pointStrideU + workers * transformedCount
    }

    @specialized(where Tile == FourOutputs)
    @specialized(where Tile == TwoPixelMap)
    @specialized(where Tile == StrideTwo)
    @specialized(where Tile == StrideTwoGradient)
    func run(
        _ source: Maps, through activation: Activation?, weights: UnsafePointer<Float>, to target: Maps,
        accumulate: Bool, workspace: UnsafeMutablePointer<Float>, epilogue: Convolution.Epilogue?, threads: Threads
    ) {
        let sources = TileGrid(
            maps: source, activation: activation, side: Tile.Input.inputs, spacing: Tile.sourceSpacing,
            origin: Tile.origin(padding: padding), tilesPerRow: tilesPerRow, bandsPerImage: blocks.bandsPerImage)
        let targets = TileGrid(
            maps: target, side: Tile.Output.outputs, spacing: Tile.Output.outputs, origin: 0, tilesPerRow: tilesPerRow,
            bandsPerImage: blocks.bandsPerImage)
        let count = blocks.count(images: target.count)
        func tiles(_ range: Range<Int>) -> Range<Int> {
            let first = blocks.bands(of: range.lowerBound, images: target.count).lowerBound
            let end = blocks.bands(of: range.upperBound - 1, images: target.count).upperBound
            return first * tilesPerRow..<end * tilesPerRow
        }
        func finish(_ block: Int, _ columns: Range<Int>, _ m: UnsafePointer<Float>) {
            let channels = columns.clamped(to: 0..<targetChannels)
            transformOutput(m, to: targets, tiles(block..<block + 1), channels, accumulate: accumulate)
            epilogue?(block, blocks.pixels(of: blocks.bands(of: block, images: target.count)), channels)
        }

        guard isByPoints else {
            let (u, scratch) = (workspace, workspace + Tile.weightPoints * pointStrideU)
            transformWeights(weights, to: u, threads)
            let columnParts = divideUp(targetStride, by: columnsPerPart)
            withUnsafeTemporaryAllocation(of: Int.self, capacity: threads.count) { transformed in
                transformed.initialize(repeating: -1)
                threads.sweep(count * columnParts) { index, worker in
                    let (block, part) = index.quotientAndRemainder(dividingBy: columnParts)
                    let columns = part * columnsPerPart..<min((part + 1) * columnsPerPart, targetStride)
                    let v = scratch + worker * transformedCount
                    let m = v + Tile.points * pointStrideV
                    let tiles = tiles(block..<block + 1)
                    // The parts of a block follow each other: who computes several of them transforms it once.
                    if transformed[worker] != block { transformInput(tiles, of: sources, to: v) }
                    transformed[worker] = block
                    let panels = UnsafePointer(u + sourceChannels * columns.lowerBound)
                    func weights(_ point: Int) -> UnsafePointer<Float> {
                        panels + Tile.weightPoint(ofSquare: point) * pointStrideU
                    }
                    for point in 0..<Tile.points {
                        multiply(
                            .rows(v + point * pointStrideV, stride: sourceStride),
                            weights(point), next: point + 1 < Tile.points ? weights(point + 1) : nil,
                            to: m + point * pointStrideM, stride: rowStrideM, rows: tiles.count,
                            columns: columns.count, depth: sourceChannels)
                    }
                    finish(block, columns, m)
                }
            }
            return
        }
        let v = workspace + kernelCount
        let m = v + Tile.points * pointStrideV
        let pieces = v + transformedCount
        var kernel = weights
        if direction == .inputGradient {
            turn(weights, to: workspace, threads)
            kernel = UnsafePointer(workspace)
        }
        for first in stride(from: 0, to: count, by: blocksPerChunk) {
            let chunk = first..<min(first + blocksPerChunk, count)
            let tiles = tiles(chunk)
            let group = Cut.size(of: tiles.count, atMost: 8)
            threads.sweep(divideUp(tiles.count, by: group)) { index in
                let start = index * group
                let end = min(start + group, tiles.count)
                transformInput(
                    tiles.lowerBound + start..<tiles.lowerBound + end, of: sources, to: v + start * sourceStride)
            }
            threads.forEach(Tile.Input.outputs * panelCount) { index, worker in
                let (row, panel) = index.quotientAndRemainder(dividingBy: panelCount)
                multiplyRow(
                    v, kernel, to: m, pointRow: row, columns: columns(ofPanel: panel), tiles: tiles.count,
                    piece: pieces + worker * pieceCount)
            }
            threads.sweep(chunk.count) { index in
                finish(first + index, 0..<targetStride, m + index * tilesPerBlock * targetStride)
            }
        }
    }

    /// V of some tiles, the first of them at `v`.
    private func transformInput(_ tiles: Range<Int>, of sources: TileGrid, to v: UnsafeMutablePointer<Float>) {
        sources.transform(Tile.Input.self, tiles, to: v, pointStride: pointStrideV) { $0 * sourceStride + $1 }
    }

    /// Some columns of M at a row of points. The pieces of U that this takes are made on the way, and never leave the
    /// cache.
    private func multiplyRow(
        _ v: UnsafePointer<Float>, _ kernel: UnsafePointer<Float>, to m: UnsafeMutablePointer<Float>, pointRow: Int,
        columns: Range<Int>, tiles: Int, piece u: UnsafeMutablePointer<Float>
    ) {
        for first in stride(from: 0, to: sourceChannels, by: Cut.pieceDepth) {
            let depth = min(Cut.pieceDepth, sourceChannels - first)
            let pointStride = depth * columns.count + Vector.lanes
            transformWeights(
                kernel, row: Tile.weightPoint(of: pointRow), first..<first + depth, columns, to: u,
                pointStride: pointStride)
            for pointColumn in 0..<Tile.Input.outputs {
                let point = pointRow * Tile.Input.outputs + pointColumn
                multiply(
                    .rows(v + point * pointStrideV + first, stride: sourceStride),
                    u + Tile.weightPoint(of: pointColumn) * pointStride,
                    to: m + point * pointStrideM + columns.lowerBound, stride: targetStride, rows: tiles,
                    columns: columns.count, depth: depth,
                    accumulate: first > 0)
            }
        }
    }

    /// A row of points of U = G w Gᵀ, for some source channels and a panel of target channels, packed for each point.
    private func transformWeights(
        _ kernel: UnsafePointer<Float>, row: Int, _ sources: Range<Int>, _ columns: Range<Int>,
        to u: UnsafeMutablePointer<Float>, pointStride: Int
    ) {
        let g = (Tile.weight(of: 0, at: row), Tile.weight(of: 1, at: row), Tile.weight(of: 2, at: row))
        // As the weights lie, or as `turn` leaves them.
        let (panel, tapStride, sourceStride) =
            direction == .forward
            ? (kernel + columns.lowerBound, sourceChannels * targetChannels, targetChannels)
            : (kernel + turnedPlace(of: columns), columns.count, 9 * columns.count)
        let count = direction == .forward ? targetChannels - columns.lowerBound : columns.count
        for (index, source) in sources.enumerated() {
            for lane in stride(from: 0, to: columns.count, by: Vector.lanes) {
                let taps = panel + source * sourceStride + lane
                @inline(__always) func tap(_ row: Int, _ column: Int) -> Vector {
                    let tap = taps + (3 * row + column) * tapStride
                    // As the weights lie, these are nine rows far apart: more than the processor foresees.
                    fetch(tap + Cut.rowsAhead * sourceStride)
                    return Vector(at: tap, count: count - lane)
                }
                Tile.Weights.apply(
                    { (g.0 * tap(0, $0)).adding(g.1, tap(1, $0)).adding(g.2, tap(2, $0)) },
                    { $1.store(to: u + index * columns.count + lane + $0 * pointStride) })
            }
        }
    }

    /// The kernel as the input gradient convolves with it: turned around, source and target exchanged. A panel of target
    /// channels lies together, with all nine taps of a source channel before the next.
    private func turn(
        _ weights: UnsafePointer<Float>, to kernel: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        threads.forEach(divideUp(sourceChannels, by: Vector.lanes) * panelCount) { index in
            let (chunk, panel) = index.quotientAndRemainder(dividingBy: panelCount)
            let source = chunk * Vector.lanes
            let count = min(Vector.lanes, sourceChannels - source)
            let columns = columns(ofPanel: panel)
            let place = kernel + turnedPlace(of: columns) + 9 * columns.count * source
            withUnsafeTemporaryAllocation(of: Vector.self, capacity: 2 * Vector.lanes) { block in
                for tap in 0..<9 {
                    for target in stride(from: columns.lowerBound, to: columns.upperBound, by: Vector.lanes) {
                        loadTransposed(
                            weights + ((8 - tap) * targetChannels + target) * sourceChannels + source,
                            rowStride: sourceChannels, rows: targetChannels - target, columns: count,
                            to: block.baseAddress!)
                        for lane in 0..<count {
                            block[lane].store(
                                to: place + (9 * lane + tap) * columns.count + target - columns.lowerBound)
                        }
                    }
                }
            }
        }
    }

    private func turnedPlace(of columns: Range<Int>) -> Int { 9 * sourceChannels * columns.lowerBound }

    private func transformOutput(
        _ m: UnsafePointer<Float>, to targets: TileGrid, _ tiles: Range<Int>, _ channels: Range<Int>, accumulate: Bool
    ) {
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: Tile.Output.inputs * Tile.Output.outputs) { scratch in
            for tile in tiles {
                let pixels = targets.tile(tile)
                for channel in stride(from: channels.lowerBound, to: channels.upperBound, by: Vector.lanes) {
                    let count = channels.upperBound - channel
                    let values = m + (tile - tiles.lowerBound) * rowStrideM + channel - channels.lowerBound
                    Tile.Output.applyTwice(
                        scratch.baseAddress!,
                        { Vector(at: values + ($0 * Tile.Output.inputs + $1) * pointStrideM) },
                        { row, column, value in
                            guard row < pixels.rows.upperBound, column < pixels.columns.upperBound else { return }
                            let pixel = targets.pixel(row, column, of: pixels) + channel
                            (accumulate ? Vector(at: pixel, count: count) + value : value)
                                .store(to: pixel, count: count)
                        })
                }
            }
        }
    }

    /// U = G w Gᵀ for all pairs of channels, packed. The kernel is turned around and transposed for the input gradient.
    private func transformWeights(
        _ weights: UnsafePointer<Float>, to u: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        let tapStride = sourceChannels * targetChannels
        let columnBlocks = divideUp(targetStride, by: Cut.columns)
        threads.forEach(divideUp(sourceChannels, by: Vector.lanes) * columnBlocks) { index in
            let (rowBlock, columnBlock) = index.quotientAndRemainder(dividingBy: columnBlocks)
            let firstRow = rowBlock * Vector.lanes
            let rows = min(Vector.lanes, sourceChannels - firstRow)
            let firstColumn = columnBlock * Cut.columns
            // The nine taps of 16 × 16 channels, transposed, and room for a transposition; then G w.
            withUnsafeTemporaryAllocation(of: Vector.self, capacity: (9 + 1) * Vector.lanes + 18) { scratch in
                let (taps, product) = (scratch.baseAddress!, scratch.baseAddress! + (9 + 1) * Vector.lanes)
                for column in stride(
                    from: firstColumn, to: min(firstColumn + Cut.columns, targetStride), by: Vector.lanes)
                {
                    let panel = column / PackedMatrix.panelWidth * PackedMatrix.panelWidth
                    let width = min(PackedMatrix.panelWidth, targetStride - panel)
                    let columns = targetChannels - column
                    if direction == .inputGradient {
                        for tap in 0..<9 {
                            loadTransposed(
                                weights + (8 - tap) * tapStride + column * sourceChannels + firstRow,
                                rowStride: sourceChannels, rows: columns, columns: rows,
                                to: taps + tap * Vector.lanes)
                        }
                    }
                    for row in 0..<rows {
                        let values = u + panel * sourceChannels + (firstRow + row) * width + column - panel
                        let kernel = weights + (firstRow + row) * targetChannels + column
                        Tile.Weights.applyTwice(
                            product,
                            {
                                let tap = 3 * $0 + $1
                                return direction == .forward
                                    ? Vector(at: kernel + tap * tapStride, count: columns)
                                    : taps[tap * Vector.lanes + row]
                            },
                            { $2.store(to: values + ($0 * Tile.Weights.outputs + $1) * pointStrideU) })
                    }
                }
            }
        }
    }
}
