// What a model asks of the images it is given.

import PLPDatasets
import PLPBase
import PLPKernels
import PLPNetworks

extension Model {
    func normalization() throws(Failure) -> Normalization {
        try Normalization(mean: configuration.mean, deviation: configuration.deviation)
    }

    func requireClasses(of dataset: Dataset) throws(Failure) {
        try require(
            dataset.classes <= configuration.classes, "classes of \(dataset.name)", dataset.classes,
            expected: "at most the model's \(configuration.classes)")
    }
}
