// What a model asks of the images it is given.

import PLPDatasets
import PLPBase
import PLPKernels
import PLPNetworks

extension Model {
    func normalization() throws(Failure) -> Normalization {
        try Normalization(mean: configuration.mean, deviation: configuration.deviation)
    }

    /// Throws where the model cannot take the set's images or labels.
    func requireFit(of dataset: Dataset) throws(Failure) {
        let (size, expected) = (dataset.imageSize, configuration.imageSize)
        try require(size == expected, "image size of \(dataset.name)", size, expected: "the model's \(expected)")
        try require(
            dataset.classes <= configuration.classes, "classes of \(dataset.name)", dataset.classes,
            expected: "at most the model's \(configuration.classes)")
    }
}
