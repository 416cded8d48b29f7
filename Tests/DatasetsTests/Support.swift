// What the tests of this folder share: the real data, bytes, pickles made by hand.

import Foundation
import PLPBase

/// The folder of the real data sets, as the environment names it.
let realData = ProcessInfo.processInfo.environment["PLP_DATA"]

/// Bytes that look random and are always the same.
func someBytes(_ count: Int, seed: UInt64 = 0) -> [UInt8] {
    var random = RandomStream(seed: seed, .synthesis)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
}

func join(_ parts: [UInt8]...) -> [UInt8] { Array(parts.joined()) }

/// The bytes of an ASCII text.
func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The instructions of protocol 2 that CIFAR-100's files consist of.
enum Instruction {
    static let header: [UInt8] = [0x80, 2]
    /// Into the memo.
    static let put: [UInt8] = [UInt8(ascii: "r"), 1, 2, 0, 0]

    static func integer(_ value: Int) -> [UInt8] {
        switch value {
        case 0..<256: join(ascii("K"), number(value, 1))
        case 256..<65536: join(ascii("M"), number(value, 2))
        default: join(ascii("J"), number(value, 4))
        }
    }

    static func string(_ text: String) -> [UInt8] { join(ascii("U"), number(text.utf8.count, 1), ascii(text), put) }

    static func data(_ contents: [UInt8]) -> [UInt8] { join(ascii("T"), number(contents.count, 4), contents) }

    static func list(_ items: [[UInt8]]) -> [UInt8] {
        var result = join(ascii("]"), put)
        for start in stride(from: 0, to: items.count, by: 1000) {
            let part = items[start..<min(start + 1000, items.count)]
            result += join(ascii("("), Array(part.joined()), ascii("e"))
        }
        return result
    }

    static func array(rows: Int, columns: Int, _ contents: [UInt8]) -> [UInt8] {
        let empty = join(
            ascii("cnumpy.core.multiarray\n_reconstruct\n"), put, ascii("cnumpy\nndarray\n"), put, integer(0), [0x85],
            string("b"), [0x87], ascii("R"), put)
        let type = join(
            ascii("cnumpy\ndtype\n"), put, string("u1"), integer(0), integer(1), [0x87], ascii("R"), put,
            ascii("("), integer(3), string("|"), ascii("NNN"), integer(-1), integer(-1), integer(0), ascii("tb"))
        let shape = join(integer(rows), integer(columns), [0x86])
        return join(empty, ascii("("), integer(1), shape, type, [0x89], data(contents), ascii("tb"))
    }

    static func file(_ entries: [(String, [UInt8])]) -> [UInt8] {
        var result = join(header, ascii("}"), put, ascii("("))
        for (key, value) in entries { result += join(string(key), value) }
        return join(result, ascii("u."))
    }

    private static func number(_ value: Int, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
}
