// The weight gradient of a 3×3 convolution over the tiles of Winograd.swift:
//
//     dU[point] = Σ over tiles of V[point]ᵀ · M′[point],  dw = Gᵀ dU G,
//
// with V the transformed input and M′ = A dy Aᵀ, a chunk of tiles at a time. Either of two ways shares the work:
//
// - Where dU is small and the tiles are many, the bands (rows of tiles) are cut into slices with a sum of their own, each
//   computed by one thread, with chunks that stay in its L2 cache beside dU, or, where that is too large, of more tiles
//   for each time that dU is read. Nothing passes from thread to thread but the slices' gradients.
// - Elsewhere there is one sum, by all threads: they transform the tiles of a chunk that stays in the L3 cache, M′ packed
//   as a right factor, and then take points and panels of columns.
//
// The second way needs no memory for sums, but takes up to 1.6 times as long where the threads' cores have different L3
// caches, as in processors of several dies.

struct WinogradWeightGradient<Tile: WinogradGradientTile>: WeightGradientPass {
    private let shape: ConvolutionShape
    private let slices: GradientSlices
    private let tilesPerRow: Int
    private let bandsPerImage: Int
    private let bandsPerChunk: Int

    init(_ shape: ConvolutionShape) {
        self.shape = shape
        tilesPerRow = divideUp(shape.outputWidth, by: Tile.Output.outputs)
        bandsPerImage = divideUp(shape.outputHeight, by: Tile.Output.outputs)
        let bands = shape.images * bandsPerImage
        let tiles = bands * tilesPerRow
        // Less than 128 tiles a slice would not be worth a dU; fewer than 8 slices would leave threads without one.
        let isSliced = Tile.weightPoints * shape.inputChannels * shape.outputChannels <= 448 * 1024 && tiles >= 8 * 128
        slices = GradientSlices(count: isSliced ? min(24, tiles / 128) : 1, weightCount: shape.weightCount)
        let floatsPerTile = Tile.floatsPerTile(shape.inputChannels, shape.outputChannels)
        let tilesPerChunk =
            isSliced
            ? Tile.tilesBesideWeights(shape.inputChannels, shape.outputChannels)
                ?? max(48, Tile.cachedFloats / floatsPerTile)
            : max(128, 1024 * 1024 / floatsPerTile)
        bandsPerChunk = min(max(1, tilesPerChunk / tilesPerRow), divideUp(bands, by: slices.count))
    }

    private var tilesPerChunk: Int { bandsPerChunk * tilesPerRow }
    private var inputStride: Int { roundUp(shape.inputChannels, to: Vector.lanes) }
    private var outputStride: Int { PackedMatrix.paddedColumns(shape.outputChannels) }
    private var pointStrideV: Int { tilesPerChunk * inputStride + Vector.lanes }
    private var pointStrideM: Int { tilesPerChunk * outputStride + Vector.lanes }
    private var pointStrideU: Int { shape.inputChannels * outputStride + Vector.lanes }
    private var scratchCount: Int {
        Tile.points * (pointStrideV + pointStrideM) + Tile.weightPoints * pointStrideU
    }

    func workspaceCount(workers: Int) -> Int {
        slices.sumsCount + (slices.count == 1 ? 1 : workers) * scratchCount
    }

    @specialized(where Tile == FourOutputs)
    @specialized(where Tile == TwoPixelMap)
    @specialized(where Tile == StrideTwo)
    func run(
        _ x: Maps, _ dy: Maps, to dw: UnsafeMutablePointer<Float>, workspace: UnsafeMutablePointer<Float>,
        threads: Threads
    ) {
        let scratch = workspace + slices.sumsCount
        let bands = x.count * bandsPerImage
        if slices.count == 1 {
            sum(over: 0..<bands, x, dy, to: dw, scratch: scratch, threads)
            threads.endSweepForward()
            return
        }
        threads.sweep(slices.count) { slice, worker in
            sum(
                over: slices.part(slice, of: bands), x, dy, to: slices.sum(slice, in: dw, workspace),
                scratch: scratch + worker * scratchCount, threads)
        }
        slices.add(in: dw, workspace, threads: threads)
    }

