// VGG16 with batch normalisation, the CIFAR variant: thirteen 3×3 convolutions in five stages, each ended by a pooling
// that halves the map, down to 1×1 for images of 32×32, and a classifier of three linear layers over what is left
// (Simonyan & Zisserman, arXiv 1409.1556, D).

import PLPKernels

extension Architecture {
    /// VGG16 with batch normalisation (Simonyan & Zisserman 2015): 34,015,396 parameters at 100 classes and 32×32 images.
    /// Its five poolings halve an image, and must leave a pixel.
    public static let vgg16 = Architecture("vgg16", imageSizes: 32...ImageShape.sizes.upperBound, dropout: 0.5) {
        $0.addVGG16($1)
    }
}

extension Graph {
    fileprivate mutating func addVGG16(_ configuration: ModelConfiguration) {
        let stages = [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]]
        var x = image
        var index = 0  // position in PyTorch's Sequential, which counts ReLU and pooling too
        for stage in stages {
            for channels in stage {
                x = convolution(
                    x, "features.\(index)", normalization: "features.\(index + 1)",
                    channels: configuration.channels(channels), kernel: 3, bias: true)
                index += 3
            }
            x = maxPooling(x, "features.\(index)", kernel: 2, stride: 2)
            index += 1
        }
        let hidden = configuration.channels(4096)
        for index in [0, 3] {
            x = dense(x, "classifier.\(index)", units: hidden, relu: true)
            x = dropout(x, "classifier.\(index + 2)", rate: configuration.dropout)
        }
        _ = dense(x, "classifier.6", units: configuration.classes)
    }
}
