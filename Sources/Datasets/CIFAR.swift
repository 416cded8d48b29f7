// CIFAR-100 and CIFAR-10 (Krizhevsky, 2009) from the files of https://www.cs.toronto.edu/~kriz/cifar.html. The files
// have to be the published ones in size and form; what is different is refused, and the message says in what.

import Glibc
import PLPBase
import PLPKernels

private let imageValues = ImageShape.cifar.values

extension Dataset {
    /// One of the two parts in which a data set is published.
    public enum Split: String, CaseIterable, Sendable {
        case train, test
    }

    /// Which of an image's two labels in CIFAR-100 counts.
    public enum CIFAR100Labels: String, CaseIterable, Sendable {
        /// One of 100 classes.
        case fine
        /// One of 20 groups of five classes.
        case coarse

        fileprivate var classes: Int { self == .fine ? 100 : 20 }
    }

    /// CIFAR-100, from its Python layout (files `train`, `test`, `meta`) or its binary one (`train.bin`, `test.bin`,
    /// `fine_label_names.txt`, `coarse_label_names.txt`).
    ///
    /// - Parameter folder: where the files are, or the folder that `cifar-100-python` or `cifar-100-binary` is in.
    ///   Looked at in this order; the first that has the wanted split is taken.
    /// - Throws: `Failure` with kind `.notFound`, `.inputOutput` or `.corrupt`, naming the file.
    public static func cifar100(
        folder: String, split: Split, labels: CIFAR100Labels = .fine
    ) throws(Failure) -> Dataset {
        let places = [folder, folder + "/cifar-100-python", folder + "/cifar-100-binary"]
        for place in places {
            if try Files.exists("\(place)/\(split).bin") { return try cifar100Binary(place, split, labels) }
            if try Files.exists("\(place)/\(split)") { return try cifar100Python(place, split, labels) }
        }
        throw try missing(
            "CIFAR-100", folder, archives: ["cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"],
            expected: """
                a file \(split) (Python layout) or \(split).bin (binary layout) there, in cifar-100-python/ or in \
                cifar-100-binary/
                """)
    }

    /// What to say where a data set is not, or lies packed.
    private static func missing(
        _ set: String, _ folder: String, archives: [String], expected: String
    ) throws(Failure) -> Failure {
        let inside = archives.map { (path: "\(folder)/\($0)", place: " -C '\(folder)'") }
        for (path, place) in inside + (folder.hasSuffix(".tar.gz") ? [(folder, "")] : []) where try Files.exists(path) {
            return Failure(
                errno: ENOENT, folder,
                saying: "found \(set) not yet unpacked, which is done by: tar -xzf '\(path)'\(place)")
        }
        return Failure(errno: ENOENT, folder, saying: "found no \(set), expected \(expected)")
    }

    /// CIFAR-10, from its Python layout (files `data_batch_1` to `data_batch_5`, `test_batch`, `batches.meta`) or its
    /// binary one (the same with `.bin`, and `batches.meta.txt`).
    ///
    /// - Parameter folder: where the files are, or the folder that `cifar-10-batches-py` or `cifar-10-batches-bin` is
    ///   in. Looked at in this order; the first that has the wanted split is taken.
    /// - Throws: `Failure` with kind `.notFound`, `.inputOutput` or `.corrupt`, naming the file.
    public static func cifar10(folder: String, split: Split) throws(Failure) -> Dataset {
        let files = split == .train ? (1...5).map { "data_batch_\($0)" } : ["test_batch"]
        for place in [folder, folder + "/cifar-10-batches-py", folder + "/cifar-10-batches-bin"] {
            if try Files.exists("\(place)/\(files[0]).bin") { return try cifar10Binary(place, split, files) }
            if try Files.exists("\(place)/\(files[0])") { return try cifar10Python(place, split, files) }
        }
        throw try missing(
            "CIFAR-10", folder, archives: ["cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"],
            expected: """
                a file \(files[0]) (Python layout) or \(files[0]).bin (binary layout) there, in \
                cifar-10-batches-py/ or in cifar-10-batches-bin/
                """)
    }

    private static func cifar10Binary(_ folder: String, _ split: Split, _ files: [String]) throws(Failure) -> Dataset {
        let pixels = try Bytes(count: files.count * 10_000 * imageValues)
        var labels: [Int32] = []
        for file in files {
            let (records, fileLabels) = try readRecords("\(folder)/\(file).bin", images: 10_000, labelRanges: [10])
            memcpy(pixels.start + labels.count * imageValues, records.start, 10_000 * imageValues)
            labels += fileLabels
        }
        return try Dataset(
            name: "CIFAR-10 \(split)", pixels, labels: labels, classes: 10,
            labelNames: Files.lines("\(folder)/batches.meta.txt", count: 10))
    }

    private static func cifar100Binary(
        _ folder: String, _ split: Split, _ kind: CIFAR100Labels
    ) throws(Failure) -> Dataset {
        let (pixels, labels) = try readRecords(
            "\(folder)/\(split).bin", images: split.cifar100Images, labelRanges: [20, 100],
            counting: kind == .fine ? 1 : 0)
        return try Dataset(
            name: name(split, kind), pixels, labels: labels, classes: kind.classes,
            labelNames: Files.lines("\(folder)/\(kind)_label_names.txt", count: kind.classes))
    }

    private static func name(_ split: Split, _ kind: CIFAR100Labels) -> String {
        kind == .fine ? "CIFAR-100 \(split)" : "CIFAR-100 coarse \(split)"
    }

