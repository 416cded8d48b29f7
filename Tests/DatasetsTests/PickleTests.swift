import PLPDatasets
import PLPBase
import PLPTestSupport
import Testing

/// The reader of pickles, over what it has to accept and over hostile files.
@Suite struct PickleTests {
    private static let small = Instruction.file([
        ("names", Instruction.list([Instruction.string("a"), Instruction.string("b.png")])),
        ("labels", Instruction.list((0..<2500).map { Instruction.integer($0 % 300) })),
        ("data", Instruction.array(rows: 2, columns: 3, [1, 2, 3, 4, 5, 6])),
    ])

    /// The beginning of a file.
    private func start(_ instructions: String) -> [UInt8] { join(Instruction.header, ascii(instructions)) }

    private func read(_ bytes: [UInt8]) throws -> [String: PickleValue] {
        try bytes.withUnsafeBytes { try Pickle.read($0, path: "file") }
    }

    private func expectCorrupt(_ bytes: [UInt8], _ word: String, at location: SourceLocation = #_sourceLocation) {
        expectFailure(.corrupt, "file: ", word, at: location) { try read(bytes) }
    }

    @Test func readsListsAndArrays() throws {
        let contents = try read(Self.small)
        #expect(Set(contents.keys) == ["names", "labels", "data"])
        guard case .list(let labels)? = contents["labels"], case .integer(2499 % 300)? = labels.items.last else {
            Issue.record("labels")
            return
        }
        #expect(labels.items.count == 2500)
        guard case .array(2, 3, let range)? = contents["data"] else {
            Issue.record("data")
            return
        }
        #expect(Array(Self.small[range]) == [1, 2, 3, 4, 5, 6])
    }

    @Test func noBeginningOfAFileIsAFile() {
        for length in stride(from: 0, to: Self.small.count, by: 7) {
            expectCorrupt(Array(Self.small.prefix(length)), "found")
        }
        expectCorrupt(join(Self.small, [0]), "something behind it")
    }

    @Test func refusesWhatThePublishedFilesDoNotHave() {
        expectCorrupt(start("cos\nsystem\n(U\u{2}lstR."), "os system")
        expectCorrupt(join([0x80, 4], Array(Self.small[2...])), "protocol 4")
        for code in join(ascii("hjgXFIilLdspaoV02PQBC{"), [0x8a, 0x8c, 0x94, 0x93, 0x81, 0x8f, 0xff]) {
            expectCorrupt(join(start("}"), [code, 0, 0, 0, 0]), "found")
        }
        expectCorrupt(join(start("cnumpy\nndarray\n"), Instruction.integer(0), [0x85], ascii("R.")), "a call")
        expectCorrupt(start("}}"), "a second dictionary")
        expectCorrupt(start("NNb."), "an array whose state")
        expectCorrupt(start("(((("), "one mark too many")
        expectCorrupt(start("c" + String(repeating: "A", count: 100)), "a name without an end")
    }

    @Test func hostileLengthsAreSeen() {
        for length: [UInt8] in [[255, 255, 255, 255], [0, 0, 0, 128], [255, 255, 255, 127]] {
            expectCorrupt(join(start("T"), length, [1, 2, 3]), "found 3 bytes behind byte 7")
        }
        let sizes = [(0, 0), (-1, -6), (65_536, 65_536), (Int(Int32.max), Int(Int32.max)), (3, 3)]
        for (rows, columns) in sizes {
            expectCorrupt(
                Instruction.file([("data", Instruction.array(rows: rows, columns: columns, [1, 2, 3, 4, 5, 6]))]),
                "fill its shape")
        }
    }

    @Test func depthAndNumberOfValuesAreBounded() {
        expectCorrupt(join(start("N"), [UInt8](repeating: 0x85, count: 1_000_000)), "a tuple of more")
        expectCorrupt(start(String(repeating: "N", count: 1_000_000)), "more than 200,000 values")
        expectCorrupt(start(String(repeating: "]", count: 1_000_000)), "more than 200,000 values")
        expectCorrupt(start("](]e"), "items for something")
    }

    /// Filling a list by one item at a time, or by none, takes no longer than the file is long.
    @Test(.timeLimit(.minutes(1))) func listsGrowInLinearTime() {
        let fill = String(repeating: "(Ne", count: 150_000) + String(repeating: "(e", count: 1_000_000)
        expectCorrupt(start("]" + fill), "found 0 bytes")
    }

    /// Damaged files are read or refused; nothing else happens.
    @Test func randomDamageIsSurvived() {
        let codes = join(ascii("N.(}]tbeuRKMJUTcqr"), [0x80, 0x85, 0x86, 0x87, 0x88, 0x89])
        for trial in 0..<20_000 {
            var random = RandomStream(seed: 0, .split, UInt64(trial))
            var bytes = join(Array(Self.small.prefix(trial % 2 == 0 ? 80 : 9)), Array(Self.small.suffix(260)))
            for _ in 0...random.below(4) {
                let place = random.below(bytes.count)
                bytes[place] =
                    random.below(2) == 0 ? codes[random.below(codes.count)] : UInt8(truncatingIfNeeded: random.next())
            }
            do {
                _ = try read(bytes)
            } catch {
                #expect((error as? Failure)?.kind == .corrupt)
            }
        }
    }
}
