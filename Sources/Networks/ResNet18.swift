// ResNet18, the CIFAR variant: a 3×3 stem without pooling, four stages of two basic blocks, global average pooling and
// one linear layer (He et al., arXiv 1512.03385).

extension Architecture {
    /// ResNet18 with a 3×3 stem and no pooling behind it (He et al. 2016): 11,220,132 parameters at 100 classes.
    public static let resnet18 = Architecture("resnet18") { $0.addResNet18($1) }
}

extension Graph {
    fileprivate mutating func addResNet18(_ configuration: ModelConfiguration) {
        var x = convolution(
            image, "conv1.0", normalization: "conv1.1", channels: configuration.channels(64), kernel: 3, bias: false)
        for (stage, channels) in [64, 128, 256, 512].enumerated() {
            for block in 0..<2 {
                x = basicBlock(
                    x, "conv\(stage + 2)_x.\(block)", channels: configuration.channels(channels),
                    stride: stage > 0 && block == 0 ? 2 : 1)
            }
        }
        x = averagePooling(x, "avg_pool")
        _ = dense(x, "fc", units: configuration.classes)
    }

    /// ReLU(F(x) + x), F two 3×3 convolutions; where F changes the shape, a 1×1 convolution brings x along.
    private mutating func basicBlock(_ x: ValueID, _ name: String, channels: Int, stride: Int) -> ValueID {
        let function = "\(name).residual_function"
        let first = convolution(
            x, "\(function).0", normalization: "\(function).1", channels: channels, kernel: 3, stride: stride,
            bias: false)
        let changesShape = stride > 1 || values[x].channels != channels
        return convolution(
            first, "\(function).3", normalization: "\(function).4", channels: channels, kernel: 3, bias: false,
            residual: { graph in
                guard changesShape else { return x }
                return graph.convolution(
                    x, "\(name).shortcut.0", normalization: "\(name).shortcut.1", channels: channels, kernel: 1,
                    stride: stride, bias: false, relu: false)
            })
    }
}
