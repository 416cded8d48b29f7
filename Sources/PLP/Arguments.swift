// What crosses the border besides handles: pointers, strings, counts, and structs that start with their own size.

import CPLP
import Glibc
import PLPBase
import PLPKernels
import PLPTraining

/// A pointer that must not be NULL.
func present<Pointer>(_ pointer: Pointer?, _ name: String) throws(Failure) -> Pointer {
    guard let pointer else { throw .argument(name, found: "NULL", expected: "a pointer") }
    return pointer
}

/// The text of a C string.
func text(_ pointer: UnsafePointer<CChar>?, _ name: String) throws(Failure) -> String {
    guard let text = String(validatingCString: try present(pointer, name)) else {
        throw .argument(name, found: "bytes that are not UTF-8", expected: "UTF-8")
    }
    guard !text.isEmpty else { throw .argument(name, found: "an empty string", expected: "a text") }
    return text
}

/// A number in its range.
func number(_ value: Int64, _ name: String, in range: ClosedRange<Int>) throws(Failure) -> Int {
    guard range.contains(Int(value)) else {
        throw .argument(name, found: value, expected: "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return Int(value)
}

/// Images that one call may speak of: their bytes can still be counted.
let imageCounts = 1...Int(Int32.max)

/// A C string in memory of its own, for as long as this object lives. Unchecked, since a pointer is not `Sendable`: the
/// text never changes.
final class OwnedString: @unchecked Sendable {
    let pointer: UnsafePointer<CChar>

    init(_ text: String) { pointer = UnsafePointer(strdup(text)) }

    deinit { free(UnsafeMutablePointer(mutating: pointer)) }
}

/// An object of each thread, kept until the thread sets another or ends.
final class PerThread<Object: AnyObject>: Sendable {
    private let key: pthread_key_t

    init() {
        var key = pthread_key_t()
        pthread_key_create(&key) { if let object = $0 { Unmanaged<AnyObject>.fromOpaque(object).release() } }
        self.key = key
    }

    private var kept: Unmanaged<Object>? {
        let object: UnsafeMutableRawPointer? = pthread_getspecific(key)
        return object.map { Unmanaged.fromOpaque($0) }
    }

    /// This thread's; nil before the first.
    var current: Object? { kept?.takeUnretainedValue() }

    func set(_ object: Object) {
        let previous = kept
        pthread_setspecific(key, Unmanaged.passRetained(object).toOpaque())
        previous?.release()
    }
}

// MARK: - Structs

/// A C struct that starts with its own size, as its caller was compiled.
protocol Sized {}

/// One of options.
protocol Options: Sized {
    static var defaults: Self { get }
}

extension Sized {
    static var size: Int { MemoryLayout<Self>.stride }

    fileprivate static func check(_ size: Int) throws(Failure) {
        guard size == Self.size else {
            throw .argument(
                "\(Self.self).struct_size", found: size, expected: "\(Self.size), its sizeof in plp.h \(PLP_VERSION)")
        }
    }
}

/// Where a result goes, if its caller has said how large it is.
func destination<Result: Sized>(_ pointer: UnsafeMutablePointer<Result>?, _ name: String) throws(Failure)
    -> UnsafeMutablePointer<Result>
{
    let pointer = try present(pointer, name)
    try Result.check(UnsafeRawPointer(pointer).load(as: Int.self))
    return pointer
}

/// Writes results `first` ..< `first + count` of `total`, the first of which says how large the caller thinks they are.
func write<Result: Sized>(
    _ first: Int64, _ count: Int64, of total: Int, _ what: String, to results: UnsafeMutablePointer<Result>?,
    _ name: String, _ make: (_ index: Int) -> Result
) throws(Failure) {
    let part = try part(first, count, of: total, what)
    guard !part.isEmpty else { return }
    let results = try destination(results, name)
    for (place, index) in part.enumerated() { results[place] = make(index) }
}

/// `first` ..< `first + count`, if there are as many.
private func part(_ first: Int64, _ count: Int64, of total: Int, _ what: String) throws(Failure) -> Range<Int> {
    guard first >= 0, count >= 0, first <= Int64(total), count <= Int64(total) - first else {
        throw .argument("first", found: "\(first) and count \(count)", expected: "some of \(total) \(what)")
    }
    return Int(first)..<Int(first + count)
}

/// The caller's options.
func given<Value: Sized>(_ pointer: UnsafePointer<Value>?, _ name: String) throws(Failure) -> Value {
    let pointer = try present(pointer, name)
    try Value.check(UnsafeRawPointer(pointer).load(as: Int.self))
    return pointer.pointee
}

/// The caller's options, or the defaults for NULL.
func chosen<Value: Options>(_ pointer: UnsafePointer<Value>?) throws(Failure) -> Value {
    pointer == nil ? .defaults : try given(pointer, "options")
}

/// The body of the _init functions.
func initialize<Value: Options>(_ pointer: UnsafeMutablePointer<Value>?, size: Int) -> plp_status {
    initialize(pointer, size: size) { .defaults }
}

/// The same for options whose defaults depend on what they are for.
func initialize<Value: Sized>(
    _ pointer: UnsafeMutablePointer<Value>?, size: Int, to defaults: () throws(Failure) -> Value
) -> plp_status {
    attempt { () throws(Failure) in
        let pointer = try present(pointer, "options")
        try Value.check(size)
        pointer.pointee = try defaults()
    }
}

/// A copy of an array of the options; no more values than any of them can use.
func array<Element>(_ start: UnsafePointer<Element>?, _ count: Int64, _ name: String) throws(Failure) -> [Element] {
    let count = try number(count, "number of \(name)", in: 0...100_000)
    return count == 0 ? [] : Array(UnsafeBufferPointer(start: try present(start, name), count: count))
}
