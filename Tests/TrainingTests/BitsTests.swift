import PLPKernels
import PLPNetworks
import PLPOptimization
import PLPTestSupport
import PLPTraining
import Testing

private let instructions = "\(Build.vectors), \(Build.blas.split(separator: " ").dropLast().last ?? "")"

/// Parameters after twenty steps, to the last bit. A change that is to leave the bits alone leaves these hashes; one
/// that is not writes down new ones, and says so. OpenBLAS multiplies in linear layers, each of its kernels in its way.
@Suite(
    .enabled(
        if: ["AVX-512, Cooperlake", "AVX-512, SkylakeX"].contains(instructions),
        "known of AVX-512 with OpenBLAS for Cooperlake or Skylake-X"))
struct BitsTests {
    struct Method: CustomTestStringConvertible {
        var testDescription: String
        var architecture = Architecture.resnet18
        var optimizer: any Optimizer = SGD(learningRate: 0.05)
        var predictor: (any Predictor)?
        /// In base 16.
        var hash: String
    }

    static let methods = [
        Method(testDescription: "SGD", hash: "e1bf791aab5c379a"),
        Method(
            testDescription: "Nesterov", optimizer: SGD(learningRate: 0.05, nesterov: true, weightDecay: 5e-4),
            hash: "bb249513055de1ce"),
        Method(
            testDescription: "no momentum", optimizer: SGD(learningRate: 0.05, momentum: 0), hash: "26dadf471398f1b7"),
        Method(testDescription: "DEMON", optimizer: SGD(learningRate: 0.05, demon: true), hash: "fc6411fc507fddb5"),
        Method(testDescription: "AdamW", optimizer: AdamW(), hash: "9636dcad0d9d0778"),
        Method(testDescription: "PLP", predictor: PLP(), hash: "cd78155d2e145f78"),
        Method(
            testDescription: "PLP, all else than its defaults",
            predictor: PLP(step: 0.5, period: 5, start: 2, end: 17, momentum: .reset, statistics: .predicted),
            hash: "cf08d8cf3e73e9fd"),
        Method(
            testDescription: "Lookahead", predictor: Lookahead(momentum: .reset, statistics: .predicted),
            hash: "bb9764109e5233ba"),
        Method(testDescription: "EMA", predictor: EMA(decay: 0.9, warmup: false), hash: "9757b5b99a7b3ef"),
        Method(testDescription: "SWA", predictor: SWA(start: 5), hash: "ac29449e75954a4a"),
        Method(testDescription: "VGG16 with PLP", architecture: .vgg16, predictor: PLP(), hash: "e9416b7fadcf28f2"),
        Method(
            testDescription: "GoogLeNet with PLP", architecture: .googlenet, predictor: PLP(), hash: "473560dbe3cb2159"),
    ]

    @Test(arguments: methods) func twentySteps(_ method: Method) throws {
        let model = try Model(ModelConfiguration(method.architecture, width: 0.05, seed: 3))
        let trainer = try Small.trainer(
            model: model, optimizer: method.optimizer, predictor: method.predictor, threads: 2)
        // What is evaluated counts too: it is the model of an epoch's end, after sixteen steps.
        try trainer.fit(Small.training, epochs: 3) { $0.epoch == 2 && $0.iteration == 3 ? .stop : .proceed }
        #expect(trainer.stepper.iteration == 20)
        let found = String(hash(of: [model, try trainer.bestModel()]), radix: 16)
        #expect(found == method.hash, "found \(found)")
    }

    /// FNV-1a of all values in PyTorch's order.
    private func hash(of models: [Model]) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for tensor in models.flatMap({ $0.stateDictionary() }) {
            guard case .float32(let values) = tensor.values else { continue }
            for value in values { hash = (hash ^ UInt64(value.bitPattern)) &* 0x100_0000_01b3 }
        }
        return hash
    }
}
