// Values as text, for files that remember what they belong to.

import FoundationEssentials

/// A value as JSON, its keys in order.
package func json(_ value: some Encodable) throws(Failure) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    do { return String(decoding: try encoder.encode(value), as: UTF8.self) } catch {
        throw Failure(.invalidArgument, "\(type(of: value)) cannot be written as JSON: \(error)")
    }
}

/// The same behind its type's name: `EMA {"decay":0.999}`.
package func description(of value: some Encodable) throws(Failure) -> String {
    "\(type(of: value)) \(try json(value))"
}
