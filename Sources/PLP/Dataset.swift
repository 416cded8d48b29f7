// plp_dataset.

import CPLP
import PLPBase
import PLPKernels
import PLPTraining

final class DatasetHandle: Handle, @unchecked Sendable {
    override class var noun: String { "dataset" }

    let dataset: Dataset
    private let name: OwnedString
    /// A copy that stays where it is.
    private let labels: UnsafeMutableBufferPointer<Int32>
    private let labelNames: [OwnedString]?

    init(_ dataset: Dataset) {
        self.dataset = dataset
        name = OwnedString(dataset.name)
        labels = .allocate(capacity: dataset.count)
        _ = labels.initialize(from: dataset.labels)
        labelNames = dataset.labelNames?.map(OwnedString.init)
    }

    deinit { labels.deallocate() }

    var description: plp_dataset_info {
        plp_dataset_info(
            struct_size: plp_dataset_info.size, name: name.pointer, count: Int64(dataset.count),
            classes: Int64(dataset.classes), image_size: Int64(dataset.imageSize), images: dataset.images,
            labels: UnsafePointer(labels.baseAddress))
    }

    func labelName(_ label: Int64) throws(Failure) -> UnsafePointer<CChar>? {
        let label = try number(label, "label", in: 0...dataset.classes - 1)
        return labelNames?[label].pointer
    }
}

/// The data set behind an argument.
func datasetBehind(_ handle: OpaquePointer?, _ name: String) throws(Failure) -> Dataset {
    let object: DatasetHandle = try object(of: handle, name)
    return object.dataset
}

extension plp_dataset_info: Sized {}

extension Dataset.CIFAR100Labels {
    init(_ labels: plp_cifar100_labels) throws(Failure) {
        switch labels {
        case PLP_LABELS_FINE: self = .fine
        case PLP_LABELS_COARSE: self = .coarse
        default: throw .argument("labels", found: labels.rawValue, expected: "PLP_LABELS_FINE or PLP_LABELS_COARSE")
        }
    }
}

extension Dataset.Split {
    init(_ split: plp_split) throws(Failure) {
        switch split {
        case PLP_SPLIT_TRAIN: self = .train
        case PLP_SPLIT_TEST: self = .test
        default: throw .argument("split", found: split.rawValue, expected: "PLP_SPLIT_TRAIN or PLP_SPLIT_TEST")
        }
    }
}

/// The body of every function that makes a dataset.
private func open(
    _ destination: UnsafeMutablePointer<OpaquePointer?>?, _ make: () throws(Failure) -> Dataset
) -> plp_status {
    attempt { () throws(Failure) in
        let destination = try present(destination, "dataset")
        publish(DatasetHandle(try make()), to: destination)
    }
}

@c @implementation
public func plp_dataset_cifar100(
    _ folder: UnsafePointer<CChar>?, _ split: plp_split, _ labels: plp_cifar100_labels,
    _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    open(dataset) { () throws(Failure) in
        try .cifar100(
            folder: try text(folder, "folder"), split: try Dataset.Split(split),
            labels: try Dataset.CIFAR100Labels(labels))
    }
}

@c @implementation
public func plp_dataset_cifar10(
    _ folder: UnsafePointer<CChar>?, _ split: plp_split, _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    open(dataset) { () throws(Failure) in
        try .cifar10(folder: try text(folder, "folder"), split: try Dataset.Split(split))
    }
}

@c @implementation
public func plp_dataset_synthetic(
    _ split: plp_split, _ count: Int64, _ seed: UInt64, _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    open(dataset) { () throws(Failure) in
        try .synthetic(split: try Dataset.Split(split), count: try number(count, "count", in: imageCounts), seed: seed)
    }
}

@c @implementation
public func plp_dataset_from_arrays(
    _ images: UnsafePointer<UInt8>?, _ labels: UnsafePointer<Int32>?, _ count: Int64, _ image_size: Int64,
    _ classes: Int64, _ name: UnsafePointer<CChar>?, _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> plp_status {
    open(dataset) { () throws(Failure) in
        let count = try number(count, "count", in: imageCounts)
        let shape = try ImageShape(size: Int(image_size))
        try Memory.require(
            bytes: count * (shape.values + 2 * MemoryLayout<Int32>.stride), for: "a copy of \(grouped(count)) images")
        return try Dataset(
            images: UnsafeRawBufferPointer(start: try present(images, "images"), count: count * shape.values),
            imageSize: shape.size,
            labels: Array(UnsafeBufferPointer(start: try present(labels, "labels"), count: count)),
            classes: Int(classes), name: name == nil ? "images" : try text(name, "name"))
    }
}

@c @implementation
public func plp_dataset_describe(_ dataset: OpaquePointer?, _ info: UnsafeMutablePointer<plp_dataset_info>?)
    -> plp_status
{
    attempt(dataset, nil) { (handle: DatasetHandle) throws(Failure) in
        try destination(info, "info").pointee = handle.description
    }
}

@c @implementation
public func plp_dataset_label_name(
    _ dataset: OpaquePointer?, _ label: Int64, _ name: UnsafeMutablePointer<UnsafePointer<CChar>?>?
) -> plp_status {
    attempt(dataset, nil) { (handle: DatasetHandle) throws(Failure) in
        try present(name, "name").pointee = try handle.labelName(label)
    }
}

@c @implementation
public func plp_dataset_free(_ dataset: OpaquePointer?) { release(dataset) }
