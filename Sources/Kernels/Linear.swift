// The fully connected layer y = x W + b and its gradients. W is [inputs][outputs], rows of x and y are images.
//
// The products are OpenBLAS's, on one thread each. The split over threads is by columns of the result (rows, for the
// gradient of W), in blocks that depend on the shape alone: every value is computed in one piece, the same on any
// number of threads.

import COpenBLAS

public enum Linear {
    /// y = x W + b, then ReLU if asked for.
    public static func forward(
        _ x: UnsafePointer<Float>, weights: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
        to y: UnsafeMutablePointer<Float>, count: Int, inputs: Int, outputs: Int, relu: Bool = false, threads: Threads
    ) {
        forEachBlock(of: outputs, threads) { block in
            product(
                x, inputs, CblasNoTrans, weights + block.lowerBound, outputs, CblasNoTrans, to: y + block.lowerBound,
                outputs, rows: count, columns: block.count, depth: inputs)
            guard bias != nil || relu else { return }
            for image in 0..<count {
                let row = y + image * outputs
                forEachVector(in: block) { column, lanes in
                    var value = Vector(at: row + column, count: lanes)
                    if let bias { value += Vector(at: bias + column, count: lanes) }
                    if relu { value = value.rectified }
                    value.store(to: row + column, count: lanes)
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

    /// dx = dy Wᵀ
    public static func inputGradient(
        _ dy: UnsafePointer<Float>, weights: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>, count: Int,
        inputs: Int, outputs: Int, threads: Threads
    ) {
        forEachBlock(of: inputs, threads) { block in
            product(
                dy, outputs, CblasNoTrans, weights + block.lowerBound * outputs, outputs, CblasTrans,
                to: dx + block.lowerBound, inputs, rows: count, columns: block.count, depth: outputs)
        }
    }

    /// dW = xᵀ dy and db = Σ dy over images
    public static func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, to dw: UnsafeMutablePointer<Float>,
        bias db: UnsafeMutablePointer<Float>?, count: Int, inputs: Int, outputs: Int, threads: Threads
    ) {
        forEachBlock(of: inputs, threads) { block in
            product(
                x + block.lowerBound, inputs, CblasTrans, dy, outputs, CblasNoTrans,
                to: dw + block.lowerBound * outputs, outputs, rows: block.count, columns: outputs, depth: count)
        }
        guard let db else { return }
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

    /// c = op(a) op(b), row-major, each with the distance between its rows.
    private static func product(
        _ a: UnsafePointer<Float>, _ aStride: Int, _ aForm: CBLAS_TRANSPOSE, _ b: UnsafePointer<Float>, _ bStride: Int,
        _ bForm: CBLAS_TRANSPOSE, to c: UnsafeMutablePointer<Float>, _ cStride: Int, rows: Int, columns: Int, depth: Int
    ) {
        cblas_sgemm(
            CblasRowMajor, aForm, bForm, blasint(rows), blasint(columns), blasint(depth), 1, a, blasint(aStride), b,
            blasint(bStride), 0, c, blasint(cStride))
    }
}
