// GoogLeNet with batch normalisation, the CIFAR variant: a stem of three 3×3 convolutions, nine inception blocks, two
// 3×3 convolutions in place of each 5×5 one, no auxiliary classifiers (Szegedy et al., arXiv 1409.4842 and 1512.00567).

extension Architecture {
    /// GoogLeNet with batch normalisation and two 3×3 convolutions for each 5×5 (Szegedy et al. 2015): 6,402,564
    /// parameters at 100 classes.
    public static let googlenet = Architecture("googlenet", dropout: 0.4) { $0.addGoogLeNet($1) }
}

extension Graph {
    /// Channel counts of an inception block's branches.
    private struct Inception {
        var one: Int
        var three: (reduce: Int, Int)
        var five: (reduce: Int, Int)
        var pool: Int
    }

    fileprivate mutating func addGoogLeNet(_ configuration: ModelConfiguration) {
        var x = image
        for (index, channels) in [(0, 64), (3, 64), (6, 192)] {
            x = convolution(
                x, "prelayer.\(index)", normalization: "prelayer.\(index + 1)",
                channels: configuration.channels(channels),
                kernel: 3, bias: false)
        }
        let stages: [[(String, Inception)]] = [
            [
                ("a3", Inception(one: 64, three: (96, 128), five: (16, 32), pool: 32)),
                ("b3", Inception(one: 128, three: (128, 192), five: (32, 96), pool: 64)),
            ],
            [
                ("a4", Inception(one: 192, three: (96, 208), five: (16, 48), pool: 64)),
                ("b4", Inception(one: 160, three: (112, 224), five: (24, 64), pool: 64)),
                ("c4", Inception(one: 128, three: (128, 256), five: (24, 64), pool: 64)),
                ("d4", Inception(one: 112, three: (144, 288), five: (32, 64), pool: 64)),
                ("e4", Inception(one: 256, three: (160, 320), five: (32, 128), pool: 128)),
            ],
            [
                ("a5", Inception(one: 256, three: (160, 320), five: (32, 128), pool: 128)),
                ("b5", Inception(one: 384, three: (192, 384), five: (48, 128), pool: 128)),
            ],
        ]
        for (number, stage) in stages.enumerated() {
            x = maxPooling(x, "maxpool.\(number)", kernel: 3, stride: 2, padding: 1)
            for (name, block) in stage { x = inception(x, name, block, configuration) }
        }
        x = averagePooling(x, "avgpool")
        // Dropout of whole channels there: the same thing, since a channel has one value by now.
        x = dropout(x, "dropout", rate: configuration.dropout)
        _ = dense(x, "linear", units: configuration.classes)
    }

    /// Four branches side by side: 1×1; 1×1 then 3×3; 1×1 then twice 3×3; pooling then 1×1.
    private mutating func inception(
        _ x: ValueID, _ name: String, _ block: Inception, _ configuration: ModelConfiguration
    ) -> ValueID {
        func unit(
            _ graph: inout Graph, _ x: ValueID, _ branch: String, _ index: Int, _ channels: Int, kernel: Int,
            epsilon: Float = 1e-5
        ) -> ValueID {
            graph.convolution(
                x, "\(name).\(branch).\(index)", normalization: "\(name).\(branch).\(index + 1)",
                channels: configuration.channels(channels), kernel: kernel, bias: true, epsilon: epsilon)
        }
        let one = unit(&self, x, "b1", 0, block.one, kernel: 1)
        var three = unit(&self, x, "b2", 0, block.three.reduce, kernel: 1)
        three = unit(&self, three, "b2", 3, block.three.1, kernel: 3)
        var five = unit(&self, x, "b3", 0, block.five.reduce, kernel: 1)
        let mistaken = Float(configuration.channels(block.five.1))
        five = unit(
            &self, five, "b3", 3, block.five.1, kernel: 3,
            epsilon: configuration.channelCountEpsilons ? mistaken : 1e-5)
        five = unit(&self, five, "b3", 6, block.five.1, kernel: 3)
        var pool = maxPooling(x, "\(name).b4.0", kernel: 3, stride: 1, padding: 1)
        pool = unit(&self, pool, "b4", 1, block.pool, kernel: 1)
        return concatenate([one, three, five, pool])
    }
}
