// Names, shapes and counts as PyTorch has them, initialisation, the state dictionary.

import PLPBase
import PLPNetworks
import Testing

@Suite struct ModelTests {
    @Test(arguments: [(Architecture.vgg16, 34_015_396), (.resnet18, 11_220_132), (.googlenet, 6_402_564)])
    func parameterCounts(architecture: Architecture, expected: Int) throws {
        #expect(try Model(ModelConfiguration(architecture)).parameterCount == expected)
    }

    @Test func namesAndShapesArePyTorchs() throws {
        func shape(_ architecture: Architecture, _ name: String) throws -> [Int]? {
            try Model(ModelConfiguration(architecture)).entries.first { $0.name == name }?.shape
        }
        #expect(try shape(.vgg16, "features.0.weight") == [64, 3, 3, 3])
        #expect(try shape(.vgg16, "features.41.running_var") == [512])
        #expect(try shape(.vgg16, "classifier.6.bias") == [100])
        #expect(try shape(.resnet18, "conv1.0.weight") == [64, 3, 3, 3])
        #expect(try shape(.resnet18, "conv2_x.0.residual_function.0.weight") == [64, 64, 3, 3])
        #expect(try shape(.resnet18, "conv3_x.0.shortcut.0.weight") == [128, 64, 1, 1])
        #expect(try shape(.resnet18, "conv5_x.1.residual_function.4.num_batches_tracked") == [])
        #expect(try shape(.resnet18, "fc.weight") == [100, 512])
        #expect(try shape(.googlenet, "prelayer.0.weight") == [64, 3, 3, 3])
        #expect(try shape(.googlenet, "a3.b1.0.weight") == [64, 192, 1, 1])
        #expect(try shape(.googlenet, "b5.b3.6.weight") == [128, 128, 3, 3])
        #expect(try shape(.googlenet, "linear.weight") == [100, 1024])
    }

    /// Where five poolings leave more than a pixel, VGG16's first linear layer takes them all.
    @Test(arguments: [(32, 512), (33, 512), (63, 512), (64, 2048), (96, 4608)])
    func imageSizeDecidesVGG16sLinearLayer(size: Int, inputs: Int) throws {
        let model = try Model(ModelConfiguration(.vgg16, imageSize: size))
        #expect(model.entries.first { $0.name == "classifier.0.weight" }?.shape == [4096, inputs])
        let averaging = try Model(ModelConfiguration(.resnet18, imageSize: size))
        #expect(averaging.parameterCount == 11_220_132)
    }

    @Test func entriesDoNotOverlap() throws {
        for architecture in Architecture.allCases {
            let model = try Model(ModelConfiguration(architecture, classes: 7, width: 0.1))
            for (kind, size) in [
                (StateEntry.Kind.parameter, model.parameters.count), (.statistic, model.statistics.count),
            ] {
                var end = 0
                for entry in model.entries where entry.kind == kind {
                    #expect(entry.offset >= end && entry.offset % 16 == 0)
                    end = entry.offset + entry.count
                }
                #expect(end <= size)
            }
            #expect(Set(model.entries.map(\.name)).count == model.entries.count)
        }
    }

    /// ±1/√fan-in uniform: its bounds, its mean and its variance, bound²/3.
    @Test func initialisationIsPyTorchsDefault() throws {
        let model = try Model(ModelConfiguration(.resnet18, seed: 3))
        func values(_ name: String) throws -> [Float] {
            let entry = try #require(model.entries.first { $0.name == name })
            return model.values(of: entry, in: entry.kind == .parameter ? model.parameters : model.statistics)
        }
        let weights = try values("conv2_x.0.residual_function.0.weight")
        let bound = 1 / Float(64 * 9).squareRoot()
        #expect(weights.allSatisfy { abs($0) <= bound })
        let mean = weights.reduce(0, +) / Float(weights.count)
        let variance = weights.reduce(0) { $0 + $1 * $1 } / Float(weights.count)
        #expect(abs(mean) < 0.01 * bound)
        #expect(abs(variance / (bound * bound / 3) - 1) < 0.02)
        #expect(try values("conv1.1.weight").allSatisfy { $0 == 1 })
        #expect(try values("conv1.1.bias").allSatisfy { $0 == 0 })
        #expect(try values("conv1.1.running_mean").allSatisfy { $0 == 0 })
        #expect(try values("conv1.1.running_var").allSatisfy { $0 == 1 })
        #expect(try values("fc.bias").contains { $0 != 0 })
    }

    @Test func seedDecidesTheStart() throws {
        func parameters(_ seed: UInt64) throws -> [Float] {
            try Model(ModelConfiguration(.resnet18, width: 0.1, seed: seed)).parameters.array
        }
        #expect(try parameters(1) == parameters(1))
        #expect(try parameters(1) != parameters(2))
    }

    @Test func stateDictionaryGoesRound() throws {
        for architecture in Architecture.allCases {
            let first = try Model(ModelConfiguration(architecture, imageSize: 64, width: 0.1, seed: 1))
            first.batchesTracked[0] = 17
            let second = try Model(ModelConfiguration(architecture, imageSize: 64, width: 0.1, seed: 2))
            try second.load(first.stateDictionary())
            #expect(first.parameters.array == second.parameters.array)
            #expect(first.batchesTracked == second.batchesTracked)
        }
    }

