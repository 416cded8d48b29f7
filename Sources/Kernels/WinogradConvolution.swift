// 3×3 convolution over the tiles of Winograd.swift. A block of tiles goes through input transform, one matrix product
// for each point, and output transform, near enough together to stay in the caches of the thread that computes it:
//
//     V[point][tile][source channel] · U[point][source channel][target channel] = M[point][tile][target channel]
//
// The input gradient is the convolution of dy with the kernel turned around, source and target exchanged.

/// The square tiles of maps: which pixels each covers.
struct TileGrid {
    var maps: Maps
    /// Pixels of a side of a tile.
    var side: Int
    /// Pixels from one tile to the next, and where the first starts.
    var spacing: Int
    var origin: Int
    var tilesPerRow: Int
    var bandsPerImage: Int

    /// Where a tile, counted over all images, starts, and which of its rows and columns lie inside the map.
    @inline(__always)
    func tile(_ index: Int) -> (first: UnsafeMutablePointer<Float>, rows: Range<Int>, columns: Range<Int>) {
        let (band, column) = index.quotientAndRemainder(dividingBy: tilesPerRow)
        let (image, row) = band.quotientAndRemainder(dividingBy: bandsPerImage)
        let (y, x) = (row * spacing + origin, column * spacing + origin)
        let (top, left) = (min(max(0, -y), side), min(max(0, -x), side))
        return (
            maps.base + ((image * maps.height + y) * maps.width + x) * maps.stride,
            top..<max(top, min(side, maps.height - y)), left..<max(left, min(side, maps.width - x))
        )
    }

    /// Applies `map` to `tiles` in both dimensions, pixels outside the maps being zero. The value of a tile and channel
    /// at a point goes to `target[point * pointStride + place(tile, channel)]`.
    @inline(__always)
    func transform<Map: LinearMap>(
        _ map: Map.Type, _ tiles: Range<Int>, to target: UnsafeMutablePointer<Float>, pointStride: Int,
        place: (_ tile: Int, _ channel: Int) -> Int
    ) {
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: Map.inputs * Map.outputs) { scratch in
            for index in tiles {
                let (first, rows, columns) = tile(index)
                let isInside = rows.count == side && columns.count == side
                for channel in stride(from: 0, to: maps.channels, by: Vector.lanes) {
                    let (pixels, count) = (first + channel, maps.channels - channel)
                    let values = target + place(index - tiles.lowerBound, channel)
                    @inline(__always) func apply(_ x: (_ row: Int, _ column: Int) -> Vector) {
                        Map.applyTwice(scratch.baseAddress!, x) {
                            $2.store(to: values + ($0 * Map.outputs + $1) * pointStride)
                        }
                    }
                    if isInside && count >= Vector.lanes {
                        apply { Vector(at: pixels + ($0 * maps.width + $1) * maps.stride) }
                    } else {
                        apply {
                            rows.contains($0) && columns.contains($1)
                                ? Vector(at: pixels + ($0 * maps.width + $1) * maps.stride, count: count) : .zero
                        }
                    }
                }
            }
        }
    }
}

