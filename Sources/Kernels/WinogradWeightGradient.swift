// The weight gradient of a 3×3 convolution over the tiles of Winograd.swift:
//
//     dU[point] = Σ over tiles of V[point]ᵀ · M′[point],  dw = Gᵀ dU G,
//
// with V the transformed input and M′ = A dy Aᵀ. The tiles are taken in chunks whose V and M′ stay in the L3 cache:
// both are computed in parallel over the tiles, M′ packed as a right factor; then dU is summed up in parallel over its
// points and panels of columns. So dU exists once, whatever the number of threads, and its sums have one order.

struct WinogradWeightGradient<Tile: WinogradGradientTile>: WeightGradientPass {
    private let shape: ConvolutionShape
    private let bands: Blocks
    private let tilesPerRow: Int

    init(_ shape: ConvolutionShape) {
        self.shape = shape
        tilesPerRow = divideUp(shape.outputWidth, by: Tile.Output.outputs)
        let tiles = max(128, 1024 * 1024 / (Tile.points * (shape.inputChannels + shape.outputChannels)))
        bands = Blocks(
            height: shape.outputHeight, width: shape.outputWidth, bandHeight: Tile.Output.outputs,
            bandsPerBlock: max(1, tiles / tilesPerRow))
    }

    private var tilesPerChunk: Int { min(bands.bandsPerBlock, shape.images * bands.bandsPerImage) * tilesPerRow }
    private var inputStride: Int { roundUp(shape.inputChannels, to: Vector.lanes) }
    private var outputStride: Int { PackedMatrix.paddedColumns(shape.outputChannels) }
    private var pointStrideV: Int { tilesPerChunk * inputStride + Vector.lanes }
    private var pointStrideM: Int { tilesPerChunk * outputStride + Vector.lanes }
    private var pointStrideU: Int { shape.inputChannels * outputStride + Vector.lanes }

    func workspaceCount(workers: Int) -> Int {
        Tile.points * (pointStrideV + pointStrideM) + Tile.weightPoints * pointStrideU
    }

    @specialized(where Tile == FourOutputs)
    @specialized(where Tile == TwoPixelMap)
    @specialized(where Tile == StrideTwo)
    func run(
        _ x: Maps, _ dy: Maps, to dw: UnsafeMutablePointer<Float>, workspace: UnsafeMutablePointer<Float>,
        threads: Threads
    ) {
        let v = workspace
        let m = v + Tile.points * pointStrideV
        let u = m + Tile.points * pointStrideM

        let inputs = TileGrid(
            maps: x, side: Tile.Input.inputs, spacing: Tile.sourceSpacing,
            origin: Tile.origin(padding: shape.padding), tilesPerRow: tilesPerRow, rowsPerImage: bands.bandsPerImage)
        let outputs = TileGrid(
            maps: dy, side: Tile.Output.outputs, spacing: Tile.Output.outputs, origin: 0, tilesPerRow: tilesPerRow,
            rowsPerImage: bands.bandsPerImage)
        for chunk in 0..<bands.count(images: x.count) {
            let range = bands.bands(of: chunk, images: x.count)
            let tiles = range.lowerBound * tilesPerRow..<range.upperBound * tilesPerRow
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
            let panels = divideUp(outputStride, by: PackedMatrix.panelWidth)
            threads.forEach(Tile.weightPoints * panels) { job in
                // The last have the most points: they come first.
                let (weightPoint, panel) = (Tile.weightPoints * panels - 1 - job)
                    .quotientAndRemainder(dividingBy: panels)
                let column = panel * PackedMatrix.panelWidth
                let width = min(PackedMatrix.panelWidth, outputStride - column)
                var accumulate = chunk > 0
                for point in 0..<Tile.points where Tile.weightPoint(ofSquare: point) == weightPoint {
                    multiplyPanel(
                        LeftMatrix(base: v + point * pointStrideV, rowStride: 1, depthStride: inputStride),
                        m + point * pointStrideM + tiles.count * column, width: width,
                        to: u + weightPoint * pointStrideU + column, stride: outputStride, rows: shape.inputChannels,
                        columns: width, depth: tiles.count, accumulate: accumulate)
                    accumulate = true
                }
            }
        }
        threads.endSweepForward()
        transformWeightGradient(u, to: dw, threads)
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