    /// The gradient over some bands. Where this is called within a parallel loop, its own loops are not parallel.
    private func sum(
        over bands: Range<Int>, _ x: Maps, _ dy: Maps, to dw: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        let v = scratch
        let m = v + Tile.points * pointStrideV
        let u = m + Tile.points * pointStrideM
        if bands.isEmpty { u.update(repeating: 0, count: Tile.weightPoints * pointStrideU) }
        let chunks = divideUp(bands.count, by: bandsPerChunk)
        for chunk in 0..<chunks {
            let first = bands.lowerBound + bands.count * chunk / chunks
            let end = bands.lowerBound + bands.count * (chunk + 1) / chunks
            let tiles = first * tilesPerRow..<end * tilesPerRow
            transform(tiles, x, dy, v, m, threads)
            addProducts(v, m, tiles: tiles.count, to: u, accumulate: chunk > 0, threads)
        }
        transformWeightGradient(u, to: dw, threads)
    }

    /// V, and M′ packed, of some tiles.
    private func transform(
        _ tiles: Range<Int>, _ x: Maps, _ dy: Maps, _ v: UnsafeMutablePointer<Float>, _ m: UnsafeMutablePointer<Float>,
        _ threads: Threads
    ) {
        let inputs = TileGrid(
            maps: x, side: Tile.Input.inputs, spacing: Tile.sourceSpacing,
            origin: Tile.origin(padding: shape.padding), tilesPerRow: tilesPerRow, bandsPerImage: bandsPerImage)
        let outputs = TileGrid(
            maps: dy, side: Tile.Output.outputs, spacing: Tile.Output.outputs, origin: 0, tilesPerRow: tilesPerRow,
            bandsPerImage: bandsPerImage)
        let group = 8
        threads.forEach(divideUp(tiles.count, by: group)) { index in
            let first = index * group
            let part = tiles.lowerBound + first..<min(tiles.lowerBound + first + group, tiles.upperBound)
            inputs.transform(Tile.Input.self, part, to: v, pointStride: pointStrideV) {
                (first + $0) * inputStride + $1
            }
            outputs.transform(Tile.OutputGradient.self, part, to: m, pointStride: pointStrideM) {
                let panel = $1 / PackedMatrix.panelWidth * PackedMatrix.panelWidth
                let width = min(PackedMatrix.panelWidth, outputStride - panel)
                return tiles.count * panel + (first + $0) * width + $1 - panel
            }
        }
    }

    /// dU (+)= Vᵀ M′ over a number of tiles, point by point.
    private func addProducts(
        _ v: UnsafePointer<Float>, _ m: UnsafePointer<Float>, tiles: Int, to u: UnsafeMutablePointer<Float>,
        accumulate: Bool, _ threads: Threads
    ) {
        let panels = divideUp(outputStride, by: PackedMatrix.panelWidth)
        threads.forEach(Tile.weightPoints * panels) { job in
            // The last have the most points: they come first.
            let (weightPoint, panel) = (Tile.weightPoints * panels - 1 - job).quotientAndRemainder(dividingBy: panels)
            let column = panel * PackedMatrix.panelWidth
            let width = min(PackedMatrix.panelWidth, outputStride - column)
            var accumulate = accumulate
            for point in 0..<Tile.points where Tile.weightPoint(ofSquare: point) == weightPoint {
                multiplyPanel(
                    LeftMatrix(base: v + point * pointStrideV, rowStride: 1, depthStride: inputStride),
                    m + point * pointStrideM + tiles * column, width: width,
                    to: u + weightPoint * pointStrideU + column, stride: outputStride, rows: shape.inputChannels,
                    columns: width, depth: tiles, accumulate: accumulate)
                accumulate = true
            }
        }
    }

    private func transformWeightGradient(
        _ u: UnsafePointer<Float>, to dw: UnsafeMutablePointer<Float>, _ threads: Threads
    ) {
        let chunk = 4
        threads.forEach(divideUp(shape.inputChannels, by: chunk)) { index in
            let capacity = Tile.WeightGradient.inputs * Tile.WeightGradient.outputs
            withUnsafeTemporaryAllocation(of: Vector.self, capacity: capacity) { scratch in
                for row in index * chunk..<min((index + 1) * chunk, shape.inputChannels) {
                    for column in stride(from: 0, to: shape.outputChannels, by: Vector.lanes) {
                        let values = u + row * outputStride + column
                        let taps = dw + row * shape.outputChannels + column
                        Tile.WeightGradient.applyTwice(
                            scratch.baseAddress!,
                            { Vector(at: values + ($0 * Tile.WeightGradient.inputs + $1) * pointStrideU) },
                            {
                                $2.store(
                                    to: taps + (3 * $0 + $1) * shape.inputChannels * shape.outputChannels,
                                    count: shape.outputChannels - column)
                            })
                    }
                }
            }
        }
    }
}