/// Forward and input gradient.
struct WinogradPass<Tile: WinogradTile>: MapPass {
    private let direction: Direction
    private let sourceChannels: Int
    private let targetChannels: Int
    private let padding: Int
    private var blocks: Blocks

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
        blocks.cut(images: shape.images, size: desiredTiles / tilesPerRow)
    }

    /// Tiles that a block should have: V and M should fill an L2 cache, beside U where that is small enough. Where it is
    /// not, the fewer tiles the more often all of U is read.
    private var desiredTiles: Int {
        let (inputs, outputs) = (sourceChannels, targetChannels)
        return min(
            48,
            Tile.tilesBesideWeights(inputs, outputs)
                ?? max(24, Tile.cachedFloats / Tile.floatsPerTile(inputs, outputs)))
    }

    private var tilesPerRow: Int { divideUp(blocks.width, by: Tile.Output.outputs) }
    private var tilesPerBlock: Int { blocks.bandsPerBlock * tilesPerRow }

    // Sizes in memory. From point to point another cache line, so that the points of a tile do not compete for the same
    // lines of the cache.
    private var sourceStride: Int { roundUp(sourceChannels, to: Vector.lanes) }
    private var targetStride: Int { PackedMatrix.paddedColumns(targetChannels) }
    private var pointStrideV: Int { tilesPerBlock * sourceStride + Vector.lanes }
    private var pointStrideM: Int { tilesPerBlock * targetStride + Vector.lanes }
    private var pointStrideU: Int {
        PackedMatrix.count(rows: sourceChannels, columns: targetChannels) + Vector.lanes
    }

    func blocks(images: Int) -> Int { blocks.count(images: images) }

    func workspaceCount(workers: Int) -> Int {
        Tile.weightPoints * pointStrideU + workers * Tile.points * (pointStrideV + pointStrideM)
    }

    @specialized(where Tile == FourOutputs)
    @specialized(where Tile == TwoPixelMap)
    @specialized(where Tile == StrideTwo)
    @specialized(where Tile == StrideTwoGradient)
    func run(
        _ source: Maps, weights: UnsafePointer<Float>, to target: Maps, accumulate: Bool,
        workspace: UnsafeMutablePointer<Float>, epilogue: Convolution.Epilogue?, threads: Threads
    ) {
        let u = workspace
        let scratch = u + Tile.weightPoints * pointStrideU
        transformWeights(weights, to: u, threads)

        let sources = TileGrid(
            maps: source, side: Tile.Input.inputs, spacing: Tile.sourceSpacing, origin: Tile.origin(padding: padding),
            tilesPerRow: tilesPerRow, bandsPerImage: blocks.bandsPerImage)
        let targets = TileGrid(
            maps: target, side: Tile.Output.outputs, spacing: Tile.Output.outputs, origin: 0, tilesPerRow: tilesPerRow,
            bandsPerImage: blocks.bandsPerImage)
        threads.sweep(blocks.count(images: target.count)) { block, worker in
            let bands = blocks.bands(of: block, images: target.count)
            let tiles = bands.lowerBound * tilesPerRow..<bands.upperBound * tilesPerRow
            let v = scratch + worker * Tile.points * (pointStrideV + pointStrideM)
            let m = v + Tile.points * pointStrideV
            sources.transform(Tile.Input.self, tiles, to: v, pointStride: pointStrideV) {
                $0 * sourceStride + $1
            }
            for point in 0..<Tile.points {
                multiply(
                    LeftMatrix(base: v + point * pointStrideV, rowStride: sourceStride, depthStride: 1),
                    u + Tile.weightPoint(ofSquare: point) * pointStrideU, to: m + point * pointStrideM,
                    stride: targetStride, rows: tiles.count,
                    columns: targetStride, depth: sourceChannels)
            }
            transformOutput(m, to: targets, tiles, accumulate: accumulate)
            epilogue?(block, blocks.pixels(of: bands))
        }
    }

    private func transformOutput(
        _ m: UnsafePointer<Float>, to targets: TileGrid, _ tiles: Range<Int>, accumulate: Bool
    ) {
        let maps = targets.maps
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: Tile.Output.inputs * Tile.Output.outputs) { scratch in
            for tile in tiles {
                let (first, rows, columns) = targets.tile(tile)
                for channel in stride(from: 0, to: targetChannels, by: Vector.lanes) {
                    let count = targetChannels - channel
                    let values = m + (tile - tiles.lowerBound) * targetStride + channel
                    Tile.Output.applyTwice(
                        scratch.baseAddress!,
                        { Vector(at: values + ($0 * Tile.Output.inputs + $1) * pointStrideM) },
                        { row, column, value in
                            guard row < rows.upperBound, column < columns.upperBound else { return }
                            let pixel = first + (row * maps.width + column) * maps.stride + channel
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
        threads.forEach(divideUp(sourceChannels, by: Vector.lanes)) { index in
            let firstRow = index * Vector.lanes
            let rows = min(Vector.lanes, sourceChannels - firstRow)
            // The nine taps of 16 × 16 channels, transposed, and room for a transposition; then G w.
            withUnsafeTemporaryAllocation(of: Vector.self, capacity: (9 + 1) * Vector.lanes + 18) { scratch in
                let (taps, product) = (scratch.baseAddress!, scratch.baseAddress! + (9 + 1) * Vector.lanes)
                PackedMatrix.forEachPanel(rows: sourceChannels, columns: targetChannels) { panel, width, offset in
                    for lane in stride(from: 0, to: width, by: Vector.lanes) {
                        let column = panel + lane
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
                            let values = u + offset + (firstRow + row) * width + lane
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
}
