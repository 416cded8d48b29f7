// A reader for Python pickles as CIFAR's Python layouts have them, and no others.
//
// A pickle is a program for a stack machine that may call any function Python can import. This machine knows the 23
// instructions which the published files consist of (protocol 2); of functions, it knows the three that stand for a
// NumPy array, and recognises rather than calls them. It has no instruction that fetches a value from the memo, so
// values are trees, and limits on their number and depth bound its memory whatever a file says.

import PLPBase

/// A value in a pickle. Strings and arrays stay where they are in the file: they are ranges of its bytes.
package enum PickleValue {
    case none
    case `false`
    case integer(Int)
    case string(Range<Int>)
    case list(List)
    case tuple([PickleValue])
    /// The outermost value.
    case dictionary
    /// One of the names in `Pickle.globals`.
    case global(String)
    /// NumPy's type of bytes.
    case byteType
    /// A NumPy array that has no contents yet.
    case emptyArray
    /// A NumPy array of bytes with two dimensions, in C order.
    case array(rows: Int, columns: Int, Range<Int>)

    /// Grows in place, however many instructions it is filled by.
    package final class List { package fileprivate(set) var items: [PickleValue] = [] }

    /// Levels of tuples; nil for what does not go into tuples and lists.
    fileprivate var depth: Int? {
        switch self {
        case .dictionary, .list, .array, .emptyArray: nil
        case .tuple(let items): items.lazy.map { ($0.depth ?? 0) + 1 }.max() ?? 1
        default: 0
        }
    }
}

