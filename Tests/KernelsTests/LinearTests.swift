import COpenBLAS
import PLPKernels
import Synchronization
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

    /// Gives `body` the scratch memory of a layer, and expects that nothing behind it is written.
    private func withScratch(
        _ count: Int, _ inputs: Int, _ outputs: Int, _ threads: Threads,
        _ body: (UnsafeMutablePointer<Float>) -> Void
    ) {
        let size = Linear.workspaceCount(count: count, inputs: inputs, outputs: outputs, threads: threads)
        var workspace = [Float](repeating: .nan, count: size + 64)
        body(&workspace)
        #expect(workspace[size...].allSatisfy { $0.isNaN })
    }

    @Test(
        arguments: [
            (1, 1, 1), (3, 5, 7), (4, 40, 33), (17, 100, 100), (5, 513, 550), (2, 30, 4100), (300, 50, 70),
        ], threadCounts)
    func layer(_ sizes: (count: Int, inputs: Int, outputs: Int), _ threadCount: Int) {
        let (count, inputs, outputs) = sizes
        let threads = Threads(threadCount, processors: threadCount)
        let x = normals(count * inputs, seed: 1)
        let w = normals(inputs * outputs, seed: 2)
        let b = normals(outputs, seed: 3)
        let dy = normals(count * outputs, seed: 4)

        var y = [Float](repeating: .nan, count: count * outputs)
        var expected = product(count, outputs, inputs, { x[$0 * inputs + $1] }, { w[$0 * outputs + $1] })
        expected = expected.enumerated().map { $1 + Double(b[$0 % outputs]) }
        withScratch(count, inputs, outputs, threads) {
            Linear.forward(
                x, weights: w, bias: b, to: &y, count: count, inputs: inputs, outputs: outputs, workspace: $0,
                threads: threads)
        }
        #expect(agree(y, expected, tolerance: 2e-6))
        expected = expected.map { max($0, 0) }
        withScratch(count, inputs, outputs, threads) {
            Linear.forward(
                x, weights: w, bias: b, to: &y, count: count, inputs: inputs, outputs: outputs, relu: true,
                workspace: $0, threads: threads)
        }
        #expect(agree(y, expected, tolerance: 2e-6))

        var masked = dy
        Linear.reluGradient(y: y, dy: &masked, count: count, outputs: outputs, threads: threads)
        #expect(masked == zip(dy, y).map { $1 > 0 ? $0 : 0 })

        var dx = [Float](repeating: .nan, count: count * inputs)
        withScratch(count, inputs, outputs, threads) {
            Linear.inputGradient(
                dy, weights: w, to: &dx, count: count, inputs: inputs, outputs: outputs, workspace: $0,
                threads: threads)
        }
        #expect(
            agree(
                dx, product(count, inputs, outputs, { dy[$0 * outputs + $1] }, { w[$1 * outputs + $0] }),
                tolerance: 2e-6))

        var dw = [Float](repeating: .nan, count: inputs * outputs)
        var db = [Float](repeating: .nan, count: outputs)
        withScratch(count, inputs, outputs, threads) {
            Linear.weightGradient(
                x, dy, to: &dw, bias: &db, count: count, inputs: inputs, outputs: outputs, workspace: $0,
                threads: threads)
        }
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
            withScratch(count, inputs, outputs, threads) {
                Linear.forward(
                    x, weights: w, bias: b, to: &y, count: count, inputs: inputs, outputs: outputs, workspace: $0,
                    threads: threads)
                Linear.inputGradient(
                    y, weights: w, to: &dx, count: count, inputs: inputs, outputs: outputs, workspace: $0,
                    threads: threads)
                Linear.weightGradient(
                    x, y, to: &dw, bias: &db, count: count, inputs: inputs, outputs: outputs, workspace: $0,
                    threads: threads)
            }
            return y + dx + dw + db
        }
    }

    /// In a process of its own: the number of OpenBLAS's threads is the whole process's, and other tests change it too.
    @Test func openBLASHasOneThreadMeanwhileAndThenAsManyAsBefore() async {
        await #expect(processExitsWith: .success) {
            openblas_set_num_threads(2)
            let meanwhile = Atomic<Int32>(2)
            let isOver = Atomic<Bool>(false)
            Threads(2).forEach(2) { index in
                if index == 0 {
                    let (size, ones) = (512, [Float](repeating: 1, count: 512 * 512))
                    var y = ones
                    var workspace = [Float](
                        repeating: 0,
                        count: Linear.workspaceCount(count: size, inputs: size, outputs: size, threads: Threads(1)))
                    for _ in 0..<200 where meanwhile.load(ordering: .relaxed) == 2 {
                        Linear.forward(
                            ones, weights: ones, bias: ones, to: &y, count: size, inputs: size, outputs: size,
                            workspace: &workspace, threads: Threads(1))
                    }
                    isOver.store(true, ordering: .relaxed)
                } else {
                    while !isOver.load(ordering: .relaxed) {
                        if openblas_get_num_threads() == 1 { meanwhile.store(1, ordering: .relaxed) }
                    }
                }
            }
            #expect(meanwhile.load(ordering: .relaxed) == 1)
            #expect(openblas_get_num_threads() == 2)
        }
    }
}
