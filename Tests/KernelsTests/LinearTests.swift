import COpenBLAS
import Kernels
import Testing

struct LinearTests {
    /// Σ_k a[i][k] b[k][j], each operand as a function of its indices.
    private func product(
        _ rows: Int, _ columns: Int, _ depth: Int, _ a: (Int, Int) -> Float, _ b: (Int, Int) -> Float
    ) -> [Double] {
        (0..<rows * columns).map { index in
            (0..<depth).reduce(0) { $0 + Double(a(index / columns, $1)) * Double(b($1, index % columns)) }
        }
    }

    private func scratch(_ count: Int, _ outputs: Int, _ threads: Threads) -> [Float] {
        [Float](repeating: .nan, count: Linear.workspaceCount(count: count, outputs: outputs, threads: threads))
    }

    @Test(arguments: [
        (1, 1, 1), (3, 5, 7), (4, 40, 33), (17, 100, 100), (5, 513, 550), (2, 30, 4100), (300, 50, 70),
    ])
    func layer(_ count: Int, _ inputs: Int, _ outputs: Int) {
        let threads = Threads(2)
        let x = normals(count * inputs, seed: 1)
        let w = normals(inputs * outputs, seed: 2)
        let b = normals(outputs, seed: 3)
        let dy = normals(count * outputs, seed: 4)

        var y = [Float](repeating: .nan, count: count * outputs)
        var expected = product(count, outputs, inputs, { x[$0 * inputs + $1] }, { w[$0 * outputs + $1] })
        expected = expected.enumerated().map { $1 + Double(b[$0 % outputs]) }
        Linear.forward(
            x, weights: w, bias: b, to: &y, count: count, inputs: inputs, outputs: outputs, threads: threads)
        #expect(agree(y, expected, tolerance: 2e-6))
        expected = expected.map { max($0, 0) }
        Linear.forward(
            x, weights: w, bias: b, to: &y, count: count, inputs: inputs, outputs: outputs, relu: true,
            threads: threads)
        #expect(agree(y, expected, tolerance: 2e-6))

        var masked = dy
        Linear.reluGradient(y: y, dy: &masked, count: count, outputs: outputs, threads: threads)
        #expect(masked == zip(dy, y).map { $1 > 0 ? $0 : 0 })

        var dx = [Float](repeating: .nan, count: count * inputs)
        var workspace = scratch(count, outputs, threads)
        Linear.inputGradient(
            dy, weights: w, to: &dx, count: count, inputs: inputs, outputs: outputs, workspace: &workspace,
            threads: threads)
        #expect(
            agree(
                dx, product(count, inputs, outputs, { dy[$0 * outputs + $1] }, { w[$1 * outputs + $0] }),
                tolerance: 2e-6))

        var dw = [Float](repeating: .nan, count: inputs * outputs)
        var db = [Float](repeating: .nan, count: outputs)
        Linear.weightGradient(
            x, dy, to: &dw, bias: &db, count: count, inputs: inputs, outputs: outputs, workspace: &workspace,
            threads: threads)
        #expect(
            agree(
                dw, product(inputs, outputs, count, { x[$1 * inputs + $0] }, { dy[$0 * outputs + $1] }), tolerance: 2e-6
            ))
        #expect(agree(db, product(1, outputs, count, { _, _ in 1 }, { dy[$0 * outputs + $1] }), tolerance: 2e-6))
    }

    @Test func sameOnAnyNumberOfThreads() {
        let (count, inputs, outputs) = (9, 131, 517)
        let (x, w) = (normals(count * inputs, seed: 1), normals(inputs * outputs, seed: 2))
        let b = normals(outputs, seed: 3)
        expectSame { threads in
            var y = [Float](repeating: 0, count: count * outputs)
            var dx = [Float](repeating: 0, count: count * inputs)
            var dw = [Float](repeating: 0, count: inputs * outputs)
            var db = [Float](repeating: 0, count: outputs)
            Linear.forward(
                x, weights: w, bias: b, to: &y, count: count, inputs: inputs, outputs: outputs, threads: threads)
            var workspace = scratch(count, outputs, threads)
            Linear.inputGradient(
                y, weights: w, to: &dx, count: count, inputs: inputs, outputs: outputs, workspace: &workspace,
                threads: threads)
            Linear.weightGradient(
                x, y, to: &dw, bias: &db, count: count, inputs: inputs, outputs: outputs, workspace: &workspace,
                threads: threads)
            return y + dx + dw + db
        }
    }

    @Test func threadsOfOpenBLASArePutBack() {
        let before = openblas_get_num_threads()
        defer { openblas_set_num_threads(before) }
        openblas_set_num_threads(2)
        var y: Float = 0
        Linear.forward([2], weights: [3], bias: [1], to: &y, count: 1, inputs: 1, outputs: 1, threads: Threads(1))
        #expect(y == 7)
        #expect(openblas_get_num_threads() == 2)
    }
}
