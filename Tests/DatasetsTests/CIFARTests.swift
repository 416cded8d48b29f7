import PLPDatasets
import Foundation
import PLPKernels
import PLPTestSupport
import Testing

/// Files in the published layouts, made by hand, whole and damaged.
@Suite struct CIFARTests {
    private static let withRealData = ConditionTrait.enabled(
        if: realData != nil, "PLP_DATA names no folder with the real CIFAR-100")

    /// Labels and pixels of a made test set.
    private static let images = 10_000
    private static let pixels = someBytes(images * 3072)
    private static let fine: [UInt8] = (0..<images).map { UInt8($0 * 7 % 100) }
    private static let coarse: [UInt8] = fine.map { $0 / 5 }
    private static let names = (0..<100).map { "class_\($0)" }

    /// The test set as a binary file, with the bytes that go before an image's pixels.
    private static func records(_ labels: (_ image: Int) -> [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for image in 0..<images {
            result += labels(image)
            result += pixels[image * 3072..<(image + 1) * 3072]
        }
        return result
    }
    private static let binary = records { [fine[$0] / 5, fine[$0]] }

    private static func python(
        images: Int = images, fine: [UInt8] = fine, coarse: [UInt8] = coarse
    ) -> [UInt8] {
        Instruction.file([
            ("fine_labels", Instruction.list(fine.map { Instruction.integer(Int($0)) })),
            ("coarse_labels", Instruction.list(coarse.map { Instruction.integer(Int($0)) })),
            ("data", Instruction.array(rows: images, columns: 3072, Array(pixels[..<(images * 3072)]))),
        ])
    }

    private func check(_ set: Dataset, names: [String]?) {
        #expect(set.count == Self.images && set.classes == 100 && set.labelNames == names)
        #expect(set.labels == Self.fine.map(Int32.init))
        #expect(UnsafeBufferPointer(start: set.images, count: Self.pixels.count).elementsEqual(Self.pixels))
    }

    @Test func findsEitherLayout() throws {
        let folder = try Folder()
        try folder.write("cifar-100-binary/test.bin", Self.binary)
        check(try .cifar100(folder: folder.path, split: .test), names: nil)
        try folder.write("cifar-100-binary/fine_label_names.txt", ascii(Self.names.joined(separator: "\r\n")))
        check(try .cifar100(folder: folder.path + "/cifar-100-binary", split: .test), names: Self.names)
        try folder.write("cifar-100-python/test", Self.python())
        check(try .cifar100(folder: folder.path, split: .test), names: nil)
        try folder.write(
            "cifar-100-python/meta",
            Instruction.file([("fine_label_names", Instruction.list(Self.names.map(Instruction.string)))]))
        check(try .cifar100(folder: folder.path + "/cifar-100-python", split: .test), names: Self.names)
    }

    @Test func takesEitherLabel() throws {
        let folder = try Folder()
        let groups = (0..<20).map { "group \($0)" }
        try folder.write("cifar-100-binary/test.bin", Self.binary)
        try folder.write("cifar-100-binary/coarse_label_names.txt", ascii(groups.joined(separator: "\n")))
        try folder.write("cifar-100-python/test", Self.python())
        try folder.write(
            "cifar-100-python/meta",
            Instruction.file([
                ("fine_label_names", Instruction.list(Self.names.map(Instruction.string))),
                ("coarse_label_names", Instruction.list(groups.map(Instruction.string))),
            ]))
        for layout in ["binary", "python"] {
            let place = "\(folder.path)/cifar-100-\(layout)"
            let set = try Dataset.cifar100(folder: place, split: .test, labels: .coarse)
            #expect(set.labels == Self.coarse.map(Int32.init) && set.classes == 20 && set.labelNames == groups)
            #expect(set.name == "CIFAR-100 coarse test")
        }
    }

    @Test func saysWhatIsMissing() throws {
        let folder = try Folder()
        for path in [folder.path + "/no", folder.path, "", "/dev/null"] {
            expectFailure(.notFound, "no CIFAR-100,", "train.bin") {
                try Dataset.cifar100(folder: path, split: .train)
            }
            expectFailure(.notFound, "no CIFAR-10,", "data_batch_1.bin") {
                try Dataset.cifar10(folder: path, split: .train)
            }
        }
    }

    /// A folder named as a file is does not hide what lies in the layouts' own folders.
    @Test func looksForFiles() throws {
        let folder = try Folder()
        try folder.write("test/apple/1.png", [])
        expectFailure(.notFound, "no CIFAR-100,", "test.bin") {
            try Dataset.cifar100(folder: folder.path, split: .test)
        }
        try folder.write("cifar-100-binary/test.bin", Self.binary)
        check(try .cifar100(folder: folder.path, split: .test), names: nil)
    }

    @Test func refusesWhatIsNoRegularFile() throws {
        let folder = try Folder()
        #expect(mkfifo(folder.path + "/test", 0o600) == 0)
        expectFailure(.inputOutput, "/test: ", "regular") {
            try Dataset.cifar100(folder: folder.path, split: .test)
        }
    }

    /// What the system will not say of a file does not make it one that is not there.
    @Test func filesThatCannotBeLookedAtAreNotMissing() throws {
        let folder = try Folder()
        #expect(symlink("test.bin", folder.path + "/test.bin") == 0)
        expectFailure(.inputOutput, "/test.bin: ") { try Dataset.cifar100(folder: folder.path, split: .test) }
        #expect(symlink("test_batch.bin", folder.path + "/test_batch.bin") == 0)
        expectFailure(.inputOutput, "/test_batch.bin: ") { try Dataset.cifar10(folder: folder.path, split: .test) }
    }

    @Test func refusesDamagedBinaryFiles() throws {
        let folder = try Folder()
        func expectCorrupt(_ words: [String], _ bytes: [UInt8]) throws {
            try folder.write("test.bin", bytes)
            for word in words {
                expectFailure(.corrupt, "/test.bin: ", word) {
                    try Dataset.cifar100(folder: folder.path, split: .test)
                }
            }
        }
        try expectCorrupt(
            ["found 30,739,998 bytes, expected 30,740,000 (10,000 images of 3,074 bytes)"], Self.binary.dropLast(2))
        try expectCorrupt(["found 30,740,001 bytes"], Self.binary + [0])
        try expectCorrupt(["found 0 bytes"], [])
        var damaged = Self.binary
        damaged[1234 * 3074 + 1] = 100
        try expectCorrupt(["label 100", "image 1,234", "0 to 99"], damaged)
        damaged[17 * 3074] = 20
        try expectCorrupt(["label 20", "image 17", "0 to 19"], damaged)
        try folder.write("test.bin", Self.binary)
        for (names, found) in [
            ("a\nb\n", "found 2 names"), (String(repeating: "x\n", count: 50_000), "found 100,000 bytes"),
        ] {
            try folder.write("fine_label_names.txt", ascii(names))
            expectFailure(.corrupt, "fine_label_names.txt", found) {
                try Dataset.cifar100(folder: folder.path, split: .test)
            }
        }
    }

    @Test func refusesDamagedPythonFiles() throws {
        let folder = try Folder()
        func expectCorrupt(_ words: [String], _ bytes: [UInt8]) throws {
            try folder.write("test", bytes)
            for word in words {
                expectFailure(.corrupt, "/test: ", word) {
                    try Dataset.cifar100(folder: folder.path, split: .test)
                }
            }
        }
        let whole = Self.python()
        let filler = [UInt8](repeating: 0, count: 32_000_000 - whole.count)
        try expectCorrupt(["array 'data' of 10,000 × 3,072"], Self.python(images: 9_999))
        try expectCorrupt(["found ", "bytes behind byte"], whole.dropLast(2))
        try expectCorrupt(["something behind it"], join(whole, ascii(".")))
        try expectCorrupt(["32,000,000", "30,720,000 to 31,360,000"], join(whole, filler))
        try expectCorrupt(["found 10,000 bytes"], Array(whole[..<10_000]))
        try expectCorrupt(["list 'fine_labels' of 10,000 labels"], Self.python(fine: Array(Self.fine.dropLast())))
        let (fine, coarse) = (join(Self.fine.dropLast(), [100]), join([20], Array(Self.coarse.dropFirst())))
        try expectCorrupt(["label 100", "'fine_labels' at image 9,999"], Self.python(fine: fine))
        try expectCorrupt(["label 20", "'coarse_labels' at image 0"], Self.python(coarse: coarse))
        try folder.write("test", whole)
        let names = Instruction.list([Instruction.string("apple")])
        try folder.write("meta", Instruction.file([("fine_label_names", names)]))
        expectFailure(.corrupt, "/meta: found 1 names") {
            try Dataset.cifar100(folder: folder.path, split: .test)
        }
    }

    @Test func readsCIFAR10() throws {
        let folder = try Folder()
        var records = Self.records { [Self.fine[$0] % 10] }
        for batch in 1...5 { try folder.write("cifar-10-batches-bin/data_batch_\(batch).bin", records) }
        let names: [String] = (0..<10).map { "class_\($0)" }
        try folder.write("cifar-10-batches-bin/batches.meta.txt", ascii(names.joined(separator: "\n") + "\n\n"))
        let set = try Dataset.cifar10(folder: folder.path, split: .train)
        #expect(set.count == 50_000 && set.classes == 10 && set.labelNames == names)
        #expect(set.labels[40_003] == Int32(Self.fine[3] % 10))
        let image = UnsafeBufferPointer(start: set.image(40_003), count: 3072)
        #expect(image.elementsEqual(Self.pixels[3 * 3072..<4 * 3072]))
        records[0] = 10
        try folder.write("cifar-10-batches-bin/data_batch_4.bin", records)
        expectFailure(.corrupt, "data_batch_4.bin", "label 10", "0 to 9") {
            try Dataset.cifar10(folder: folder.path, split: .train)
        }
        try FileManager.default.removeItem(atPath: folder.path + "/cifar-10-batches-bin/data_batch_3.bin")
        expectFailure(.notFound, "data_batch_3.bin") {
            try Dataset.cifar10(folder: folder.path, split: .train)
        }
    }

    /// Made as the published files are described; there were none to compare with.
    @Test func readsCIFAR10sPythonLayout() throws {
        let folder = try Folder()
        let place = "cifar-10-batches-py"
        func batch(_ labels: [UInt8]) -> [UInt8] {
            Instruction.file([
                ("batch_label", Instruction.string("training batch 1 of 5")),
                ("labels", Instruction.list(labels.map { Instruction.integer(Int($0)) })),
                ("data", Instruction.array(rows: Self.images, columns: 3072, Self.pixels)),
            ])
        }
        let labels = Self.fine.map { $0 % 10 }
        for number in 1...5 { try folder.write("\(place)/data_batch_\(number)", batch(labels)) }
        let names = (0..<10).map { "class_\($0)" }
        try folder.write(
            "\(place)/batches.meta",
            Instruction.file([("label_names", Instruction.list(names.map(Instruction.string)))]))
        let set = try Dataset.cifar10(folder: folder.path, split: .train)
        #expect(set.name == "CIFAR-10 train" && set.count == 50_000 && set.classes == 10 && set.labelNames == names)
        #expect(set.labels == (0..<5).flatMap { _ in labels.map(Int32.init) })
        let image = UnsafeBufferPointer(start: set.image(40_003), count: 3072)
        #expect(image.elementsEqual(Self.pixels[3 * 3072..<4 * 3072]))
        try folder.write("\(place)/data_batch_4", batch(join([10], Array(labels.dropFirst()))))
        expectFailure(.corrupt, "data_batch_4", "label 10 in 'labels' at image 0", "0 to 9") {
            try Dataset.cifar10(folder: folder.path, split: .train)
        }
        expectFailure(.notFound, "expected a file test_batch (Python layout) or test_batch.bin") {
            try Dataset.cifar10(folder: folder.path, split: .test)
        }
    }

    @Test func saysThatAnArchiveIsNotUnpacked() throws {
        let folder = try Folder()
        try folder.write("cifar-100-binary.tar.gz", [])
        expectFailure(.notFound, "CIFAR-100 not yet unpacked", "tar -xzf '\(folder.path)/cifar-100-binary.tar.gz' -C") {
            try Dataset.cifar100(folder: folder.path, split: .test)
        }
        expectFailure(.notFound, "no CIFAR-10,") { try Dataset.cifar10(folder: folder.path, split: .test) }
        try folder.write("cifar-10-python.tar.gz", [])
        expectFailure(.notFound, "CIFAR-10 not yet unpacked", "tar -xzf '\(folder.path)/cifar-10-python.tar.gz' -C") {
            try Dataset.cifar10(folder: folder.path, split: .test)
        }
    }

    @Test(withRealData, arguments: Dataset.Split.allCases)
    func theRealLayoutsAgree(split: Dataset.Split) throws {
        let binary = try Dataset.cifar100(folder: realData! + "/cifar-100-binary", split: split)
        let python = try Dataset.cifar100(folder: realData! + "/cifar-100-python", split: split)
        #expect(binary.count == (split == .train ? 50_000 : 10_000))
        #expect(memcmp(binary.images, python.images, binary.count * 3072) == 0)
        #expect(binary.labels == python.labels && binary.labelNames == python.labelNames)
        #expect(binary.labelNames?.first == "apple" && binary.labelNames?.last == "worm")
        #expect(Dictionary(grouping: binary.labels, by: \.self).values.allSatisfy { $0.count == binary.count / 100 })
    }

    @Test(withRealData)
    func theNormalisationIsThatOfTheTrainingImages() throws {
        let set = try Dataset.cifar100(folder: realData!, split: .train)
        for channel in 0..<3 {
            var (sum, squares) = (0, 0)
            for image in 0..<set.count {
                for pixel in 0..<1024 {
                    let value = Int(set.image(image)[channel * 1024 + pixel])
                    sum += value
                    squares += value * value
                }
            }
            let pixels = Double(set.count * 1024)
            let mean = Double(sum) / pixels
            let deviation = (Double(squares) / pixels - mean * mean).squareRoot()
            #expect(abs(mean / 255 - Double(Normalization.cifar100.mean[channel])) < 1e-7)
            #expect(abs(deviation / 255 - Double(Normalization.cifar100.deviation[channel])) < 1e-7)
        }
    }
}
