// A network that is written down in a way that the executor cannot run ends the process there, not in wrong numbers.

import PLPNetworks
import Testing

@Suite struct GraphTests {
    /// Makes a model of a network.
    private static func make(_ layers: @escaping @Sendable (_ graph: inout Graph, _ x: Graph.ValueID) -> Void) {
        let network = Architecture("wrong") { graph, _ in
            let x = graph.convolution(graph.image, "x", normalization: "n", channels: 4, kernel: 3, bias: false)
            layers(&graph, x)
            _ = graph.dense(graph.averagePooling(x, "average"), "logits", units: 10)
        }
        _ = try? Model(ModelConfiguration(network, classes: 10))
    }

    @Test func whatLayersMayDo() async {
        await #expect(processExitsWith: .success) {
            Self.make { graph, x in _ = graph.dropout(x, "dropout", rate: 0.5) }
        }
    }

    @Test func dropoutOfWhatWasReadEndsTheProcess() async {
        await #expect(processExitsWith: .failure) {
            Self.make { graph, x in
                _ = graph.maxPooling(x, "pooling", kernel: 2, stride: 2)
                _ = graph.dropout(x, "dropout", rate: 0.5)
            }
        }
    }

    @Test func dropoutOfTheImagesEndsTheProcess() async {
        await #expect(processExitsWith: .failure) {
            Self.make { graph, _ in _ = graph.dropout(graph.image, "dropout", rate: 0.5) }
        }
    }

    @Test func readingABranchEndsTheProcess() async {
        await #expect(processExitsWith: .failure) {
            Self.make { graph, x in
                let branch = graph.maxPooling(x, "pooling", kernel: 2, stride: 2)
                _ = graph.concatenate([branch])
                _ = graph.averagePooling(branch, "average")
            }
        }
    }

    @Test func concatenatingWhatWasReadEndsTheProcess() async {
        await #expect(processExitsWith: .failure) {
            Self.make { graph, x in
                let branch = graph.maxPooling(x, "pooling", kernel: 2, stride: 2)
                _ = graph.averagePooling(branch, "average")
                _ = graph.concatenate([branch])
            }
        }
    }
}