package struct Pickle {
    /// Values in a file, in all. The largest published file has 150,165.
    private static let mostValues = 200_000
    /// Marks at a time: the dictionary's items, an array's state, its type's state.
    private static let mostMarks = 3
    /// Levels of tuples in tuples: an array's state holds its shape.
    private static let mostDepth = 2
    private static let globals = ["numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"]

    private let path: String
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var stack: [PickleValue] = []
    private var entries: [String: PickleValue] = [:]
    /// Heights of the stack that MARK remembers.
    private var marks: [Int] = []
    private var values = 0

    /// Reads the dictionary that a file consists of.
    ///
    /// - Throws: `Failure(.corrupt)`, which names `path` and where in it the reader stopped.
    package static func read(_ bytes: UnsafeRawBufferPointer, path: String) throws(Failure) -> [String: PickleValue] {
        var machine = Pickle(path: path, bytes: bytes)
        return try machine.run()
    }

    private init(path: String, bytes: UnsafeRawBufferPointer) {
        self.path = path
        self.bytes = bytes
    }

    private mutating func run() throws(Failure) -> [String: PickleValue] {
        while true {
            let start = position
            let code = try UInt8(number(1))
            switch code {
            case 0x80:  // PROTO
                let version = try number(1)
                guard start == 0, version == 2 else { throw failure("protocol \(version)", at: start) }
            case UInt8(ascii: "."):  // STOP
                guard stack.count == 1, case .dictionary = stack[0], position == bytes.count else {
                    throw failure("an end without a dictionary, or something behind it", at: start)
                }
                return entries

            case UInt8(ascii: "N"): try push(.none)  // NONE
            case 0x89: try push(.false)  // NEWFALSE
            case UInt8(ascii: "K"): try push(.integer(number(1)))  // BININT1
            case UInt8(ascii: "M"): try push(.integer(number(2)))  // BININT2
            case UInt8(ascii: "J"): try push(.integer(Int(Int32(truncatingIfNeeded: number(4)))))  // BININT
            case UInt8(ascii: "U"): try push(.string(take(number(1))))  // SHORT_BINSTRING
            case UInt8(ascii: "T"): try push(.string(take(number(4))))  // BINSTRING
            case UInt8(ascii: "c"):  // GLOBAL
                let name = try "\(line()) \(line())"
                guard Self.globals.contains(name) else { throw failure("the global '\(name)'", at: start) }
                try push(.global(name))

            case UInt8(ascii: "q"): _ = try take(1)  // BINPUT: nothing fetches what it stores
            case UInt8(ascii: "r"): _ = try take(4)  // LONG_BINPUT

            case UInt8(ascii: "("):  // MARK
                guard marks.count < Self.mostMarks else { throw failure("one mark too many", at: start) }
                marks.append(stack.count)
            case UInt8(ascii: "}"):  // EMPTY_DICT
                guard values == 0 else { throw failure("a second dictionary", at: start) }
                try push(.dictionary)
            case UInt8(ascii: "]"): try push(.list(PickleValue.List()))  // EMPTY_LIST
            case UInt8(ascii: "t"): try push(tuple(popToMark(), at: start))  // TUPLE
            case 0x85: try push(tuple(pop(1), at: start))  // TUPLE1
            case 0x86: try push(tuple(pop(2), at: start))  // TUPLE2
            case 0x87: try push(tuple(pop(3), at: start))  // TUPLE3
            case UInt8(ascii: "e"):  // APPENDS
                let items = try popToMark()
                guard case .list(let list)? = stack.last, items.allSatisfy({ $0.depth == 0 }) else {
                    throw failure("items for something that is not a list of numbers or strings", at: start)
                }
                list.items += items
            case UInt8(ascii: "u"):  // SETITEMS
                let items = try popToMark()
                guard case .dictionary? = stack.last, items.count % 2 == 0 else {
                    throw failure("items for something that is not a dictionary", at: start)
                }
                for item in stride(from: 0, to: items.count, by: 2) {
                    guard case .string(let key) = items[item] else {
                        throw failure("a key that is not a string", at: start)
                    }
                    entries[text(key)] = items[item + 1]
                }
            case UInt8(ascii: "R"):  // REDUCE
                let pair = try pop(2)
                try push(reduce(pair[0], pair[1], at: start))
            case UInt8(ascii: "b"):  // BUILD
                let pair = try pop(2)
                try push(build(pair[0], pair[1], at: start))
            default:
                throw failure("the instruction 0x\(String(code, radix: 16))", at: start)
            }
        }
    }

    // MARK: NumPy's arrays

    /// `_reconstruct(ndarray, (0,), 'b')` makes an array to be filled, `dtype('u1', 0, 1)` a type.
    private func reduce(
        _ function: PickleValue, _ arguments: PickleValue, at start: Int
    ) throws(Failure) -> PickleValue {
        if case .global(let name) = function, case .tuple(let items) = arguments, items.count == 3 {
            if name == Self.globals[0], case .global(Self.globals[1]) = items[0],
                case .tuple(let shape) = items[1], shape.count == 1, case .integer(0) = shape[0]
            {
                return .emptyArray
            }
            if name == Self.globals[2], case .string(let type) = items[0], text(type) == "u1" { return .byteType }
        }
        throw failure("a call that does not make a NumPy array of bytes", at: start)
    }

    /// A type's state, which says nothing more about bytes, or an array's: (version, shape, type, Fortran order,
    /// contents).
    private func build(_ object: PickleValue, _ state: PickleValue, at start: Int) throws(Failure) -> PickleValue {
        if case .byteType = object, case .tuple = state { return .byteType }
        if case .emptyArray = object, case .tuple(let items) = state, items.count == 5,
            case .tuple(let shape) = items[1], shape.count == 2,
            case .integer(let rows) = shape[0], case .integer(let columns) = shape[1], rows >= 0, columns >= 0,
            case .byteType = items[2], case .false = items[3], case .string(let contents) = items[4],
            rows * columns == contents.count
        {
            return .array(rows: rows, columns: columns, contents)
        }
        throw failure("an array whose state is not bytes that fill its shape", at: start)
    }

    // MARK: The stack

    private mutating func push(_ value: PickleValue) throws(Failure) {
        values += 1
        guard values <= Self.mostValues else {
            throw failure("more than \(grouped(Self.mostValues)) values", at: position)
        }
        stack.append(value)
    }

    private mutating func pop(_ count: Int) throws(Failure) -> [PickleValue] {
        guard stack.count - (marks.last ?? 0) >= count else { throw failure("too few values for it", at: position - 1) }
        defer { stack.removeLast(count) }
        return Array(stack.suffix(count))
    }

    private mutating func popToMark() throws(Failure) -> [PickleValue] {
        guard let mark = marks.last else { throw failure("an instruction without its mark", at: position - 1) }
        let items = try pop(stack.count - mark)
        marks.removeLast()
        return items
    }

    private func tuple(_ items: [PickleValue], at start: Int) throws(Failure) -> PickleValue {
        let value = PickleValue.tuple(items)
        guard items.allSatisfy({ $0.depth != nil }), value.depth! <= Self.mostDepth else {
            throw failure("a tuple of more than numbers, strings and their tuples", at: start)
        }
        return value
    }

    // MARK: The file

    /// The next bytes, as a range.
    private mutating func take(_ count: Int) throws(Failure) -> Range<Int> {
        guard count <= bytes.count - position else {
            throw Failure(
                .corrupt,
                """
                \(path): found \(grouped(bytes.count - position)) bytes behind byte \(grouped(position)), \
                expected \(grouped(count))
                """)
        }
        defer { position += count }
        return position..<position + count
    }

    /// The next bytes as a number, lowest byte first.
    private mutating func number(_ width: Int) throws(Failure) -> Int {
        try take(width).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
    }

    /// The rest of a line.
    private mutating func line() throws(Failure) -> String {
        let rest = bytes[position...].prefix(64)
        guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else {
            throw failure("a name without an end", at: position)
        }
        defer { position = end + 1 }
        return text(position..<end)
    }

    /// A string's beginning: what is looked for is short.
    private func text(_ range: Range<Int>) -> String { String(decoding: bytes[range].prefix(64), as: UTF8.self) }

    private func failure(_ found: String, at place: Int) -> Failure {
        Failure(
            .corrupt,
            "\(path): found \(excerpt(found)) at byte \(grouped(place)), expected CIFAR-100's Python layout")
    }
}