    /// Reads a file of images that each have a byte for every label before their pixels.
    ///
    /// - Parameters:
    ///   - labelRanges: number of classes of each label.
    ///   - chosen: which of the labels counts.
    /// - Returns: memory that begins with the images, one behind the other, and their labels.
    private static func readRecords(
        _ path: String, images: Int, labelRanges: [Int], counting chosen: Int = 0
    ) throws(Failure) -> (pixels: Bytes, labels: [Int32]) {
        let size = labelRanges.count + imageValues
        let bytes = try Files.read(
            path, sizes: images * size...images * size,
            expected: "\(grouped(images * size)) (\(grouped(images)) images of \(grouped(size)) bytes)")
        var labels: [Int32] = []
        labels.reserveCapacity(images)
        for image in 0..<images {
            let record = bytes.start + image * size
            for (offset, classes) in labelRanges.enumerated() where record[offset] >= classes {
                throw Failure(
                    .corrupt,
                    """
                    \(path): found label \(record[offset]) at image \(grouped(image)), \
                    byte \(grouped(image * size + offset)), expected 0 to \(classes - 1)
                    """)
            }
            labels.append(Int32(record[chosen]))
            memmove(bytes.start + image * imageValues, record + labelRanges.count, imageValues)
        }
        return (bytes, labels)
    }

    private static func cifar100Python(
        _ folder: String, _ split: Split, _ kind: CIFAR100Labels
    ) throws(Failure) -> Dataset {
        let file = try PickledImages("\(folder)/\(split)", images: split.cifar100Images)
        let coarse = try file.labels("coarse_labels", classes: 20)
        let fine = try file.labels("fine_labels", classes: 100)
        return try Dataset(
            name: name(split, kind), file.bytes, offset: file.pixels.lowerBound,
            labels: kind == .fine ? fine : coarse, classes: kind.classes,
            labelNames: labelNames("\(folder)/meta", "\(kind)_label_names", count: kind.classes))
    }

    private static func cifar10Python(_ folder: String, _ split: Split, _ files: [String]) throws(Failure) -> Dataset {
        let pixels = try Bytes(count: files.count * 10_000 * imageValues)
        var labels: [Int32] = []
        for name in files {
            let file = try PickledImages("\(folder)/\(name)", images: 10_000)
            let first = file.bytes.start + file.pixels.lowerBound
            memcpy(pixels.start + labels.count * imageValues, first, file.pixels.count)
            labels += try file.labels("labels", classes: 10)
        }
        return try Dataset(
            name: "CIFAR-10 \(split)", pixels, labels: labels, classes: 10,
            labelNames: labelNames("\(folder)/batches.meta", "label_names", count: 10))
    }

    /// The names in a Python layout's own file for them; nil where there is no such file.
    private static func labelNames(_ path: String, _ key: String, count: Int) throws(Failure) -> [String]? {
        guard try Files.exists(path) else { return nil }
        let bytes = try Files.read(path, sizes: 0...65_536, expected: "at most 65,536")
        guard case .list(let list)? = try Pickle.read(bytes.raw, path: path)[key] else {
            throw Failure(.corrupt, "\(path): no list '\(key)' found")
        }
        var names: [String] = []
        for case .string(let range) in list.items { names.append(String(decoding: bytes.raw[range], as: UTF8.self)) }
        guard names.count == count else {
            throw Failure(.corrupt, "\(path): found \(names.count) names in '\(key)', expected \(count)")
        }
        return names
    }
}

/// A file of the Python layouts: a dict with an array of images and lists of their labels.
private struct PickledImages {
    let path: String
    let images: Int
    let bytes: Bytes
    /// Where in `bytes` the images lie, one behind the other.
    let pixels: Range<Int>
    private let contents: [String: PickleValue]

    init(_ path: String, images: Int) throws(Failure) {
        let size = images * imageValues
        // Beside the pixels, the published files have 31 to 33 bytes an image for names and labels.
        bytes = try Files.read(
            path, sizes: size...size + 64 * images,
            expected: "\(grouped(size)) to \(grouped(size + 64 * images)) (\(grouped(images)) images)")
        contents = try Pickle.read(bytes.raw, path: path)
        guard case .array(images, imageValues, let range)? = contents["data"] else {
            throw Failure(
                .corrupt, "\(path): no array 'data' of \(grouped(images)) × \(grouped(imageValues)) bytes found")
        }
        self.path = path
        self.images = images
        pixels = range
    }

    func labels(_ key: String, classes: Int) throws(Failure) -> [Int32] {
        guard case .list(let list)? = contents[key], list.items.count == images else {
            throw Failure(.corrupt, "\(path): no list '\(key)' of \(grouped(images)) labels found")
        }
        var labels: [Int32] = []
        labels.reserveCapacity(images)
        for (image, value) in list.items.enumerated() {
            guard case .integer(let label) = value, (0..<classes).contains(label) else {
                let found = if case .integer(let label) = value { "label \(label)" } else { "no number" }
                throw Failure(
                    .corrupt,
                    "\(path): found \(found) in '\(key)' at image \(grouped(image)), expected 0 to \(classes - 1)")
            }
            labels.append(Int32(label))
        }
        return labels
    }
}

extension Dataset.Split {
    fileprivate var cifar100Images: Int { self == .train ? 50_000 : 10_000 }
}