    /// PyTorch's [out][in][y][x] against ours, [y][x][in][out].
    @Test func weightsAreTransposed() throws {
        let model = try Model(ModelConfiguration(.resnet18, width: 0.1))
        let entry = try #require(model.entries.first { $0.shape == [6, 3, 3, 3] })
        let theirs = model.values(of: entry, in: model.parameters)
        for (out, input, y, x) in [(0, 0, 0, 0), (5, 2, 2, 2), (3, 1, 0, 2), (1, 0, 2, 1)] {
            let ours = model.parameters.values[entry.offset + ((y * 3 + x) * 3 + input) * 6 + out]
            #expect(theirs[((out * 3 + input) * 3 + y) * 3 + x] == ours)
        }
    }

    /// A linear layer's inputs: PyTorch flattens maps as [channel][y][x], ours lie as [y][x][channel].
    @Test func linearWeightsOverMapsAreTransposed() throws {
        let model = try Model(ModelConfiguration(.vgg16, imageSize: 64, width: 0.01))
        let entry = try #require(model.entries.first { $0.name == "classifier.0.weight" })
        #expect(entry.shape == [41, 5 * 2 * 2])
        let theirs = model.values(of: entry, in: model.parameters)
        for (out, channel, y, x) in [(0, 0, 0, 0), (40, 4, 1, 1), (3, 1, 0, 1), (7, 2, 1, 0)] {
            let ours = model.parameters.values[entry.offset + ((y * 2 + x) * 5 + channel) * 41 + out]
            #expect(theirs[((out * 5 + channel) * 2 + y) * 2 + x] == ours)
        }
    }

    @Test func loadSaysWhatIsWrongAndChangesNothing() throws {
        let model = try Model(ModelConfiguration(.resnet18, width: 0.1))
        let before = model.parameters.array
        func failure(_ change: (inout [Safetensors.Tensor]) -> Void) -> String? {
            var tensors = try! Model(ModelConfiguration(.resnet18, width: 0.1, seed: 9)).stateDictionary()
            change(&tensors)
            do { try model.load(tensors) } catch { return error.message }
            return nil
        }
        #expect(failure { $0.removeFirst() } == "tensor conv1.0.weight is missing")
        #expect(failure { $0[0].name = "conv0" } == "tensor conv1.0.weight is missing")
        #expect(failure { $0[1].shape = [2, 3] } == "tensor conv1.1.weight: found shape [2, 3], expected [6]")
        #expect(
            failure { $0.append(Safetensors.Tensor(name: "more", shape: [], values: .float32([1]))) }
                == "tensor more does not belong to resnet18")
        #expect(failure { $0[1].values = .int64([1, 1, 1, 1, 1, 1]) }?.contains("found int64 values") == true)
        #expect(failure { $0[1].values = .float32([1]) } == "tensor conv1.1.weight: found 1 values, expected 6")
        #expect(failure { $0[5].values = .int64([]) }?.contains("num_batches_tracked: found 0 values") == true)
        #expect(model.parameters.array == before)
        #expect(failure { $0.removeAll { $0.name.hasSuffix("num_batches_tracked") } } == nil)
    }

    @Test(arguments: [
        (ModelConfiguration(.vgg16, classes: 1), "classes: found 1"),
        (ModelConfiguration(.vgg16, classes: 1_000_000_000), "classes: found 1000000000"),
        (ModelConfiguration(.vgg16, imageSize: 31), "image size of vgg16: found 31, expected a whole number from 32"),
        (ModelConfiguration(.resnet18, imageSize: 15), "image size of resnet18: found 15"),
        (ModelConfiguration(.googlenet, imageSize: 97), "image size of googlenet: found 97"),
        (ModelConfiguration(.googlenet, imageSize: .max), "image size of googlenet: found 9223372036854775807"),
        (ModelConfiguration(.vgg16, width: 0), "width: found 0.0"),
        (ModelConfiguration(.vgg16, width: .nan), "width: found nan"),
        (ModelConfiguration(.vgg16, width: .infinity), "width: found inf"),
        (ModelConfiguration(.vgg16, dropout: 1), "dropout: found 1.0"),
        (ModelConfiguration(.vgg16, dropout: .nan), "dropout: found nan"),
        (ModelConfiguration(.vgg16, channelCountEpsilons: true), "channel-count epsilons"),
        (ModelConfiguration(.vgg16, mean: [0, 0]), "mean: found [0.0, 0.0]"),
        (ModelConfiguration(.vgg16, deviation: [1, 1, 0]), "standard deviation: found [1.0, 1.0, 0.0]"),
    ])
    func absurdConfigurations(configuration: ModelConfiguration, message: String) {
        #expect { try Model(configuration) } throws: { error in
            let failure = error as? Failure
            return failure?.kind == .invalidArgument && failure?.message.hasPrefix(message) == true
        }
    }
}
