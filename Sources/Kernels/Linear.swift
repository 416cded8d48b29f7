// The fully connected layer y = x W + b and its gradients. W is [inputs][outputs], rows of x and y are images.
//
// The forward product is OpenBLAS's, on one thread each, where it has a kernel for the vectors that these kernels are
// compiled for. Elsewhere, and for the gradients, products are those of Products.swift: W, by far the largest of the
// three matrices, need not be packed for gradients, which are 1.4 and 1.1 times as fast as OpenBLAS's for VGG16's
// largest layer. Parts depend on shapes alone: every value is computed in one piece, the same on any number of threads.

import COpenBLAS

public enum Linear {
    /// y = x W + b, then ReLU if asked for.
    public static func forward(
        _ x: UnsafePointer<Float>, weights: UnsafePointer<Float>, bias: UnsafePointer<Float>,
        to y: UnsafeMutablePointer<Float>, count: Int, inputs: Int, outputs: Int, relu: Bool = false,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        OpenBLAS.onOneThread { hasKernel in
            forEachBlock(count, outputs, threads) { rows, columns, worker in
                let (x, y) = (x + rows.lowerBound * inputs, y + rows.lowerBound * outputs + columns.lowerBound)
                let weights = weights + columns.lowerBound
                if hasKernel {
                    cblas_sgemm(
                        CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows.count), blasint(columns.count),
                        blasint(inputs), 1, x, blasint(inputs), weights, blasint(outputs), 0, y, blasint(outputs))
                } else {
                    multiplyPacking(
                        x, weights, to: y, rows: rows.count, columns: columns.count, inputs: inputs, outputs: outputs,
                        packed: workspace + worker * packedCount)
                }
                for row in 0..<rows.count {
                    forEachVector(in: 0..<columns.count) { column, lanes in
                        let place = y + row * outputs + column
                        let sum =
                            Vector(at: place, count: lanes)
                            + Vector(at: bias + columns.lowerBound + column, count: lanes)
                        (relu ? sum.rectified : sum).store(to: place, count: lanes)
                    }
                }
            }
        }
    }

    private static let packedCount = Cut.depth * Cut.columns

    /// Some rows and columns of x W, W packed a piece at a time.
    private static func multiplyPacking(
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, rows: Int,
        columns: Int, inputs: Int, outputs: Int, packed: UnsafeMutablePointer<Float>
    ) {
        for first in stride(from: 0, to: inputs, by: Cut.depth) {
            let depth = min(Cut.depth, inputs - first)
            PackedMatrix.pack(0..<depth, of: depth, columns: columns, to: packed) { weights + (first + $0) * outputs }
            multiply(
                .rows(x + first, stride: inputs), packed, to: y, stride: outputs, rows: rows, columns: columns,
                depth: depth, accumulate: first > 0)
        }
    }

    /// Blocks of the result: columns, and rows where columns are few.
    private static func forEachBlock(
        _ count: Int, _ outputs: Int, _ threads: Threads,
        _ body: (_ rows: Range<Int>, _ columns: Range<Int>, _ worker: Int) -> Void
    ) {
        let columnBlocks = divideUp(outputs, by: Cut.columns)
        let rows = divideUp(count, by: Cut.slices(of: columnBlocks, atMost: divideUp(count, by: Vector.lanes)))
        let rowBlocks = divideUp(count, by: rows)
        threads.forEach(columnBlocks * rowBlocks) { index, worker in
            let (column, row) = index.quotientAndRemainder(dividingBy: rowBlocks)
            body(
                row * rows..<min((row + 1) * rows, count),
                column * Cut.columns..<min((column + 1) * Cut.columns, outputs), worker)
        }
    }

    /// dy where the output y of a ReLU is positive, else 0; in place.
    public static func reluGradient(
        y: UnsafePointer<Float>, dy: UnsafeMutablePointer<Float>, count: Int, outputs: Int, threads: Threads
    ) {
        threads.forEach(count) { image in
            forEachVector(in: image * outputs..<(image + 1) * outputs) { column, lanes in
                Vector(at: dy + column, count: lanes).kept(wherePositive: Vector(at: y + column, count: lanes))
                    .store(to: dy + column, count: lanes)
            }
        }
    }

    /// Rows of W, or of its gradient, in one part.
    private static func rowBlock(_ inputs: Int) -> Int {
        Cut.size(of: inputs, atMost: Cut.linearRows.most, atLeast: Cut.linearRows.fewest)
    }

    /// Floats of scratch memory that forward or a gradient needs.
    public static func workspaceCount(count: Int, inputs: Int, outputs: Int, threads: Threads) -> Int {
        max(
            threads.count * packedCount,
            (roundUp(outputs, to: Vector.lanes) + threads.count * rowBlock(inputs))
                * roundUp(min(count, Cut.linearImages), to: Vector.lanes))
    }

    /// dx = dy Wᵀ, as dxᵀ = W dyᵀ: so W is read once and where it lies, and only dy is packed.
    public static func inputGradient(
        _ dy: UnsafePointer<Float>, weights: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>, count: Int,
        inputs: Int, outputs: Int, workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        let rowBlock = rowBlock(inputs)
        for first in stride(from: 0, to: count, by: Cut.linearImages) {
            let images = min(Cut.linearImages, count - first)
            let columns = PackedMatrix.paddedColumns(images)
            let (packed, products) = (workspace, workspace + outputs * columns)
            threads.forEach(divideUp(outputs, by: Vector.lanes)) { index in
                let output = index * Vector.lanes
                PackedMatrix.packTransposed(
                    output..<min(output + Vector.lanes, outputs), of: outputs, columns: images,
                    from: dy + first * outputs + output, stride: outputs, to: packed)
            }
            threads.forEach(divideUp(inputs, by: rowBlock)) { index, worker in
                let row = index * rowBlock
                let rows = min(rowBlock, inputs - row)
                let product = products + worker * rowBlock * columns
                multiply(
                    .rows(weights + row * outputs, stride: outputs), packed, to: product, stride: columns, rows: rows,
                    columns: columns, depth: outputs)
                transpose(product, rows: rows, columns: images, stride: columns, to: dx + first * inputs + row, inputs)
            }
        }
    }

    private static func transpose(
        _ matrix: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int, to target: UnsafeMutablePointer<Float>,
        _ targetStride: Int
    ) {
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: 2 * Vector.lanes) { block in
            for row in Swift.stride(from: 0, to: rows, by: Vector.lanes) {
                for column in Swift.stride(from: 0, to: columns, by: Vector.lanes) {
                    let count = min(Vector.lanes, columns - column)
                    loadTransposed(
                        matrix + row * stride + column, rowStride: stride, rows: rows - row, columns: count,
                        to: block.baseAddress!)
                    for index in 0..<count {
                        block[index].store(to: target + (column + index) * targetStride + row, count: rows - row)
                    }
                }
            }
        }
    }

    /// dW = xᵀ dy and db = Σ dy over images
    public static func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, to dw: UnsafeMutablePointer<Float>,
        bias db: UnsafeMutablePointer<Float>, count: Int, inputs: Int, outputs: Int,
        workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        let rowBlock = rowBlock(inputs)
        for first in stride(from: 0, to: count, by: Cut.linearImages) {
            let images = min(Cut.linearImages, count - first)
            let (packed, copies) = (workspace, workspace + PackedMatrix.count(rows: images, columns: outputs))
            let group = Cut.size(of: images, atMost: Vector.lanes)
            threads.forEach(divideUp(images, by: group)) { index in
                let image = index * group
                PackedMatrix.pack(image..<min(image + group, images), of: images, columns: outputs, to: packed) {
                    dy + (first + $0) * outputs
                }
            }
            threads.forEach(divideUp(inputs, by: rowBlock)) { index, worker in
                let row = index * rowBlock
                let rows = min(rowBlock, inputs - row)
                let copy = copies + worker * images * rowBlock
                for image in 0..<images {
                    (copy + image * rowBlock).update(from: x + (first + image) * inputs + row, count: rows)
                }
                multiply(
                    .columns(copy, stride: rowBlock), packed, to: dw + row * outputs,
                    stride: outputs, rows: rows, columns: outputs, depth: images, accumulate: first > 0)
            }
        }
        threads.forEach(divideUp(outputs, by: Vector.lanes)) { index in
            let column = index * Vector.lanes
            let lanes = min(Vector.lanes, outputs - column)
            var sum = Vector()
            for image in 0..<count { sum += Vector(at: dy + image * outputs + column, count: lanes) }
            sum.store(to: db + column, count: lanes)
        }
    }
}
