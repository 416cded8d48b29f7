// The fully connected layer y = x W + b and its gradients. W is [inputs][outputs], rows of x and y are images.
//
// The forward product is OpenBLAS's, on one thread each. The gradients are products of Products.swift, because W, by
// far the largest of the three matrices, need not be packed for them: 1.4 and 1.1 times as fast as OpenBLAS for VGG16's
// largest layer. The split over threads depends on the shape alone: every value is computed in one piece, the same on
// any number of threads.

import COpenBLAS

public enum Linear {
    /// y = x W + b, then ReLU if asked for.
    public static func forward(
        _ x: UnsafePointer<Float>, weights: UnsafePointer<Float>, bias: UnsafePointer<Float>,
        to y: UnsafeMutablePointer<Float>, count: Int, inputs: Int, outputs: Int, relu: Bool = false, threads: Threads
    ) {
        forEachBlock(of: outputs, threads) { block in
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(count), blasint(block.count), blasint(inputs), 1,
                x, blasint(inputs), weights + block.lowerBound, blasint(outputs), 0, y + block.lowerBound,
                blasint(outputs))
            for image in 0..<count {
                let row = y + image * outputs
                forEachVector(in: block) { column, lanes in
                    let sum = Vector(at: row + column, count: lanes) + Vector(at: bias + column, count: lanes)
                    (relu ? sum.rectified : sum).store(to: row + column, count: lanes)
                }
            }
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

    // Images and rows of W that the gradients take at a time. A row of copies is an odd number of cache lines, see
    // `Gathering.rowStride`.
    private static let imageChunk = 256
    private static let rowBlock = 48

    /// Floats of scratch memory that a gradient needs.
    public static func workspaceCount(count: Int, outputs: Int, threads: Threads) -> Int {
        (roundUp(outputs, to: Vector.lanes) + threads.count * rowBlock)
            * roundUp(min(count, imageChunk), to: Vector.lanes)
    }

    /// dx = dy Wᵀ, as dxᵀ = W dyᵀ: so W is read once and where it lies, and only dy is packed.
    public static func inputGradient(
        _ dy: UnsafePointer<Float>, weights: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>, count: Int,
        inputs: Int, outputs: Int, workspace: UnsafeMutablePointer<Float>, threads: Threads
    ) {
        for first in stride(from: 0, to: count, by: imageChunk) {
            let images = min(imageChunk, count - first)
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
                    LeftMatrix(base: weights + row * outputs, rowStride: outputs, depthStride: 1), packed, to: product,
                    stride: columns, rows: rows, columns: columns, depth: outputs)
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
        for first in stride(from: 0, to: count, by: imageChunk) {
            let images = min(imageChunk, count - first)
            let (packed, copies) = (workspace, workspace + PackedMatrix.count(rows: images, columns: outputs))
            threads.forEach(divideUp(images, by: Vector.lanes)) { index in
                let image = index * Vector.lanes
                PackedMatrix.pack(
                    image..<min(image + Vector.lanes, images), of: images, columns: outputs, to: packed
                ) { dy + (first + $0) * outputs }
            }
            threads.forEach(divideUp(inputs, by: rowBlock)) { index, worker in
                let row = index * rowBlock
                let rows = min(rowBlock, inputs - row)
                let copy = copies + worker * images * rowBlock
                for image in 0..<images {
                    (copy + image * rowBlock).update(from: x + (first + image) * inputs + row, count: rows)
                }
                multiply(
                    LeftMatrix(base: copy, rowStride: 1, depthStride: rowBlock), packed, to: dw + row * outputs,
                    stride: outputs, rows: rows, columns: outputs, depth: images, accumulate: first > 0)
            }
        }
        forEachVector(in: 0..<outputs) { column, lanes in
            var sum = Vector()
            for image in 0..<count { sum += Vector(at: dy + image * outputs + column, count: lanes) }
            sum.store(to: db + column, count: lanes)
        }
    }

    /// About 16 blocks, of 32 to 256 columns: small layers still keep two threads busy, and each product is wide enough
    /// to run at speed.
    private static func forEachBlock(of columns: Int, _ threads: Threads, _ body: (Range<Int>) -> Void) {
        let size = min(max(columns / 16 / 16 * 16, 32), 256)
        OpenBLAS.onOneThread {
            threads.forEach(divideUp(columns, by: size)) { body($0 * size..<min(($0 + 1) * size, columns)) }
        }
    }
}
